"""Frequency-sparse convolution: blocks of the spectrum left out, with all their work.

Axes: B batch, H channels, L positions, K taps, F = N1 N2 points of a window, whose
frequencies stand in a table of N1 x N2, rows and columns folded; see `..mask`.

Each block of outputs is the valid part of the circular convolution of F points with the
masked spectrum. Where one window holds the whole signal (`block` = F, no halo) that is
the frequency-sparse convolution of Fu et al. 2023, section 3.3 (arXiv:2311.05908).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genomeconv_kernels.fftconv.gpu import tables
from genomeconv_kernels.fftconv.gpu.limits import Limits, Operand
from genomeconv_kernels.fftconv.gpu.operands import OPERANDS, Input, Output, options
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.signal import normalise
from genomeconv_kernels.fftconv.gpu.tiles import SPARSE_TILES
from genomeconv_kernels.fftconv.gpu.transform import positions, turn
from genomeconv_kernels.fftconv.gpu.windows import (
    arguments,
    place,
    window_of,
    write_row,
)
from genomeconv_kernels.fftconv.mask import FrequencyMask, folded, order
from genomeconv_kernels.launch import launch


class SparseSpectrum(NamedTuple):
    """A masked filter."""

    values: Tensor
    """Real then imaginary part (H, 2, F), folded; dropped blocks are never read."""
    scale: Tensor
    """(H,), float32: what results are multiplied by."""
    kept: Tensor
    """int32: kept row blocks; where each one's columns begin, and end; the columns."""
    rows: int
    """Row blocks with a block kept."""


@triton.jit
def _wave(table, row, N: tl.constexpr):
    """Cosine and sine of 16 rows of a DFT matrix (N, N)."""
    at = (row + tl.arange(0, 16))[:, None] * N + tl.arange(0, N)[None, :]
    return tl.load(table + at), tl.load(table + N * N + at)


@triton.jit
def _left(c, s, re, im, a, b, SIGN: tl.constexpr, PRECISION: tl.constexpr):
    """Add (c + SIGN i s)(re + i im) to a + i b."""
    a = tl.dot(c, re, a, input_precision=PRECISION)
    b = tl.dot(c, im, b, input_precision=PRECISION)
    a = tl.dot(s, im if SIGN < 0 else -im, a, input_precision=PRECISION)
    b = tl.dot(s, -re if SIGN < 0 else re, b, input_precision=PRECISION)
    return a, b


@triton.jit
def _right(re, im, c, s, a, b, SIGN: tl.constexpr, PRECISION: tl.constexpr):
    """Add (re + i im)(c + SIGN i s) to a + i b."""
    a = tl.dot(re, c, a, input_precision=PRECISION)
    b = tl.dot(im, c, b, input_precision=PRECISION)
    a = tl.dot(im if SIGN < 0 else -im, s, a, input_precision=PRECISION)
    b = tl.dot(-re if SIGN < 0 else re, s, b, input_precision=PRECISION)
    return a, b


