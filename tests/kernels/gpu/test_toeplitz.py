"""The Toeplitz band: products on tensor cores, forward and filter gradient."""

from __future__ import annotations

from functools import partial

import bands
import pytest
import torch
from bands import (
    blank,
    check_any_strides,
    check_short_filters,
    normal,
    signals,
    true_grad,
)

from genomeconv_kernels.fftconv.gpu import toeplitz
from genomeconv_kernels.fftconv.gpu.operands import Input, Output
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LENGTHS = (64, 1, 131, 2, 65, 63, 281)
FILTERS = ((1, 0), (16, 0), (17, 1), (40, 39), (33, 0), (64, 21), (100, 0))  # K, right
CASES = [  # every filter with every dtype, and each length among them
    (K, right, LENGTHS[(i + 2 * j) % len(LENGTHS)], dtype)
    for i, (K, right) in enumerate(FILTERS)
    for j, dtype in enumerate(DTYPES)
]


def plan(
    K: int,
    right: int = 0,
    dtype: torch.dtype = torch.float32,
    tile: tuple[int, int] = (16, 16),
) -> GpuPlan:
    return GpuPlan(
        method="toeplitz", first_tap=0, taps=K, right=right, factors=tile,
        block=tile[0] * tile[1], warps=4,
        operand="float32" if dtype == torch.float32 else "float16",
    )  # fmt: skip


convolve = partial(bands.convolve, toeplitz)


@pytest.mark.parametrize(("K", "right", "L", "dtype"), CASES, ids=str)
def test_is_the_direct_sum(K, right, L, dtype, truth, error, tolerance):
    B, H = 3, 3
    x, k = signals(B, H, L, dtype), normal(H, K, seed=9)
    state = normal(B, H, K - 1, seed=8) if K > 1 and not right else None
    y = Output(blank(x["u"]), x["post"], blank(x["u"]), x["post2"])
    p = plan(K, right, dtype)
    convolve(p, Input(x["u"], x["pre"], state), k, y)
    for out, post in ((y.out, x["post"]), (y.out2, x["post2"])):
        expected = truth(x["u"], k, x["pre"], post, state=state, right=right)
        if L < 16:  # too few of a channel to speak of its norm
            out, expected = out.flatten(), expected.flatten()
        assert error(out, expected) < tolerance[dtype]

    dk = blank(k)
    signal, g = Input(x["u"], x["pre"], state), Input(x["grad"], x["post"])
    toeplitz.filter_grad(p, signal, g, dk)
    expected = true_grad(signal, g, K, right)
    assert float((dk - expected).norm() / expected.norm()) < tolerance[dtype] / 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tile", [(16, 32), (64, 16), (128, 64)])
def test_every_tile_gives_the_sum(tile, dtype, truth, error, tolerance):
    u, k, grad = (
        normal(3, 1, 700, seed=0, dtype=dtype),
        normal(1, 90, seed=1),
        normal(3, 1, 700, seed=2, dtype=dtype),
    )
    p, out, dk = plan(90, 11, dtype, tile), blank(u), blank(k)
    convolve(p, Input(u), k, Output(out))
    assert error(out, truth(u, k, right=11)) < tolerance[dtype]
    toeplitz.filter_grad(p, Input(u), Input(grad), dk)
    assert error(dk, true_grad(Input(u), Input(grad), 90, 11)) < tolerance[dtype] / 2


def test_a_gradient_shared_out_over_programs_is_the_same(monkeypatch, error):
    u, k, grad = (
        normal(2, 1, 900, seed=0),
        normal(1, 20, seed=1),
        normal(2, 1, 900, seed=2),
    )
    results = []
    for programs in (1, 3, 1024):
        monkeypatch.setattr(toeplitz, "_PROGRAMS", programs)
        results.append(blank(k))
        toeplitz.filter_grad(plan(20), Input(u), Input(grad), results[-1])
    for dk in results:
        assert error(dk, true_grad(Input(u), Input(grad), 20, 0)) < 1e-5


