"""The long band: passes through memory, in Triton's interpreter."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from types import MappingProxyType

import bands
import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from bands import (
    apart,
    check_powers_of_two,
    check_second_output,
    check_stale_tile,
    draw,
    reference,
    true_grad,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from genomeconv_kernels.fftconv.gpu import long, outer, shapes
from genomeconv_kernels.fftconv.gpu.operands import Input, Output
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.launch import record_launches

# B, H, L, K, right, state. Windows are 1,024 positions: the last two cases have two
# blocks, and in the third an input that is shorter than the filter.
CASES = [
    (1, 1, 1, 1, 0, False),
    (2, 3, 333, 40, 0, True),
    (1, 2, 101, 201, 57, False),
    (2, 1, 100, 201, 0, True),
    (1, 1, 501, 600, 0, True),
    (1, 1, 501, 600, 599, False),
]
FLOATS = [torch.float32, torch.float16]
TINY = shapes.Columns(4, 1, 64, 4), shapes.Columns(4, 2, 32, 4)


@pytest.fixture(autouse=True)
def _tiny_outer_transforms(monkeypatch):
    """Offer 4 points across memory, and 8 as 4 times 2."""
    table = dict(zip((4, 8), TINY, strict=True))
    both = MappingProxyType({"float32": table, "float16": table})
    monkeypatch.setattr(
        outer, "tiles", lambda points, operand, **_: both[operand][points]
    )


def plan_of(
    K: int,
    right: int,
    dtype: torch.dtype,
    parts: int = 1,
    points: int = 4,
    factors=(8, 16),
) -> GpuPlan:
    """Plan with 128 points on the chip."""
    T = shapes.part_taps(K, parts)
    halo = shapes.aligned(T - 1 - right)
    return GpuPlan(
        method="long", first_tap=0, taps=K, right=right, parts=parts,
        block=(256 * points - right - halo) // 16 * 16, halo=halo, factors=factors,
        outer=points, operand="float32" if dtype == torch.float32 else "float16",
    )  # fmt: skip


run = partial(bands.convolved, long)
filter_grad = partial(bands.filter_grad, long)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_filter_gradient(case, dtype, error, tolerance):
    check(case, dtype, error, tolerance)


def test_bfloat16(error, tolerance):
    check(CASES[1], torch.bfloat16, error, tolerance)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_outer_transform_of_two_factors(dtype, error, tolerance):
    check((1, 1, 777, 300, 137, False), dtype, error, tolerance, points=8)


def test_three_factors_on_the_chip(error, tolerance):
    case = (1, 1, 333, 40, 0, True)
    check(case, torch.float16, error, tolerance, factors=(4, 8, 4))


@pytest.mark.parametrize("right", [0, 400])
def test_a_filter_beyond_one_transform_is_cut(right, error, tolerance):
    case = (1, 1, 301, 900, right, right == 0)
    check(case, torch.float32, error, tolerance, parts=3)


def check(case, dtype, error, tolerance, **how):
    K, right = case[3:5]
    u, pre, post, dy, k, state = draw(case, dtype)
    plan, x, g = plan_of(K, right, dtype, **how), Input(u, pre, state), Input(dy, post)
    got = run(plan, x, k, post)
    assert error(got, reference(x, k, post, right)) < tolerance[dtype]
    got = filter_grad(plan, x, g)
    assert error(got, true_grad(x, g, K, right)) < tolerance[dtype]


def test_what_is_in_the_workspace_together_changes_no_bit():
    case = (2, 2, 501, 600, 0, True)
    u, pre, post, _, k, state = draw(case)
    plan, x = plan_of(600, 0, u.dtype), Input(u, pre, state)
    together = run(plan, x, k, post)
    for workspace in (0, 30_000):
        assert together.equal(run(plan, x, k, post, workspace=workspace))


def test_gradient_in_rounds(error):
    case = (2, 1, 501, 600, 0, True)
    u, pre, post, dy, _, state = draw(case)
    plan, x, g = plan_of(600, 0, u.dtype), Input(u, pre, state), Input(dy, post)
    got = filter_grad(plan, x, g, workspace=0)
    assert error(got, true_grad(x, g, 600, 0)) < 1e-5
    assert got.equal(filter_grad(plan, x, g, workspace=0))


def test_rows_apart_and_positions_apart(error):
    case = (2, 2, 333, 40, 0, False)
    u, pre, post, _, k, _ = draw(case)
    got = run(plan_of(40, 0, u.dtype), apart(u, pre), k, post)
    assert error(got, reference(Input(u, pre), k, post, 0)) < 1e-5


def test_second_output_and_short_filters(error):
    check_second_output(long, plan_of(40, 0, torch.float32), error)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_in_its_windows(bad):
    case = (2, 2, 501, 600, 0, True)
    u, _, post, _, k, state = draw(case)
    plan = plan_of(600, 0, u.dtype)
    clean = run(plan, Input(u, None, state), k, post)
    u[1, 0, 450] = bad
    got = run(plan, Input(u, None, state), k, post)
    assert got[1, 0, plan.block :].isnan().all()
    clean[1, 0, plan.block :] = got[1, 0, plan.block :] = 0
    assert got.equal(clean)


@pytest.mark.parametrize("power", [-90, 60])
def test_powers_of_two_pass_exactly(power):
    check_powers_of_two(long, plan_of(40, 0, torch.float32), power)


def _last_tap_dropped(plan, k):
    return plan, torch.nn.functional.pad(k[:, :-1], (0, 1))


def _shifted_by_one(plan, k):
    return dataclasses.replace(plan, right=1), k


def _history_cut(plan, k):
    return dataclasses.replace(plan, halo=16), k


def _turned_the_wrong_way(plan, k):
    return plan, k.flip(-1)


@pytest.mark.parametrize(
    "mutant", [_last_tap_dropped, _shifted_by_one, _history_cut, _turned_the_wrong_way]
)
def test_mutants_are_found(mutant, error):
    u, pre, post, _, k, state = draw((1, 2, 333, 40, 0, True))
    x = Input(u, pre, state)
    plan, taps = mutant(plan_of(40, 0, u.dtype), k)
    assert error(run(plan, x, taps, post), reference(x, k, post, 0)) > 0.05


@pytest.mark.parametrize("kernel", ["_columns_forward", "_columns_inverse"])
def test_a_stale_tile_is_found(kernel, monkeypatch, error):
    plan = plan_of(40, 0, torch.float32)
    check_stale_tile(long, plan, outer, kernel, monkeypatch, error)


@triton.jit
def _turns(phase, out, QUARTER: tl.constexpr, N: tl.constexpr):
    n = tl.arange(0, N)
    re, im = outer.rotate(1.0, 0.0, tl.load(phase + n), QUARTER, -1)
    tl.store(out + n, re)
    tl.store(out + N + n, im)


@pytest.mark.parametrize("quarter", [16, 1 << 20, 1 << 24])
def test_turns_are_exact_at_any_size(quarter):
    g = torch.Generator().manual_seed(quarter)
    phase = torch.randint(-quarter // 2, 4 * quarter, (1024,), generator=g)
    out = torch.empty(2, 1024)
    _turns[(1,)](phase.int(), out, quarter, 1024)
    angle = phase.numpy().astype(np.float64) * (math.pi / 2 / quarter)
    wanted = np.stack([np.cos(angle), -np.sin(angle)])
    assert np.abs(out.numpy() - wanted).max() < 2e-7


@given(
    B=st.integers(1, 64),
    L=st.integers(1, 1 << 30),
    K=st.integers(1, 1 << 26),
    reach=st.floats(0, 1),
    operand=st.sampled_from(["float16", "float32"]),
)
def test_every_shape_holds_its_windows(B, L, K, reach, operand):
    right = int(reach * (K - 1))
    shape = shapes.shape_long(B, L, K, right, operand)
    T = shapes.part_taps(K, shape.parts)
    assert T * shape.parts >= K
    assert shape.block % 16 == shape.halo % 16 == 0 < shape.block
    assert T - 1 <= shape.halo + right < T + 15
    points = shape.outer * math.prod(shape.factors)
    assert shape.halo + right + shape.block <= 2 * points
    assert shapes.tiles(shape.outer, operand).O1 >= 16


@pytest.mark.parametrize(
    ("L", "outer_points", "parts"),
    [(1 << 20, 256, 1), (1 << 22, 1024, 1), (1 << 24, 1024, 4)],
)
@pytest.mark.parametrize("operand", ["float16", "float32"])
def test_shapes_of_filters_as_long_as_the_input(L, outer_points, parts, operand):
    shape = shapes.shape_long(1, L, L, 0, operand)
    assert (shape.outer, shape.factors, shape.parts) == (
        outer_points,
        (16, 16, 16),
        parts,
    )


def test_no_such_outer_transform():
    with pytest.raises(ValueError, match=r"outer must be one of 16, 32, .* got 17"):
        shapes.tiles(17, "float16")


@pytest.mark.parametrize(("B", "L"), [(1, 1 << 20), (40, 1 << 20), (1, 1 << 28)])
def test_the_workspace_keeps_within_its_bytes(B, L, monkeypatch):
    monkeypatch.setattr(outer, "tiles", shapes.tiles)
    H, K, most = 8, 1 << 20, 64 << 20
    plan = GpuPlan(
        method="long", first_tap=0, taps=K, right=0, block=K, halo=K,
        factors=(64, 64), outer=256,
    )  # fmt: skip
    u = torch.empty(B, H, L, dtype=torch.bfloat16, device="meta")
    k = torch.empty(H, K, device="meta")
    with record_launches() as launches:
        long.convolve(plan, Input(u), k, Output(u), workspace=most)
        long.filter_grad(plan, Input(u), Input(u), k, workspace=most)
    values = [
        sum(
            t.nbytes
            for t in {id(t): t for t in call.arguments if _workspace(t)}.values()
        )
        for call in launches
    ]
    assert most / 3 < max(values) <= most


def _workspace(t: object) -> bool:
    return isinstance(t, Tensor) and t.ndim == 4
