"""Frequency-sparse convolution, in Triton's interpreter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genomeconv_kernels import FrequencyMask, backend, fft_conv, sparse_fft_conv
from genomeconv_kernels.fftconv.gpu import sparse
from genomeconv_kernels.fftconv.gpu.limits import Limits
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


def mask_of(name: str) -> FrequencyMask:
    rows = tuple(tuple(map(bool, row)) for row in MASKS[name])
    return FrequencyMask(fft_size=math.prod(FACTORS), kept=rows)


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


def run(plan, x: Input, k: Tensor, mask, post=None, spoil=False) -> Tensor:
    out = torch.full(x.u.shape, torch.nan, dtype=x.u.dtype)
    filter_ = sparse.prepare(plan, k, mask)
    if spoil:
        kept = torch.tensor(mask.kept).repeat_interleave(16, 0)
        kept = kept.repeat_interleave(16, 1).flatten()
        filter_.values[..., ~kept] = torch.nan
    sparse.convolve(plan, x, filter_, Output(out, post))
    return out


def masked(k: Tensor, mask: FrequencyMask) -> Tensor:
    """Spectrum of taps in float64, dropped frequencies 0, found by arithmetic."""
    N1, N2 = FACTORS
    F = N1 * N2
    keep = torch.zeros(F, dtype=torch.bool)
    for f in range(F):
        for g in (f, -f % F):
            k1, k2 = g % N1, g // N1
            row = (k1 if k1 < N1 // 2 else N1 - k1) if k1 != N1 // 2 else 0
            column = min(k2, N2 - 1 - k2)
            block = mask.kept[row // 8][column // 8]
            keep[f] = block if g == f else keep[f] & block
    return torch.fft.fft(k.double(), F) * keep


def true(x: Tensor, k: Tensor, mask: FrequencyMask, plan: GpuPlan) -> Tensor:
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
    rows = [list(row) for row in mask.kept]
    r, c = next((r, row.index(False)) for r, row in enumerate(rows) if not all(row))
    rows[r][c] = True
    more = FrequencyMask(fft_size=mask.fft_size, kept=tuple(map(tuple, rows)))
    for other in (more, mask_of("all")):
        assert error(got, true(u, k, other, plan)) > 5 * tolerance[torch.bfloat16]


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
    assert blocks == torch.tensor(mask.kept).nonzero().tolist()


@pytest.fixture
def triton():
    with backend.forced("triton"):
        yield


def single(F: int, share: int) -> FrequencyMask:
    """A mask that keeps every so manieth block."""
    rows, columns = FrequencyMask.low_pass(F, 1).blocks
    flat = [i % share == 0 for i in range(rows * columns)]
    return FrequencyMask.of_blocks(F, flat)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("F", [256, 512, 1024, 2048, 4096])
@pytest.mark.usefixtures("triton")
def test_the_public_call_is_its_definition(F, dtype, error, tolerance):
    """Every size and dtype, with a kernel of its own or through torch."""
    u, pre, post, k = draw(3, 1, 300, 70)
    u, pre, post = u.to(dtype), pre.to(dtype), post.to(dtype)
    mask = single(F, 2)
    got = sparse_fft_conv(u, k, mask, pre, post, right=9)
    assert got.dtype == dtype
    with backend.forced("torch"):
        wide = [t.double() for t in (u, k, pre, post)]
        wanted = sparse_fft_conv(*wide[:2], mask, *wide[2:], right=9)
    assert error(got, wanted) < tolerance[dtype]


@pytest.mark.usefixtures("triton")
def test_a_period_with_taps_ahead(error):
    u, pre, _, k = draw(2, 2, 256, 256)
    mask = single(256, 1)
    got = sparse_fft_conv(u, k, mask, pre, right=100, circular=True)
    wanted = fft_conv(u.double(), k.double(), pre.double(), right=100, circular=True)
    assert error(got, wanted) < 1e-5


@pytest.mark.usefixtures("triton")
def test_every_gradient(error, tolerance):
    given = draw(2, 2, 700, 60)
    mask, grads = single(512, 2), []
    for dtype, path in ((torch.float16, "triton"), (torch.float64, "torch")):
        u, pre, post = (t.half().to(dtype).requires_grad_() for t in given[:3])
        k = given[3].to(torch.promote_types(dtype, torch.float32))
        k = k.detach().clone().requires_grad_()
        with backend.forced(path):
            y = sparse_fft_conv(u, k, mask, pre, post, right=3)
            y.backward(torch.cos(torch.arange(y.numel())).view_as(y).half().to(dtype))
        grads.append((u.grad, k.grad, pre.grad, post.grad))
    for got, wanted in zip(*grads, strict=True):
        assert error(got, wanted) < tolerance[torch.float16]


def test_no_tile_no_plan():
    """float32 has none beyond 512 points, and none is where memory is short."""
    like = torch.empty(1, dtype=torch.bfloat16)
    tiny = Limits(target="sm_75", shared=4096)
    for F in (256, 512, 1024, 2048, 4096):
        mask = single(F, 1)
        where = mask, 9, 0, *window(9, 0, F)
        assert sparse.plan(*where, like).factors == mask.factors
        assert (sparse.plan(*where, like.float()) is None) == (F > 512)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Limits, "of", lambda device: tiny)
            assert (sparse.plan(*where, like) is None) == (F > 256)


def test_a_nan_stays_in_its_blocks_row_and_channel():
    u, _, _, k = draw(2, 2, 1000, 100)
    u[0, 1, 480] = torch.nan
    mask = single(256, 2)
    halo, V = window(100, 0, 256)
    with backend.forced("triton"):
        bad = ~sparse_fft_conv(u, k, mask).isfinite()
    starts = [t for t in range(0, 1000, V) if t - halo <= 480 < t - halo + 256]
    wanted = torch.zeros_like(bad)
    for t in starts:
        wanted[0, 1, t : t + V] = True
    assert bad.equal(wanted)