def test_any_strides(truth, error):
    check_any_strides(toeplitz, plan(20), truth, error)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_batch_rows_share_a_tile_but_nothing_else():
    u, k = normal(5, 2, 50, seed=0, dtype=torch.float16), normal(2, 20, seed=1)
    p = plan(20, 0, torch.float16)
    u[1] *= 2e3
    u[2, :, 9] = torch.nan
    u[3, :, 30] = torch.inf
    together, alone = blank(u), blank(u)
    convolve(p, Input(u), k, Output(together))
    for b in range(5):
        convolve(p, Input(u[b : b + 1]), k, Output(alone[b : b + 1]))
    assert torch.equal(together.nan_to_num(7.0), alone.nan_to_num(7.0))
    assert together[[0, 4]].isfinite().all()


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-14, 1.0, 2.0**100])
def test_magnitude_does_not_matter(scale, truth, error):
    dtype = torch.bfloat16
    u, k = normal(1, 2, 300, seed=0, dtype=dtype), normal(2, 33, seed=1)
    u[..., 100:] *= 2.0**-20
    out = blank(u)
    convolve(plan(33, 0, dtype), Input(u * scale), k / scale**0.5, Output(out))
    expected = truth(u * scale, k / scale**0.5)
    for part in (slice(0, 100), slice(160, 300)):  # each relative to its own size
        assert error(out[..., part], expected[..., part]) < 1e-2


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize(("K", "right"), [(20, 0), (20, 5)])
def test_what_is_not_finite_stays_in_the_rows_its_taps_reach(
    K, right, bad, dtype, truth
):
    M = 16
    u, k = normal(2, 3, 700, seed=0, dtype=dtype), normal(3, K, seed=1)
    clean = truth(u, k, right=right)
    u[1, 1, 261] = bad
    out = blank(u)
    convolve(plan(K, right, dtype, (16, M)), Input(u), k, Output(out))
    touched = ~out.isfinite()
    first, last = (261 - right) // M * M, -(-(261 - right + K) // M) * M
    assert touched[1, 1, 261 - right : 261 - right + K].all()
    touched[1, 1, first - M : last + M] = False
    assert not touched.any()
    kept = out.isfinite()
    assert (out.double() - clean)[kept].norm() < 2e-3 * clean.norm()


def test_short_filters_run_on_the_way(truth, error):
    check_short_filters(toeplitz, plan(20), truth, error)


def test_taps_that_are_zero_or_not_finite_keep_to_their_channel(truth, error):
    u, k = normal(2, 3, 90, seed=0, dtype=torch.float16), normal(3, 20, seed=1)
    k[0] = 0
    k[1, 7] = torch.nan
    out = blank(u)
    convolve(plan(20, 0, torch.float16), Input(u), k, Output(out))
    assert torch.equal(out[:, 0], torch.zeros_like(out[:, 0]))
    assert out[:, 1, 7:].isnan().all()
    assert error(out[:, 2:], truth(u[:, 2:], k[2:])) < 2e-3


def test_the_tolerance_tells_every_mistake(truth, error, tolerance):
    u, k = normal(2, 3, 509, seed=0), normal(3, 150, seed=1)
    state = normal(2, 3, 149, seed=2)
    expected = truth(u, k, state=state)
    stale = expected.clone()
    stale[..., 16:32] = stale[..., :16]
    first_dropped, last_dropped, swapped = k.clone(), k.clone(), k.clone()
    first_dropped[:, 0] = last_dropped[:, -1] = 0
    swapped[:, 16:32], swapped[:, 32:48] = k[:, 32:48], k[:, 16:32]
    wrong = {
        "shifted": expected.roll(1, -1),
        "first tap dropped": truth(u, first_dropped, state=state),
        "last tap dropped": truth(u, last_dropped, state=state),
        "blocks of taps swapped": truth(u, swapped, state=state),
        "state missing": truth(u, k),
        "stale row of a tile": stale,
        "rows swapped": expected.roll(1, 1),
    }
    for name, y in wrong.items():
        assert error(y, expected) > 5 * tolerance[torch.bfloat16], name
