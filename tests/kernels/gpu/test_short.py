"""The short band: direct products in registers, forward and filter gradient."""

from __future__ import annotations

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

from genomeconv_kernels.fftconv.gpu import short
from genomeconv_kernels.fftconv.gpu.operands import Input, Output
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LENGTHS = (64, 1, 131, 2, 65, 63, 257)
FILTERS = ((1, 0), (4, 0), (3, 1), (8, 7), (8, 0), (13, 5), (16, 0))  # K, right
CASES = [  # every filter with every dtype, and each length among them
    (K, right, LENGTHS[(i + 2 * j) % len(LENGTHS)], dtype)
    for i, (K, right) in enumerate(FILTERS)
    for j, dtype in enumerate(DTYPES)
]


def plan(K: int, right: int = 0, block: int = 128) -> GpuPlan:
    return GpuPlan(
        method="short", first_tap=0, taps=K, right=right, block=block, warps=1
    )


@pytest.mark.parametrize(("K", "right", "L", "dtype"), CASES, ids=str)
def test_is_the_direct_sum(K, right, L, dtype, truth, error, tolerance):
    B, H = 2, 3
    x, k = signals(B, H, L, dtype), normal(H, K, seed=9)
    state = normal(B, H, K - 1, seed=8) if K > 1 and not right else None
    y = Output(blank(x["u"]), x["post"], blank(x["u"]), x["post2"])
    p = plan(K, right)
    short.convolve(p, Input(x["u"], x["pre"], state), short.prepare(p, k), y)
    for out, post in ((y.out, x["post"]), (y.out2, x["post2"])):
        expected = truth(x["u"], k, x["pre"], post, state=state, right=right)
        assert error(out, expected) < tolerance[dtype]

    dk = blank(k)
    signal, g = Input(x["u"], x["pre"], state), Input(x["grad"], x["post"])
    short.filter_grad(p, signal, g, dk)
    expected = true_grad(signal, g, K, right)
    assert float((dk - expected).norm() / expected.norm()) < 1e-5


def test_plain_signals_need_no_gates(truth, error):
    u, k, grad = (
        normal(1, 5, 300, seed=0),
        normal(5, 4, seed=1),
        normal(1, 5, 300, seed=2),
    )
    out, dk = blank(u), blank(k)
    short.convolve(plan(4), Input(u), k, Output(out))
    assert error(out, truth(u, k)) < 1e-5
    short.filter_grad(plan(4), Input(u), Input(grad), dk)
    assert error(dk, true_grad(Input(u), Input(grad), 4, 0)) < 1e-5


def test_any_strides(truth, error):
    check_any_strides(short, plan(4), truth, error)


def test_the_output_may_take_the_place_of_its_gate(truth, error):
    u, k, post = (
        normal(*s, seed=i) for i, s in enumerate(((2, 3, 131), (3, 4), (2, 3, 131)))
    )
    expected = truth(u, k, None, post)
    short.convolve(plan(4), Input(u), k, Output(post, post))
    assert error(post, expected) < 1e-5


def test_bits_depend_on_neither_block_nor_layout():
    u, k = normal(2, 3, 509, seed=0), normal(3, 8, seed=1)
    results = []
    for block in (128, 256, 1024):
        results.append(blank(u))
        short.convolve(plan(8, block=block), Input(u), k, Output(results[-1]))
    results.append(torch.full((2, 3, 517), torch.nan)[..., :509])
    moved = torch.cat([normal(2, 3, 3, seed=2), u], -1)[..., 3:]
    short.convolve(plan(8), Input(moved), k, Output(results[-1]))
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_small_integers_are_exact(truth):
    generator = torch.Generator().manual_seed(0)
    u = torch.randint(-9, 10, (2, 3, 300), generator=generator).float()
    k = torch.randint(-9, 10, (3, 8), generator=generator).float()
    out = blank(u)
    short.convolve(plan(8, 3), Input(u), k, Output(out))
    assert torch.equal(out.double(), truth(u, k, right=3))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize(("K", "right"), [(4, 0), (8, 3)])
def test_what_is_not_finite_stays_where_its_taps_reach(K, right, bad):
    u, k = normal(2, 3, 300, seed=0), normal(3, K, seed=1)
    u[1, 1, 127] = bad
    out = blank(u)
    short.convolve(plan(K, right), Input(u), k, Output(out))
    reached = torch.zeros(2, 3, 300, dtype=torch.bool)
    reached[1, 1, 127 - right : 127 - right + K] = True
    assert torch.equal(~out.isfinite(), reached)


def test_short_filters_run_on_the_way(truth, error):
    check_short_filters(short, plan(4), truth, error)


def test_the_tolerance_tells_every_mistake(truth, error, tolerance):
    u, k = normal(2, 3, 509, seed=0), normal(3, 4, seed=1)
    state = normal(2, 3, 3, seed=2)
    expected = truth(u, k, state=state)
    stale = expected.clone()
    stale[..., 128:256] = stale[..., :128]
    first_dropped, last_dropped = k.clone(), k.clone()
    first_dropped[:, 0] = last_dropped[:, -1] = 0
    wrong = {
        "shifted": expected.roll(1, -1),
        "first tap dropped": truth(u, first_dropped, state=state),
        "last tap dropped": truth(u, last_dropped, state=state),
        "state missing": truth(u, k),
        "stale tile": stale,
        "rows swapped": expected.roll(1, 1),
    }
    for name, y in wrong.items():
        assert error(y, expected) > 5 * tolerance[torch.bfloat16], name
