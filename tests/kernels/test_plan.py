"""Plans: pure, complete, and within their limits."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv_kernels import plan_conv
from genomeconv_kernels.fftconv.plan import METHODS, fft_sizes, transform_ns


def is_smooth(n: int) -> bool:
    while n % 2 == 0:
        n //= 2
    return n in (1, 3, 5)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    st.integers(1, 500), st.integers(1, 1024), st.integers(1, 1 << 22),
    st.integers(1, 1 << 21), st.booleans(), st.booleans(),
    st.sampled_from([None, *METHODS]), st.data(),
)  # fmt: skip
def test_every_plan_can_be_carried_out(B, H, L, K, history, prepared, method, data):
    right = 0 if history else data.draw(st.integers(0, K - 1))
    plan = plan_conv(
        B, H, L, K,
        right=right, history=history, prepared=prepared, method=method,
    )  # fmt: skip
    assert method in (None, plan.method)
    last = plan.first_tap + plan.taps
    assert 0 <= plan.first_tap <= right < last <= K
    assert plan.right == right - plan.first_tap
    if history:
        assert plan.taps == K
    else:  # the taps left out meet no position of the signal
        assert plan.first_tap in (0, right - (L - 1))
        assert last in (K, L + right)
    assert 1 <= plan.batches <= B
    assert 1 <= plan.channels <= H
    assert plan.blocks >= 1
    assert plan.cost_ns > 0
    if plan.method == "direct":
        assert plan.fft_size == 0
    elif plan.method == "overlap_save":
        assert is_smooth(plan.fft_size)
        assert plan.fft_size >= plan.block + plan.taps - 1
    else:
        assert is_smooth(plan.fft_size)
        assert plan.fft_size == 2 * plan.block
        assert plan.parts * plan.block >= plan.taps


@pytest.mark.parametrize(
    ("B", "H", "L", "K", "history", "method"),
    [
        (1, 128, 12_288, 3, False, "direct"),
        (1, 128, 12_288, 16, True, "direct"),
        (1, 128, 12_288, 128, True, "overlap_save"),
        (1, 128, 12_288, 4096, True, "overlap_save"),
        (1, 256, 1 << 20, 16_384, False, "overlap_save"),
        (1, 128, 1 << 20, 1_000_002, False, "partitioned"),
        (1, 128, 1 << 20, 1_000_002, True, "partitioned"),
        (1, 16, 1 << 22, 1 << 22, False, "partitioned"),
    ],
)
def test_methods_suit_the_shape(B, H, L, K, history, method):
    assert plan_conv(B, H, L, K, history=history).method == method


def test_taps_beyond_a_short_record_are_left_out():
    plan = plan_conv(200, 128, 64, 4096)
    assert plan.taps == 64
    assert plan.fft_size <= 160


def test_one_round_stays_in_cache():
    for K, L in ((4096, 12_288), (1024, 1 << 20), (16_384, 1 << 20)):
        plan = plan_conv(1, 512, L, K)
        rows = plan.batches * plan.channels * plan.blocks
        assert rows * plan.fft_size * 16 <= 16 << 20
    long = plan_conv(1, 512, 1 << 20, 1_000_002)
    spectra = 3 * -(-(1 << 20) // long.block) * long.channels * (long.block + 1) * 8
    assert spectra <= 50_000_000


def test_a_plan_is_a_function_of_the_shape_alone():
    before = torch.get_num_threads()
    plans = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        plans.append(plan_conv(2, 64, 5000, 700))
    torch.set_num_threads(before)
    assert plans[0] == plans[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        plans[0].block = 1


def test_transform_sizes_are_products_of_small_primes():
    sizes = fft_sizes(1000, 9000)
    assert sizes[0] == 1024
    assert sizes[-1] == 10_240
    assert all(map(is_smooth, sizes))
    assert transform_ns(1 << 20) > transform_ns(1 << 14) > transform_ns(1 << 10)
    assert transform_ns(12_288) > (transform_ns(8192) + transform_ns(16_384)) / 2


def test_a_half_precision_plan_is_that_of_float32():
    assert plan_conv(1, 8, 999, 99, torch.bfloat16) == plan_conv(1, 8, 999, 99)
