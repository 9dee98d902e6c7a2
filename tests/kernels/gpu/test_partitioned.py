"""The partitioned band, in Triton's interpreter."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import bands
import pytest
import torch
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

from genomeconv_kernels.fftconv.gpu import partitioned, shapes
from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Spectrum
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.launch import record_launches

FLOATS = [torch.float32, torch.float16]
# B, H, L, K, right, state; parts and blocks are of 128.
CASES = [
    (1, 1, 1, 1, 0, False),
    (2, 3, 333, 300, 0, True),
    (1, 2, 257, 300, 137, False),
    (2, 1, 100, 401, 0, True),
    (1, 1, 511, 400, 399, False),
    (1, 3, 255, 20, 0, True),
]


def plan_of(K: int, right: int, dtype: torch.dtype, factors=(8, 16)) -> GpuPlan:
    F, lead = math.prod(factors), shapes.aligned(right) - right
    return GpuPlan(
        method="partitioned", first_tap=0, taps=K, right=right, factors=factors,
        block=F, halo=F - right - lead, parts=math.ceil((K + lead) / F),
        operand="float32" if dtype == torch.float32 else "float16",
    )  # fmt: skip


run = partial(bands.convolved, partitioned)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution(case, dtype, error, tolerance):
    check(case, dtype, error, tolerance)


def test_bfloat16(error, tolerance):
    check(CASES[1], torch.bfloat16, error, tolerance)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_transform_of_three_factors(dtype, error, tolerance):
    check((1, 2, 333, 300, 0, True), dtype, error, tolerance, factors=(4, 8, 4))


def check(case, dtype, error, tolerance, **how):
    K, right = case[3:5]
    u, pre, post, _, k, state = draw(case, dtype)
    x = Input(u, pre, state)
    got = run(plan_of(K, right, dtype, **how), x, k, post)
    assert error(got, reference(x, k, post, right)) < tolerance[dtype]


@pytest.mark.parametrize("case", [(2, 2, 333, 300, 0, True), (1, 1, 200, 90, 7, False)])
def test_filter_gradient(case, error):
    K, right = case[3:5]
    u, pre, post, dy, _, state = draw(case)
    x, g = Input(u, pre, state), Input(dy, post)
    got = bands.filter_grad(partitioned, plan_of(K, right, u.dtype), x, g)
    assert error(got, true_grad(x, g, K, right)) < 1e-5


def test_what_is_in_the_workspace_together_changes_no_bit():
    u, pre, post, _, k, state = draw((2, 2, 333, 300, 0, True))
    plan, x = plan_of(300, 0, u.dtype), Input(u, pre, state)
    together = run(plan, x, k, post)
    for workspace in (0, 20_000):
        assert together.equal(run(plan, x, k, post, workspace=workspace))


def test_rows_apart_and_positions_apart(error):
    u, pre, post, _, k, _ = draw((2, 2, 333, 200, 0, False))
    got = run(plan_of(200, 0, u.dtype), apart(u, pre), k, post)
    assert error(got, reference(Input(u, pre), k, post, 0)) < 1e-5


def test_second_output_and_short_filters(error):
    check_second_output(partitioned, plan_of(140, 0, torch.float32), error)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_reaches_the_blocks_its_window_meets(bad):
    u, _, post, _, k, state = draw((2, 2, 600, 130, 0, True))
    plan = plan_of(130, 0, u.dtype)
    clean = run(plan, Input(u, None, state), k, post)
    u[1, 0, 200] = bad
    got = run(plan, Input(u, None, state), k, post)
    # Position 200 is in the windows of blocks 1 and 2; two parts carry them to 3.
    assert got[1, 0, 128:512].isnan().all()
    clean[1, 0, 128:512] = got[1, 0, 128:512] = 0
    assert got.equal(clean)


def test_a_filter_that_is_not_finite_stays_in_its_channel():
    u, _, post, _, k, state = draw((2, 2, 300, 130, 0, True))
    plan = plan_of(130, 0, u.dtype)
    clean = run(plan, Input(u, None, state), k, post)
    k[0, 129] = math.nan
    got = run(plan, Input(u, None, state), k, post)
    assert got[:, 0].isnan().all()
    assert got[:, 1].equal(clean[:, 1])


@pytest.mark.parametrize("power", [-90, 60])
def test_powers_of_two_pass_exactly(power):
    check_powers_of_two(partitioned, plan_of(200, 0, torch.float32), power)


def _last_tap_dropped(plan, k):
    return plan, torch.nn.functional.pad(k[:, :-1], (0, 1))


def _shifted_by_one(plan, k):
    return dataclasses.replace(plan, halo=plan.halo - 1), k


def _part_dropped(plan, k):
    return plan, torch.nn.functional.pad(k[:, : plan.block], (0, 300 - plan.block))


@pytest.mark.parametrize("mutant", [_last_tap_dropped, _shifted_by_one, _part_dropped])
def test_mutants_are_found(mutant, error):
    u, pre, post, _, k, state = draw((1, 2, 333, 300, 0, True))
    x = Input(u, pre, state)
    plan, taps = mutant(plan_of(300, 0, u.dtype), k)
    assert error(run(plan, x, taps, post), reference(x, k, post, 0)) > 0.02


@pytest.mark.parametrize("kernel", ["_windows", "_blocks"])
def test_a_stale_tile_is_found(kernel, monkeypatch, error):
    plan = plan_of(200, 0, torch.float32)
    check_stale_tile(partitioned, plan, partitioned, kernel, monkeypatch, error)


@given(
    K=st.integers(1, 1 << 22),
    reach=st.floats(0, 1),
    operand=st.sampled_from(["float16", "float32"]),
)
def test_every_shape_holds_its_taps(K, reach, operand):
    right = int(reach * (K - 1))
    shape = shapes.shape_partitioned(K, right, operand)
    lead = shape.block - shape.halo - right
    assert 0 <= lead < 16
    assert shape.halo % 16 == 0
    assert (shape.parts - 1) * shape.block < K + lead <= shape.parts * shape.block
    assert shape.block == math.prod(shape.factors)


@pytest.mark.parametrize(("B", "L"), [(1, 1 << 20), (40, 1 << 20)])
def test_the_workspace_keeps_within_its_bytes(B, L):
    H, most = 8, 64 << 20
    plan = plan_of(1 << 14, 0, torch.bfloat16, factors=(64, 64))
    u = torch.empty(B, H, L, dtype=torch.bfloat16, device="meta")
    k = Spectrum(torch.empty(H, 4, 2, 4096, device="meta"), torch.empty(H, 4))
    with record_launches() as launches:
        partitioned.convolve(plan, Input(u), k, Output(u), workspace=most)
    z = launches[0].arguments[7]
    assert z.shape[1] == 2 * 4096
    assert most / 3 < z.nbytes <= most
    assert sum(call.programs for call in launches) == 2 * B * H * L // 4096
