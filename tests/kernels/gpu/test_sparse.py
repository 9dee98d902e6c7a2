"""Frequency-sparse convolution, in Triton's interpreter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genomeconv_kernels.fftconv.gpu import sparse
from genomeconv_kernels.fftconv.gpu.operands import Input, Output
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan, window

FACTORS = (32, 64)
BLOCKS = (2, 4)
MASKS = {
    "none": [[0, 0, 0, 0], [0, 0, 0, 0]],
    "low": [[1, 0, 0, 0], [1, 0, 0, 0]],
    "band": [[0, 1, 1, 0], [0, 1, 1, 0]],
    "one row": [[0, 0, 0, 0], [1, 1, 1, 1]],
    "one": [[0, 0, 0, 0], [0, 0, 1, 0]],
    "any": [[1, 0, 1, 1], [0, 1, 0, 0]],
    "all": [[1, 1, 1, 1], [1, 1, 1, 1]],
}


def mask_of(name: str) -> Tensor:
    return torch.tensor(MASKS[name], dtype=torch.bool)


def plan_of(K: int, right: int = 0, operand: str = "float32", **how) -> GpuPlan:
    if "block" not in how:
        how["halo"], how["block"] = window(K, right, math.prod(FACTORS))
    how.setdefault("factors", FACTORS)
    return GpuPlan(
        method="overlap_save", first_tap=0, taps=K, right=right, operand=operand, **how
    )


def draw(B: int, H: int, L: int, K: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    u, pre, post = (torch.randn(B, H, L, generator=g) for _ in range(3))
    return u, pre, post, torch.randn(H, K, generator=g)


def run(plan, x: Input, k: Tensor, mask: Tensor, post=None, spoil=False) -> Tensor:
    out = torch.full(x.u.shape, torch.nan, dtype=x.u.dtype)
    filter_ = sparse.prepare(plan, k, mask)
    if spoil:
        kept = mask.repeat_interleave(16, 0).repeat_interleave(16, 1).flatten()
        filter_.values[..., ~kept] = torch.nan
    sparse.convolve(plan, x, filter_, Output(out, post))
    return out


def masked(k: Tensor, mask: Tensor) -> Tensor:
    """Spectrum of taps in float64, dropped frequencies 0, found by arithmetic."""
    N1, N2 = FACTORS
    F = N1 * N2
    keep = torch.zeros(F, dtype=torch.bool)
    for f in range(F):
        for g in (f, -f % F):
            k1, k2 = g % N1, g // N1
            row = (k1 if k1 < N1 // 2 else N1 - k1) if k1 != N1 // 2 else 0
            column = min(k2, N2 - 1 - k2)
            block = bool(mask[row // 8, column // 8])
            keep[f] = block if g == f else keep[f] & block
    return torch.fft.fft(k.double(), F) * keep


def true(x: Tensor, k: Tensor, mask: Tensor, plan: GpuPlan) -> Tensor:
    """Block by block the valid part of circular convolutions with masked spectra."""
    F, L = plan.inner, x.shape[-1]
    padded = torch.cat(
        [torch.zeros(*x.shape[:-1], plan.halo), x, torch.zeros(*x.shape[:-1], 2 * F)],
        -1,
    ).double()
    y = torch.empty(*x.shape).double()
    for begin in range(0, L, plan.block):
        part = torch.fft.fft(padded[..., begin : begin + F]) * masked(k, mask)
        part = torch.fft.ifft(part)
        assert part.imag.abs().max() < 1e-9  # the masked filter is real
        size = min(plan.block, L - begin)
        first = plan.halo + plan.right
        y[..., begin : begin + size] = part.real[..., first : first + size]
    return y


@pytest.mark.parametrize("operand", ["float32", "float16"])
@pytest.mark.parametrize("name", MASKS)
def test_masks(name, operand, error, tolerance):
    dtype = getattr(torch, operand)
    u, pre, post, k = draw(1, 2, 2500, 100)
    u, pre, post = u.to(dtype), pre.to(dtype), post.to(dtype)
    plan, mask = plan_of(100, 7, operand), mask_of(name)
    got = run(plan, Input(u, pre), k, mask, post, spoil=True)
    wanted = true(pre.double() * u.double(), k, mask, plan) * post.double()
    if name == "none":
        assert not got.any()
    else:
        assert error(got, wanted) < tolerance[dtype]


def test_all_kept_is_the_dense_convolution(truth, error):
    u, pre, post, k = draw(1, 1, 2500, 100)
    got = run(plan_of(100), Input(u, pre), k, mask_of("all"), post)
    assert error(got, truth(u, k, pre, post)) < 1e-5


def test_one_window_is_the_circular_convolution_of_the_paper(error):
    """F = L: a masked spectrum of the whole signal, nothing cut off."""
    F = math.prod(FACTORS)
    u, _, _, k = draw(2, 1, F, F)
    mask = mask_of("any")
    got = run(plan_of(F, halo=0, block=F), Input(u), k, mask, spoil=True)
    wanted = torch.fft.ifft(torch.fft.fft(u.double()) * masked(k, mask)).real
    assert error(got, wanted) < 1e-5


@pytest.mark.parametrize("name", ["low", "one row", "any"])
def test_mutants_fail(name, error, tolerance):
    """The dense result, or that of a mask with one block more, must not pass."""
    u, _, _, k = draw(1, 1, 700, 100)
    plan, mask = plan_of(100), mask_of(name)
    got = run(plan, Input(u), k, mask)
    more = mask.clone()
    more[tuple((~mask).nonzero()[0])] = True
    for other in (more, torch.ones_like(mask)):
        assert error(got, true(u, k, other, plan)) > 5 * tolerance[torch.bfloat16]


def test_work_of_dropped_blocks_is_skipped():
    dense = 2 * 8 * math.prod(FACTORS) * sum(FACTORS)
    assert sparse.sparse_flops(mask_of("all"), FACTORS) == dense
    assert sparse.sparse_flops(mask_of("none"), FACTORS) == 0
    # Half the row blocks: half of all. A quarter of the columns: so much inside.
    N1, N2 = FACTORS
    assert sparse.sparse_flops(mask_of("one row"), FACTORS) == dense // 2
    inner = 16 * N1 * N2 * N2
    low = sparse.sparse_flops(mask_of("low"), FACTORS)
    assert low == dense - inner + inner // 4


@pytest.mark.parametrize("name", MASKS)
def test_loops_run_over_what_is_kept(name):
    """The table that bounds the kernel's loops lists exactly the kept blocks."""
    mask = mask_of(name)
    _, _, kept, rows = sparse.prepare(plan_of(100), draw(1, 1, 1, 100)[3], mask)
    entries = kept.tolist()
    starts, columns = entries[rows : 2 * rows + 1], entries[2 * rows + 1 :]
    blocks = [
        [r, c]
        for r, first, last in zip(entries[:rows], starts, starts[1:], strict=False)
        for c in columns[first:last]
    ]
    assert blocks == mask.nonzero().tolist()


