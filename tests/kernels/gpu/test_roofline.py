"""The model of bytes and operations, against what kernels do when they run."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch
from triton.runtime import interpreter

from genomeconv_kernels import FrequencyMask, backend, sparse_fft_conv
from genomeconv_kernels.fftconv.gpu import roofline, sparse
from genomeconv_kernels.fftconv.gpu.limits import DATA_CENTRE
from genomeconv_kernels.fftconv.gpu.operands import Input, Output
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan, plan_gpu, window
from genomeconv_kernels.fftconv.gpu.roofline import H200, Shape, Work

CASES = {
    "short": (700, 4),
    "toeplitz": (9000, 100),
    "overlap_save": (1500, 100),
    "partitioned": (9000, 5000),
    "long": (3000, 3000),
}


@pytest.fixture
def flops(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """FLOPs of every matrix product that the interpreter makes."""
    counted: list[int] = []
    builder = interpreter.InterpreterBuilder
    dot = builder.create_dot

    def counting(self, a, b, *rest):
        *_, m, k = a.data.shape
        counted.append(2 * m * k * b.data.shape[-1])
        return dot(self, a, b, *rest)

    monkeypatch.setattr(builder, "create_dot", counting)
    return counted


@pytest.mark.parametrize("right", [0, 40], ids=["causal", "two-sided"])
@pytest.mark.parametrize("method", CASES)
def test_operations_are_those_that_run(method, right, flops):
    L, K = CASES[method]
    right = min(right, K - 1)
    plan = plan_gpu(
        2, 1, L, K, torch.float16, right=right, method=method, limits=DATA_CENTRE
    )
    band = importlib.import_module(f"genomeconv_kernels.fftconv.gpu.{method}")
    u = torch.randn(2, 1, L).half()
    k = band.prepare(plan, torch.randn(1, plan.taps))
    flops.clear()  # the filter is prepared once
    band.convolve(plan, Input(u), k, Output(torch.empty_like(u)))
    assert sum(flops) == roofline.forward(plan, Shape(2, 1, L, 2)).flops


def plan(method: str, dtype: torch.dtype = torch.bfloat16) -> GpuPlan:
    return plan_gpu(1, 256, 1 << 20, 1024, dtype, method=method, limits=DATA_CENTRE)


def work(method: str, dtype: torch.dtype = torch.bfloat16, **how) -> Work:
    return roofline.forward(
        plan(method, dtype), Shape(1, 256, 1 << 20, dtype.itemsize), **how
    )


def test_one_pass_reads_its_inputs_and_writes_its_output_once():
    elements = 256 << 20
    bare = work("overlap_save")
    spectra = 256 * 2 * 2 * plan("overlap_save").inner
    assert bare.bytes == elements * 4 + spectra
    assert work("overlap_save", pre=True).bytes == bare.bytes + 2 * elements
    gated = work("overlap_save", pre=True, post=True)
    assert gated.bytes == bare.bytes + 4 * elements
    two = work("overlap_save", pre=True, post=True, outputs=2)
    assert two.bytes == gated.bytes + 4 * elements  # another gate, another output
    assert gated.flops == bare.flops
    taps = 256 * 4 * 1024
    fp32 = work("long", torch.float32).bytes - work("long").bytes
    assert fp32 > 2 * 2 * elements + taps


def masked(*rows: str) -> FrequencyMask:
    """A mask of 1,024 points, its blocks given as letters."""
    return FrequencyMask(
        fft_size=1024, kept=tuple(tuple(letter == "x" for letter in r) for r in rows)
    )


MASKS = [masked("..", ".."), masked("x.", "x."), masked("..", ".x"), masked("xx", "xx")]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{mask.share:.0%} kept")
def test_dropped_blocks_are_neither_multiplied_nor_read(mask, flops):
    """What the public call multiplies is what is kept, no more and no less."""
    u, k = torch.randn(3, 2, 1700).half(), torch.randn(2, 100)
    with backend.forced("triton"):
        sparse_fft_conv(u, k, mask)
    plan = sparse.plan(mask, 100, 0, *window(100, 0, 1024), u)
    work = roofline.sparse(plan, mask, Shape(3, 2, 1700, 2))
    assert sum(flops) == work.flops
    whole = roofline.sparse(plan, MASKS[-1], Shape(3, 2, 1700, 2))
    assert whole.bytes - work.bytes == 2 * 4096 * (1 - mask.share)
    # A pair of windows with all kept takes what dense transforms do.
    assert whole.flops == 2 * 3 * 2 // 2 * 2 * 8 * 1024 * 64


def test_workspaces_are_counted_where_there_are_some():
    elements = 256 << 20
    long = work("long").bytes / elements
    partitioned = work("partitioned").bytes / elements
    assert 4 + 8 < long < 4 + 20
    assert 4 + 8 <= partitioned < 4 + 10


def test_backward_is_three_passes_of_which_one_writes_twice():
    plan = plan_gpu(1, 8, 1 << 16, 1024, torch.bfloat16, limits=DATA_CENTRE)
    shape = Shape(1, 8, 1 << 16, 2)
    whole = roofline.backward(plan, shape, pre=True, post=True)
    per_element = whole.bytes / shape.elements
    # dpost: u pre dy -> dpost; dx: dy post pre u -> du dpre; dk: u pre dy post
    assert 2 * (4 + 6 + 4) <= per_element < 2 * (4 + 6 + 4) + 2
    plain = roofline.backward(plan, shape)
    assert 2 * (2 + 2) <= plain.bytes / shape.elements < 2 * (2 + 2) + 2
    forward = roofline.forward(plan, shape).flops
    assert (plain.flops, whole.flops) == (2 * forward, 3 * forward)


def test_the_floor_is_the_higher_ceiling():
    plan = plan_gpu(1, 8, 1 << 20, 1024, torch.bfloat16, limits=DATA_CENTRE)
    assert roofline.floor(Work(4.3e12, 1.0), plan) == (1.0, "memory")
    assert roofline.floor(Work(1.0, 788e12), plan) == (1.0, "products")
    slow = replace(H200, bytes_per_s=1.0)
    assert roofline.floor(Work(5.0, 1.0), plan, slow) == (5.0, "memory")


@pytest.mark.parametrize(
    ("precision", "share"), [("tf32", 2), ("tf32x3", 6), ("ieee", 12)]
)
def test_products_of_float32_are_slower(precision, share):
    plan = plan_gpu(1, 8, 1 << 20, 100, torch.float32, limits=DATA_CENTRE)
    plan = replace(plan, precision=precision)
    assert H200.rate(plan) == H200.flops_per_s / share


def test_the_target_shape_is_bound_by_memory():
    """Gated, bf16, B 1, H 256, L 1 M: 8 bytes an output, half a millisecond."""
    plan = plan_gpu(
        1, 256, 1 << 20, 1024, torch.bfloat16, method="overlap_save", limits=DATA_CENTRE
    )
    work = roofline.forward(plan, Shape(1, 256, 1 << 20, 2), pre=True, post=True)
    seconds, bound = roofline.floor(work, plan)
    assert bound == "memory"
    assert seconds == pytest.approx(0.5e-3, rel=0.01)


def test_a_fused_mixer_moves_three_inputs_and_one_output():
    assert roofline.mixer_bytes(2, fused=True) == 8
    assert roofline.mixer_bytes(2, fused=False) == 20
