"""The outer transform of a long convolution: down the columns of a tile.

F points, F = outer * inner; O1, O2 factors of outer, C columns of a tile. Position n
stands at row n_o and column n_i, n = n_o inner + n_i; frequency k - 1/4 has
k = k_o + outer k_i. The quarter belongs to a real sequence of 2F values whose halves
ride as real and imaginary part: their product of transforms is the negacyclic
convolution of the 2F values, see ../../README.md. It stands in the tables of the first
factor and in the twiddles alone.

    X[k_o, k_i] = sum_ni e(n_i k_i / inner) e(n_i (k_o - 1/4) / F)
                  sum_no e(n_o (k_o - 1/4) / outer) x[n_o, n_i],   e(a) = exp(-2 pi i a)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genomeconv_kernels.fftconv.gpu import tables
from genomeconv_kernels.fftconv.gpu.operands import (
    OPERANDS,
    Input,
    Output,
    read_arguments,
    strides,
    write_arguments,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.shapes import tiles
from genomeconv_kernels.fftconv.gpu.signal import normalise_complex, row_of
from genomeconv_kernels.fftconv.gpu.transform import _left
from genomeconv_kernels.fftconv.gpu.windows import halves_of, write_row
from genomeconv_kernels.launch import launch


@triton.jit
def rotate(re, im, phase, QUARTER: tl.constexpr, SIGN: tl.constexpr):
    """Multiply by exp(SIGN i (pi / 2) phase / QUARTER).

    Phases are whole, from -QUARTER / 2 up, so they are reduced to an eighth of a turn
    without rounding: with QUARTER up to 2^24 the factor is right to 1e-7 at any size.
    """
    quarters = (phase + QUARTER // 2) // QUARTER
    rest = (phase - quarters * QUARTER).to(tl.float32)
    angle = rest * (1.5707963267948966 / QUARTER)
    q = angle * angle
    s = ((2.7557319e-6 * q - 1.9841270e-4) * q + 8.3333333e-3) * q - 1.6666667e-1
    s = angle + angle * q * s
    c = ((-2.7557319e-7 * q + 2.4801587e-5) * q - 1.3888889e-3) * q + 4.1666667e-2
    c = 1.0 + q * (q * c - 0.5)
    odd = (quarters & 1) != 0
    c, s = tl.where(odd, -s, c), tl.where(odd, c, s)
    sign = tl.where((quarters & 2) != 0, -1.0, 1.0)
    c, s = c * sign, s * (sign * SIGN)
    return re * c - im * s, re * s + im * c


@triton.jit
def positions(O1: tl.constexpr, O2: tl.constexpr, C: tl.constexpr):
    """Row n_o and column within the tile of the elements of a tile (O1, O2 C)."""
    j = tl.arange(0, O2 * C)
    return tl.arange(0, O1)[:, None] * O2 + (j // C)[None, :], (j % C)[None, :]


@triton.jit
def frequencies(O1: tl.constexpr, O2: tl.constexpr, C: tl.constexpr):
    """Row k_o and column of the elements of a tile (O2, O1 C), or (O1, C)."""
    if O2 == 1:
        return tl.arange(0, O1)[:, None], tl.arange(0, C)[None, :]
    else:
        j = tl.arange(0, O1 * C)
        return tl.arange(0, O2)[:, None] * O1 + (j // C)[None, :], (j % C)[None, :]


@triton.jit
def _turned(x, M: tl.constexpr, N: tl.constexpr, C: tl.constexpr):
    """(M, N C) to (N, M C)."""
    return tl.reshape(tl.permute(tl.reshape(x, (M, N, C)), (1, 0, 2)), (N, M * C))


@triton.jit
def _between(re, im, O1: tl.constexpr, O2: tl.constexpr, C, SIGN: tl.constexpr):
    """Twiddle factors between the two factors of outer, on a tile (O1, O2 C)."""
    n2 = (tl.arange(0, O2 * C) // C)[None, :]
    k1 = tl.arange(0, O1)[:, None]
    return rotate(re, im, n2 * (4 * k1 - 1), O1 * O2, SIGN)


@triton.jit
def outer_forward(
    re, im, dft1, dft2,
    O1: tl.constexpr, O2: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform the columns of a tile as `positions` into one as `frequencies`."""
    re, im = _left(re, im, dft1, O1, -1, PRECISION)
    if O2 > 1:
        re, im = _between(re, im, O1, O2, C, -1)
        re, im = _turned(re, O1, O2, C), _turned(im, O1, O2, C)
        re, im = _left(re, im, dft2, O2, -1, PRECISION)
    return re, im