def test_kept_frequencies_are_symmetric_and_nearly_all_of_their_blocks():
    F = math.prod(FACTORS)
    for name in MASKS:
        mask = mask_of(name)
        kept = sparse.kept_frequencies(mask, FACTORS)
        assert kept.equal(kept[-torch.arange(F) % F])
        assert 0 <= int(mask.sum()) * 256 - int(kept.sum()) <= 2 * BLOCKS[1]
    assert sparse.kept_frequencies(mask_of("all"), FACTORS).all()


@pytest.mark.parametrize(
    ("factors", "mask", "message"),
    [
        (
            (16, 16, 16),
            torch.ones(1, 1, dtype=torch.bool),
            "prepare: factors: wanted two powers of two from 16 up, got (16, 16, 16)",
        ),
        (
            FACTORS,
            torch.ones(4, 2, dtype=torch.bool),
            "prepare: mask: wanted bool (2, 4), got torch.bool (4, 2)",
        ),
        (
            FACTORS,
            torch.ones(2, 4),
            "prepare: mask: wanted bool (2, 4), got torch.float32 (2, 4)",
        ),
    ],
)
def test_messages(factors, mask, message):
    with pytest.raises(ValueError, match=r"^prepare: ") as refused:
        sparse.prepare(plan_of(100, factors=factors), torch.ones(1, 100), mask)
    assert str(refused.value) == message
