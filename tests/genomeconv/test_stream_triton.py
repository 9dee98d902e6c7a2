"""The engine on the Triton kernels, in their interpreter: the same promises hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genomeconv.config import ExplicitFilter, ModelConfig, SGConvFilter
from genomeconv.model import build_model
from genomeconv.stream import TrunkStream, plan_tiles
from genomeconv_kernels import backend
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan

TILE = 128


@pytest.fixture(autouse=True)
def _triton():
    with backend.forced("triton"):
        yield


def engine(*filters, tile: int = TILE) -> TrunkStream:
    from dataclasses import replace

    config = ModelConfig(width=4, layers=2, filters=filters)
    trunk = build_model(config, seed=0).trunk
    plan = plan_tiles(config)
    past = [config.filter(i).taps + config.short_taps - 2 for i in range(2)]
    warmup = tuple(-(-positions // tile) for positions in past)
    plan = replace(plan, tile=tile, rows=64, warmup=warmup)
    return TrunkStream(trunk, plan=plan)


def embed(stream: TrunkStream, codes, start: int = 0) -> torch.Tensor:
    parts = stream.run(lambda a, b: codes[a:b], len(codes), start)
    return torch.cat([x.clone() for _, x in parts])


CASES = {
    "short and Toeplitz": (ExplicitFilter(taps=4), ExplicitFilter(taps=40)),
    "overlap-save": (SGConvFilter(taps=80, scale_taps=8),) * 2,
    "two-sided": (ExplicitFilter(taps=9, right=4), ExplicitFilter(taps=40)),
}


@pytest.mark.parametrize("case", CASES)
def test_is_the_trunk(case):
    stream = engine(*CASES[case])
    codes = np.random.default_rng(1).integers(0, 5, 333, dtype=np.uint8)
    got = embed(stream, codes)
    layout = next(iter(stream._blocks.values()))
    assert all(isinstance(block.mixer.taps.plan, GpuPlan) for block in layout)
    assert any(block.mixer.fuses(None) for block in layout)
    with torch.no_grad():
        wanted = stream.trunk.double()(torch.from_numpy(codes)[None].long())[0]
    assert float((got - wanted).norm() / wanted.norm()) < 1e-5


@pytest.mark.parametrize("case", ["short and Toeplitz", "overlap-save"])
def test_a_later_start_gives_the_same_bits(case):
    stream = engine(*CASES[case])
    codes = np.random.default_rng(2).integers(0, 4, 6 * TILE + 5, dtype=np.uint8)
    whole = embed(stream, codes)
    again = embed(stream, codes, start=5 * TILE)
    assert torch.equal(whole[-len(again) :], again)


def test_sequences_run_together_do_not_meet():
    stream = engine(*CASES["overlap-save"])
    rng = np.random.default_rng(3)
    codes = [rng.integers(0, 4, n, dtype=np.uint8) for n in (60, 33, 1)]
    together = [x.clone() for x in stream.run_together(codes)]
    for x, one in zip(together, codes, strict=True):
        alone = stream.run_together([one])[0]
        assert float((x - alone).norm() / alone.norm()) < 1e-5
