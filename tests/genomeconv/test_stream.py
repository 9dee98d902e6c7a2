"""Pieces equal the whole, for every family of filters, bit for bit where promised."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from genomeconv.config import (
    ExplicitFilter,
    FilterConfig,
    ImplicitFilter,
    ModalFilter,
    ModelConfig,
    SGConvFilter,
    SquashFilter,
)
from genomeconv.model import Model, build_model
from genomeconv.stream import TilePlan, TrunkStream, plan_tiles

FAMILIES: dict[str, type] = {
    "implicit": ImplicitFilter,
    "sgconv": SGConvFilter,
    "squash": SquashFilter,
    "modal": ModalFilter,
    "explicit": ExplicitFilter,
}
TILE = 256
LENGTHS = (1, 2, 63, 64, 65, 255, 256, 257, 521, 1100)


def make(filters: tuple[FilterConfig, ...], layers: int = 2) -> Model:
    """Return a model whose filters keep energy at long lags."""
    model = build_model(ModelConfig(width=16, layers=layers, filters=filters), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def warmup(config: ModelConfig) -> tuple[int, ...]:
    """Tiles that hold the last K - 1 gated inputs and what these are made of."""
    past = (config.filter(i).taps - 1 for i in range(config.layers))
    return tuple(math.ceil((n + config.short_taps - 1) / TILE) for n in past)


def stream(model: Model, **options: object) -> TrunkStream:
    plan = plan_tiles(model.config)
    cut = dataclasses.replace(plan, tile=TILE, rows=96, warmup=warmup(model.config))
    return TrunkStream(model.trunk, plan=cut, **options)  # type: ignore[arg-type]


def dna(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, length, dtype=np.uint8)


def whole(model: Model, codes: np.ndarray, layer: int | None = None) -> torch.Tensor:
    """Return the plain forward in float64."""
    tokens = torch.from_numpy(codes)[None].long()
    with torch.no_grad():
        out = model.double().trunk(tokens, layer)[0]
    model.float()
    return out


def run(engine: TrunkStream, codes: np.ndarray, start: int = 0) -> torch.Tensor:
    parts = engine.run(lambda a, b: codes[a:b], len(codes), start)
    return torch.cat([x.clone() for _, x in parts])


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("right", [0, 40], ids=["causal", "two-sided"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_equal_the_whole_in_float64(family: str, right: int) -> None:
    model = make((FAMILIES[family](taps=100, right=right),))
    engine = stream(model)
    for length in LENGTHS:
        codes = dna(length)
        got = run(engine, codes)
        assert got.shape == (length, 16)
        assert error(got, whole(model, codes)) < 1e-5, length


@pytest.mark.parametrize("taps", [1, 2, 255, 256, 257, 700])
def test_filters_shorter_and_longer_than_a_tile(taps: int) -> None:
    model = make((SquashFilter(taps=taps),))
    codes = dna(1500)
    assert error(run(stream(model), codes), whole(model, codes)) < 1e-5


def test_blocks_with_different_filters() -> None:
    filters = (ExplicitFilter(taps=7, right=3), ModalFilter(taps=300, right=50))
    model = make(filters, layers=4)
    codes = dna(1300)
    assert error(run(stream(model), codes), whole(model, codes)) < 1e-5


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_is_the_residual_behind_that_block(layer: int) -> None:
    model = make((ImplicitFilter(taps=90),))
    codes = dna(700)
    got = run(stream(model, layer=layer), codes)
    assert error(got, whole(model, codes, layer)) < 1e-5


@pytest.mark.parametrize("right", [0, 40], ids=["causal", "two-sided"])
def test_a_later_start_gives_the_same_bits(right: int) -> None:
    model = make((ImplicitFilter(taps=300, right=right),), layers=3)
    engine, codes = stream(model), dna(6000)
    full = run(engine, codes)
    for start in (1, 255, 2500, 4096, 5999):
        for position, x in engine.run(lambda a, b: codes[a:b], len(codes), start):
            assert torch.equal(x, full[position : position + len(x)])
    parts = engine.run(lambda a, b: codes[a:b], len(codes), 5000, 5100)
    late = [(position, position + len(x)) for position, x in parts]
    assert late[0][0] <= 5000
    assert late[-1][1] >= 5100


@pytest.mark.parametrize("taps", [1, 255, 256, 512, 513])
def test_a_later_start_runs_no_tile_too_many_or_too_few(taps: int) -> None:
    """Taps at which one more tile begins to count, and the mutants of one tile less.

    With one tap what a block lacks at first is gone before the next one begins.
    """
    model = make((SquashFilter(taps=taps, squash=0.0),), layers=3)
    engine, codes = stream(model), dna(4000)
    right = engine.plan.warmup
    full = run(engine, codes)[3328 : 3328 + TILE]
    for block in (None, 0, 1, 2) if taps > 1 else (None, 2):
        less = [n - (i == block) for i, n in enumerate(right)]
        engine.plan = dataclasses.replace(engine.plan, warmup=tuple(less))
        _, x = next(engine.run(lambda a, b: codes[a:b], len(codes), 3400))
        assert torch.equal(x, full) == (block is None), block


def test_a_later_start_leaves_out_what_nobody_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A block is run from where it can be right on."""
    engine = stream(make((ImplicitFilter(taps=300),), layers=3))
    counts, real = [], TrunkStream._tile

    def counted(self: TrunkStream, codes: object, blocks: list, *rest: object):
        counts.append(len(blocks))
        return real(self, codes, blocks, *rest)

    monkeypatch.setattr(TrunkStream, "_tile", counted)
    list(engine.run(lambda a, b: dna(4000)[a:b], 4000, 3400, 3500))
    assert engine.plan.warmup == (2, 2, 2)
    assert counts == [1, 1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("part", ["long", "short"])
def test_a_state_that_is_lost_is_noticed(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make((SquashFilter(taps=100, squash=0.0),))
    codes = dna(800)
    wanted = whole(model, codes)
    engine = stream(model)
    assert error(run(engine, codes), wanted) < 1e-5
    step = engine._stream(TILE, continues=True)[0].step

    def forgetful(r: torch.Tensor, state: object, inside: object) -> torch.Tensor:
        getattr(state.mixer, part).zero_()  # type: ignore[attr-defined]
        return step(r, state, inside)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._stream(TILE, continues=True)[0], "step", forgetful)
    assert error(run(engine, codes), wanted) > 20 * 1e-5


def test_equal_sequences_differ_by_exactly_nothing() -> None:
    model = make((ImplicitFilter(taps=300),))
    engine, codes = stream(model), dna(1000)
    assert torch.equal(run(engine, codes), run(engine, codes.copy()))
    alternative = codes.copy()
    alternative[500] = (codes[500] + 1) % 4
    effect = (run(engine, alternative) - run(engine, codes)).abs().amax(1)
    assert effect[:500].max() < 1e-4 < effect[500]


@pytest.mark.parametrize("right", [0, 40], ids=["causal", "two-sided"])
def test_short_sequences_together_do_not_influence_each_other(right: int) -> None:
    model = make((ImplicitFilter(taps=100, right=right),))
    engine = stream(model)
    limit = engine.plan.batch_limit
    sequences = [dna(n, n) for n in (1, 7, 64, 100, limit)]
    together = [x.clone() for x in engine.run_together(sequences)]
    for codes, got in zip(sequences, together, strict=True):
        assert got.shape == (len(codes), 16)
        assert error(got, whole(model, codes)) < 1e-5
    swapped = engine.run_together(sequences[::-1])[::-1]
    for a, b in zip(together, swapped, strict=True):
        assert error(a, b) < 1e-6


def test_bfloat16_products_stay_close() -> None:
    model = make((ImplicitFilter(taps=300),))
    codes = dna(1000)
    got = run(stream(model, precision=torch.bfloat16), codes)
    wanted = whole(model, codes)
    assert 1e-5 < error(got, wanted) < 2e-2
    columns = torch.stack([got.double(), wanted], 0)
    for channel in range(16):
        assert torch.corrcoef(columns[:, :, channel])[0, 1] > 0.999


@pytest.mark.parametrize(
    ("taps", "right", "tile"),
    [
        (7, 0, 8192 - 6),
        (1024, 0, 7168),
        (4096, 0, 12288),
        (16384, 0, 49152),
        (1_000_002, 0, 1 << 20),
    ],
)
def test_plan_follows_the_filter(taps: int, right: int, tile: int) -> None:
    config = ModelConfig(
        width=128, layers=2, filters=(ImplicitFilter(taps=taps, right=right),)
    )
    plan = plan_tiles(config)
    assert plan.tile == tile // 1024 * 1024
    assert plan.warmup == (1, 1)
    assert plan.delay == 0


def test_plan_leaves_room_for_the_right_hand_taps() -> None:
    filters = (ImplicitFilter(taps=20_000, right=10_000),)
    plan = plan_tiles(ModelConfig(width=8, layers=8, filters=filters))
    assert plan.delay == 80_000
    assert plan.tile > 2 * plan.delay


def test_padded_and_tail_cover_what_they_are_asked_for() -> None:
    plan = TilePlan(tile=12288, rows=2048, delay=0, warmup=(1, 1))
    for positions in (1, 64, 65, 1500, 8192, 8193, 12288):
        assert positions <= plan.padded(positions) <= 12288
        assert positions <= plan.tail(positions) <= 12288
    assert plan.padded(60) == 64
    assert plan.tail(100) == 1536


_PEAK = """
import sys
import numpy as np
from genomeconv.config import ImplicitFilter, ModelConfig
from genomeconv.model import build_model
from genomeconv.peak import peak_bytes
from genomeconv.stream import TrunkStream
config = ModelConfig(width=16, layers=2, filters=(ImplicitFilter(taps=1024),))
engine = TrunkStream(build_model(config, seed=0).trunk)
zeros = lambda a, b: np.zeros(b - a, dtype=np.uint8)
for _ in engine.run(zeros, int(sys.argv[1])):
    pass
print(peak_bytes())
"""


def test_memory_does_not_grow_with_the_sequence() -> None:
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", _PEAK, str(length)]))
        for length in (200_000, 3_000_000)
    ]
    assert peaks[1] < 1.1 * peaks[0]