@triton.jit
def outer_inverse(
    re, im, turned1, dft2,
    O1: tl.constexpr, O2: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform the columns of a tile as `frequencies` into one as `positions`."""
    if O2 > 1:
        re, im = _left(re, im, dft2, O2, 1, PRECISION)
        re, im = _turned(re, O2, O1, C), _turned(im, O2, O1, C)
        re, im = _between(re, im, O1, O2, C, 1)
    return _left(re, im, turned1, O1, 1, PRECISION)


@triton.jit
def _place(pid, blocks, B, TILES: tl.constexpr):
    """Tile and window of a program; the window's block, batch row and channel.

    Neighbouring programs take neighbouring columns: they share cache lines.
    """
    row = pid // TILES
    return pid % TILES, row, row % blocks, (row // blocks) % B, row // blocks // B


@triton.jit
def _columns_forward(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    values, scales, dft1, dft2,
    u_b, u_h, pre_b, pre_h, state_b, state_h,
    H, B, L, S, blocks, begin, V, low, high,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
    O1: tl.constexpr, O2: tl.constexpr, C: tl.constexpr, INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    F: tl.constexpr = O1 * O2 * INNER
    TILES: tl.constexpr = INNER // C
    tile, row, block, b, h = _place(tl.program_id(0), blocks, B, TILES)

    no, c = positions(O1, O2, C)
    n = no * INNER + (tile * C + c)
    t = begin + block * V + n
    re, im = halves_of(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t, t + F, H, L, S,
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip
    re = tl.where((n >= low) & (n < high), re, 0.0)
    im = tl.where((n + F >= low) & (n + F < high), im, 0.0)
    re, im, scale = normalise_complex(re, im)
    re, im = outer_forward(re, im, dft1, dft2, O1, O2, C, PRECISION)

    ko, c = frequencies(O1, O2, C)
    ni = tile * C + c
    re, im = rotate(re, im, ni * (4 * ko - 1), F, -1)
    at = values + row.to(tl.int64) * (2 * F) + (ko * INNER + ni)
    tl.store(at, re.to(values.dtype.element_ty))
    tl.store(at + F, im.to(values.dtype.element_ty))
    tl.store(scales + row * TILES + tile, scale)


@triton.jit
def _columns_inverse(
    values, scales, turned1, dft2, total,
    out, post, out2, post2, post_table, post_past,
    out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h, total_b, total_h,
    H, B, L, blocks, start, V, low, high, factor,
    HAS_POST: tl.constexpr, TWO: tl.constexpr, ADD: tl.constexpr, T: tl.constexpr,
    O1: tl.constexpr, O2: tl.constexpr, C: tl.constexpr, INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    F: tl.constexpr = O1 * O2 * INNER
    TILES: tl.constexpr = INNER // C
    tile, row, block, b, h = _place(tl.program_id(0), blocks, B, TILES)

    ko, c = frequencies(O1, O2, C)
    ni = tile * C + c
    at = values + row.to(tl.int64) * (2 * F) + (ko * INNER + ni)
    size = tl.load(scales + row * (O1 * O2) + ko)
    re = tl.load(at).to(tl.float32) * size
    im = tl.load(at + F).to(tl.float32) * size
    re, im, scale = normalise_complex(re, im)
    re, im = rotate(re, im, ni * (4 * ko - 1), F, 1)
    re, im = outer_inverse(re, im, turned1, dft2, O1, O2, C, PRECISION)
    re, im = re * (scale * factor), im * (scale * factor)

    no, c = positions(O1, O2, C)
    n = no * INNER + (tile * C + c)
    t = start + block * V + (n - low)
    real = (n >= low) & (n < high) & (t < L)
    imag = (n + F >= low) & (n + F < high) & (t + F < L)
    if ADD:
        so_far = row_of(total, b, h, total_b, total_h) - start
        re += tl.load(so_far + t, mask=real, other=0.0)
        im += tl.load(so_far + (t + F), mask=imag, other=0.0)
    write_row(
        re, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b, h, t, real, H, L, HAS_POST, TWO, T,
    )  # fmt: skip
    write_row(
        im, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b, h, t + F, imag, H, L, HAS_POST, TWO, T,
    )  # fmt: skip


class Windows(NamedTuple):
    """Windows in the workspace, in the order channel, batch row, block."""

    values: Tensor
    """(windows, 2, outer, inner), in the type of the products' operands."""
    columns: Tensor
    """Scales of tiles of columns (windows, inner / C), float32."""
    rows: Tensor
    """Scales of rows (windows, outer), float32."""

    @classmethod
    def empty(
        cls, plan: GpuPlan, count: int, device: torch.device, *, short: bool = False
    ) -> Windows:
        """Return memory for so many windows; `short` if short filters fill them."""
        tile = tiles(plan.outer, plan.operand, short=short)
        columns = max(plan.inner // tile.columns, 1)
        kind = OPERANDS[plan.operand]
        size = (count, 2, plan.outer, plan.inner)
        return cls(
            torch.empty(size, dtype=kind, device=device),
            torch.empty(count, columns, dtype=torch.float32, device=device),
            torch.empty(count, plan.outer, dtype=torch.float32, device=device),
        )


class Reach(NamedTuple):
    """Blocks of every row, and the positions low..high of a window they use."""

    blocks: int
    begin: int
    """Position of the first window's first value, or of the first output."""
    low: int
    high: int


def columns_forward(plan: GpuPlan, x: Input, w: Windows, at: Reach, H: int) -> None:
    """Fill windows with x, zero outside low..high, and transform their columns.

    H is the channels short filters' pasts are laid out for.
    """
    B, rows, L = x.u.shape
    read, read_strides, S = read_arguments(x, align=False)
    launch(
        _columns_forward, B * rows * at.blocks * w.columns.shape[1],
        *read, w.values, w.columns, *_matrices(plan, x.u.device, turned=False),
        *read_strides,
        H, B, L, S, at.blocks, at.begin, plan.block, at.low, at.high,
        HAS_PRE=x.pre is not None, HAS_STATE=x.state is not None, T=x.short_taps,
        **_constants(plan, w),
    )  # fmt: skip


def columns_inverse(
    plan: GpuPlan, w: Windows, y: Output, at: Reach, H: int, total: Tensor | None = None
) -> None:
    """Transform columns back and write low..high of every window, total added."""
    B, rows, L = y.out.shape
    written, write_strides = write_arguments(y, y.out)
    launch(
        _columns_inverse, B * rows * at.blocks * w.columns.shape[1],
        w.values, w.rows, *_matrices(plan, y.out.device, turned=True),
        total if total is not None else w.rows,
        *written, *write_strides, *strides(total),
        H, B, L, at.blocks, at.begin, plan.block, at.low, at.high,
        math.sqrt(plan.fft_size),
        HAS_POST=y.post is not None, TWO=y.out2 is not None, ADD=total is not None,
        T=y.post_short.taps if y.post_short else 0,
        **_constants(plan, w),
    )  # fmt: skip


def _matrices(
    plan: GpuPlan, device: torch.device, *, turned: bool
) -> tuple[Tensor, Tensor]:
    tile = tiles(plan.outer, plan.operand)
    kind = OPERANDS[plan.operand]
    return (
        tables.dft_matrix(tile.O1, kind, device, shift=0.25, turned=turned),
        tables.dft_matrix(tile.O2, kind, device),
    )


def _constants(plan: GpuPlan, w: Windows) -> dict[str, int | str]:
    tile = tiles(plan.outer, plan.operand)
    return {
        "O1": tile.O1, "O2": tile.O2, "C": plan.inner // w.columns.shape[1],
        "INNER": plan.inner, "PRECISION": plan.precision, "num_warps": tile.warps,
    }  # fmt: skip
