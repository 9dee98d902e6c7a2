"""Copies that make nobody wait: the order of things, and a loop that reads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genomeconv import transfer
from genomeconv.config import ExplicitFilter, ModelConfig, SGConvFilter
from genomeconv.model import build_model
from genomeconv.stream import TrunkStream, plan_tiles
from genomeconv_kernels import backend
from genomeconv_kernels.launch import record_launches


@pytest.mark.parametrize("tiles", [0, 1, 2, 5])
def test_a_result_is_waited_for_when_the_next_tile_runs(tiles, monkeypatch):
    """On a GPU the host takes tile n only once n + 1 and its copy have been begun."""
    happened: list[str] = []

    def run() -> Iterator[tuple[int, SimpleNamespace]]:
        for n in range(tiles):
            happened.append(f"run {n}")
            yield n, SimpleNamespace(device=torch.device("cuda"), n=n)

    def begin(tensor: SimpleNamespace) -> tuple[int, None]:
        happened.append(f"copy {tensor.n}")
        return tensor.n, None

    def wait(number: int, host: int, event: None) -> tuple[int, int]:
        happened.append(f"take {number}")
        return number, host

    monkeypatch.setattr(transfer, "_begin_fetch", begin)
    monkeypatch.setattr(transfer, "_fetched", wait)
    assert list(transfer.fetch_late(run())) == [(n, n) for n in range(tiles)]
    wanted = [f"{what} 0" for what in ("run", "copy") if tiles]
    for n in range(1, tiles):
        wanted += [f"run {n}", f"copy {n}", f"take {n - 1}"]
    assert happened == wanted + [f"take {tiles - 1}"] * (tiles > 0)


def test_on_a_cpu_nothing_is_late():
    parts = [(n, torch.full((2,), n)) for n in range(3)]
    late = list(transfer.fetch_late(parts))
    assert [n for n, _ in late] == [0, 1, 2]
    assert all(a is b for (_, a), (_, b) in zip(late, parts, strict=True))


@pytest.mark.parametrize("right", [0, 4])
def test_the_loop_over_tiles_reads_no_value_of_the_device(right):
    """Tensors without data: whatever asks one for its value raises."""
    filters = (
        ExplicitFilter(taps=40, right=right),
        SGConvFilter(taps=80, scale_taps=8),
    )
    config = ModelConfig(width=4, layers=2, filters=filters)
    trunk = build_model(config, seed=0).trunk.to("meta")
    with backend.forced("triton"), record_launches() as launches:
        stream = TrunkStream(trunk, plan=plan_tiles(config))
        length = 5 * stream.plan.tile + 7
        tiles = [
            out.shape[0]
            for _, out in stream.run(lambda a, b: np.zeros(b - a, np.uint8), length)
        ]
        assert sum(tiles) == length
        stream.run_together([np.zeros(n, np.uint8) for n in (60, 33)])
    assert len(launches) >= 4 * len(tiles)