@triton.jit
def _columns(
    re, im, values, dft2, columns, first, last,
    F: tl.constexpr, N2: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take rows (16, N2) to their kept frequencies, times the filter, and back."""
    kind: tl.constexpr = dft2.dtype.element_ty
    re, im = re.to(kind), im.to(kind)
    back_re = tl.zeros((16, N2), tl.float32)
    back_im = tl.zeros((16, N2), tl.float32)
    i = tl.arange(0, 16)
    for j in range(first, last):
        column = tl.load(columns + j) * 16
        c, s = _wave(dft2, column, N2)
        fr = tl.zeros((16, 16), tl.float32)
        fi = tl.zeros((16, 16), tl.float32)
        fr, fi = _right(re, im, tl.trans(c), tl.trans(s), fr, fi, -1, PRECISION)
        at = values + i[:, None] * N2 + column + i[None, :]
        kr, ki = tl.load(at).to(tl.float32), tl.load(at + F).to(tl.float32)
        fr, fi = (fr * kr - fi * ki).to(kind), (fr * ki + fi * kr).to(kind)
        back_re, back_im = _right(fr, fi, c, s, back_re, back_im, 1, PRECISION)
    return back_re, back_im


@triton.jit
def _convolve(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    values, scale, kept, table,
    out, post, out2, post2, post_table, post_past,
    u_b, u_h, pre_b, pre_h, state_b, state_h,
    out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
    B, H, L, S, windows, pairs, halo, right, V, rows,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, HAS_POST: tl.constexpr,
    TWO: tl.constexpr, T: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    F: tl.constexpr = N1 * N2
    h = tl.program_id(0) // pairs
    pair = tl.program_id(0) % pairs
    n = positions(N1, N2, 1)
    b1, begin1 = place(2 * pair, windows, B, halo, V)
    b2, begin2 = place(2 * pair + 1, windows, B, halo, V)
    x1 = window_of(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b1, h, begin1 + n, H, L, S,
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip
    x2 = window_of(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b2, h, begin2 + n, H, L, S,
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip
    x1, scale1, bad1 = normalise(x1)
    x2, scale2, bad2 = normalise(x2)
    kind: tl.constexpr = table.dtype.element_ty
    x1, x2 = x1.to(kind), x2.to(kind)

    dft2 = table + 2 * N1 * N1
    twiddle = dft2 + 2 * N2 * N2
    y1 = tl.zeros((N1, N2), tl.float32)
    y2 = tl.zeros((N1, N2), tl.float32)
    for i in range(rows):
        row = tl.load(kept + i) * 16
        first, last = tl.load(kept + rows + i), tl.load(kept + rows + i + 1)
        c, s = _wave(table, row, N1)
        re = tl.zeros((16, N2), tl.float32)
        im = tl.zeros((16, N2), tl.float32)
        re, im = _left(c, s, x1, x2, re, im, -1, PRECISION)
        re, im = turn(re, im, twiddle + row * N2, F, 16, N2, -1)
        re, im = _columns(
            re, im, values + h.to(tl.int64) * 2 * F + row * N2, dft2,
            kept + 2 * rows + 1, first, last, F, N2, PRECISION,
        )  # fmt: skip
        re, im = turn(re, im, twiddle + row * N2, F, 16, N2, 1)
        y1, y2 = _left(
            tl.trans(c), tl.trans(s), re.to(kind), im.to(kind), y1, y2, 1, PRECISION
        )

    k = tl.load(scale + h)
    fresh = (n >= halo + right) & (n < halo + right + V)
    t = n - right
    write_row(
        y1 * (scale1 * k) + bad1, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b1, h, begin1 + t, fresh & (begin1 + t < L), H, L, HAS_POST, TWO, T,
    )  # fmt: skip
    write_row(
        y2 * (scale2 * k) + bad2, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b2, h, begin2 + t, fresh & (begin2 + t < L), H, L, HAS_POST, TWO, T,
    )  # fmt: skip


def plan(
    mask: FrequencyMask,
    taps: int,
    right: int,
    halo: int,
    block: int,
    like: Tensor,
    limits: Limits | None = None,
) -> GpuPlan | None:
    """Return how windows of a mask run on the device of `like`; None: they cannot.

    float32 beyond the last of its tiles would spill.
    """
    operand: Operand = "float32" if like.dtype == torch.float32 else "float16"
    limits = limits or Limits.of(like.device)
    tile = SPARSE_TILES[operand].get(mask.fft_size)
    if tile is None or tile.shared > limits.shared:
        return None
    return GpuPlan(
        method="overlap_save", first_tap=0, taps=taps, right=right, block=block,
        halo=halo, factors=tile.factors, operand=operand,
        precision="ieee" if limits.amd else tile.precision, warps=tile.warps,
    )  # fmt: skip


def prepare(plan: GpuPlan, taps: Tensor, mask: FrequencyMask) -> SparseSpectrum:
    """Return the masked spectra of taps (H, K); the plan has the mask's factors."""
    places = _places(mask, taps.device)
    dense = torch.fft.fft(taps.float(), plan.inner)[:, places.order]
    dense = torch.where(places.inside, dense, 0)
    values = torch.view_as_real(dense).movedim(-1, 1)
    scale = values.abs().amax((1, 2))
    scale = torch.where((scale > 0) & scale.isfinite(), scale, 1.0)
    values = (values / scale[:, None, None]).to(OPERANDS[plan.operand]).contiguous()
    return SparseSpectrum(values, scale, places.kept, sum(map(any, mask.kept)))


class _Places(NamedTuple):
    """Frequency k of every place of the table, whether it is kept, kept blocks."""

    order: Tensor
    inside: Tensor
    kept: Tensor


@lru_cache(maxsize=64)
def _places(mask: FrequencyMask, device: torch.device) -> _Places:
    """Return a mask's tables, made once: a call copies nothing to the device."""
    columns = [[c for c, keep in enumerate(row) if keep] for row in mask.kept]
    kept = [r for r, row in enumerate(columns) if row]
    starts = [0]
    for r in kept:
        starts.append(starts[-1] + len(columns[r]))
    entries = kept + starts + [c for r in kept for c in columns[r]]
    k = order(mask.factors)
    return _Places(
        k.to(device),
        mask.frequencies()[k].to(device),
        torch.tensor(entries, dtype=torch.int32, device=device),
    )


@lru_cache(maxsize=64)
def _tables(
    factors: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return DFT matrices and twiddles (k1, n2), rows folded, one after the other."""
    N1, N2 = factors
    first, second = folded(N1, rows=True), folded(N2, rows=False)
    parts = [
        tables.dft_matrix(N1, dtype, torch.device("cpu"))[:, first],
        tables.dft_matrix(N2, dtype, torch.device("cpu"))[:, second],
        tables.twiddles(N1, N2, dtype, torch.device("cpu"))[:, first],
    ]
    return torch.cat([part.flatten() for part in parts]).to(device)


def convolve(plan: GpuPlan, x: Input, k: SparseSpectrum, y: Output) -> None:
    """Write the convolution with a masked filter into y, which may be uninitialised."""
    N1, N2 = plan.factors
    table = _tables(plan.factors, k.values.dtype, x.u.device)
    filter_ = k.values, k.scale, k.kept, table
    programs, given = arguments(plan, x, y, filter_, together=2)
    launch(
        _convolve, programs, *given, k.rows,
        **options(x, y), N1=N1, N2=N2,
        PRECISION=plan.precision, num_warps=plan.warps, num_stages=1,
    )  # fmt: skip
