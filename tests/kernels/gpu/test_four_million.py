"""Four million positions: what is written where, by programs picked out of a launch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter

from genomeconv_kernels.fftconv.gpu.limits import DATA_CENTRE
from genomeconv_kernels.fftconv.gpu.operands import Input, Output
from genomeconv_kernels.fftconv.gpu.plan import plan_gpu
from genomeconv_kernels.launch import Launch, record_launches

L = (1 << 22) - 1  # odd: rows begin anywhere


@pytest.fixture
def run_some(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run some programs of a recorded launch."""

    def run(launch: Launch, programs: Iterable[int]) -> None:
        builder = interpreter.InterpreterBuilder
        for program in programs:
            monkeypatch.setattr(
                builder, "set_grid_idx",
                lambda self, *_, at=program: setattr(self, "grid_idx", (at, 0, 0)),
            )  # fmt: skip
            launch.kernel[(1,)](*launch.arguments, **launch.options)

    return run


def signals() -> list[Tensor]:
    g = torch.Generator().manual_seed(3)
    return [torch.randn(1, 2, L, generator=g).half() for _ in range(3)]


def wanted(x: Tensor, k: Tensor, at: Tensor) -> Tensor:
    """The sum in float64 at some outputs of one row."""
    lags = torch.arange(len(k))
    index = at[:, None] - lags
    values = x.double()[index.clamp_min(0)] * (index >= 0)
    return values @ k.double()


@pytest.mark.parametrize(
    ("method", "K"), [("short", 8), ("toeplitz", 500), ("overlap_save", 4096)]
)
def test_programs_of_a_gated_partial_convolution(
    method: str, K: int, run_some: Any
) -> None:
    """First, last and others: each writes its own block, right to its tolerance."""
    u, pre, post = signals()
    k = torch.randn(2, K, generator=torch.Generator().manual_seed(4)) / K**0.5
    plan = plan_gpu(1, 2, L, K, u.dtype, method=method, limits=DATA_CENTRE)
    band = importlib.import_module(f"genomeconv_kernels.fftconv.gpu.{method}")
    out = torch.full_like(u, torch.nan)
    filter_ = band.prepare(plan, k)
    with record_launches() as launches:
        band.convolve(plan, Input(u, pre), filter_, Output(out, post))
    (launch,) = launches
    some = {0, 1, launch.programs // 2, launch.programs - 2, launch.programs - 1}
    run_some(launch, some)
    seen = 0
    for h in range(2):
        at = out[0, h].isfinite().nonzero().flatten()
        seen += len(at)
        at = at[:: max(len(at) // 200, 1)]
        truth = wanted(u[0, h].double() * pre[0, h].double(), k[h], at)
        truth = truth * post[0, h].double()[at]
        assert (out[0, h].double()[at] - truth).norm() / truth.norm() < 2e-3
    assert 3 * plan.block < seen <= len(some) * plan.block
    assert out[-1, -1, -1].isfinite()  # the last position of all is written


@pytest.mark.slow
def test_a_filter_of_four_million_taps_on_as_many_positions() -> None:
    """Every program of every pass, K = L = 4,194,304, against one torch transform."""
    n = 1 << 22
    g = torch.Generator().manual_seed(5)
    u, k = torch.randn(1, 1, n, generator=g).half(), torch.randn(1, n, generator=g)
    plan = plan_gpu(1, 1, n, n, u.dtype, method="long", limits=DATA_CENTRE)
    band = importlib.import_module("genomeconv_kernels.fftconv.gpu.long")
    out = torch.full_like(u, torch.nan)
    band.convolve(plan, Input(u), band.prepare(plan, k), Output(out))
    spectrum = torch.fft.rfft(u.double(), 2 * n) * torch.fft.rfft(k.double(), 2 * n)
    truth = torch.fft.irfft(spectrum, 2 * n)[..., :n]
    assert (out.double() - truth).norm() / truth.norm() < 2e-3
