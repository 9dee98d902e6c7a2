"""Long convolutions: an outer transform across memory, an inner one on the chip.

Axes: B batch, H channels, L positions, K taps, V new outputs of a window; F points,
F = outer * inner. A window is 2F real values, the halves real and imaginary part of
one complex sequence whose transform (see `outer`) multiplies like a negacyclic
convolution. Nothing is paired, so rows and windows never meet.

Three passes, over as many channels, batch rows and blocks as the workspace holds:

1. columns forward: gated windows in, outer transform, workspace (outer, inner) out;
2. rows: inner transform, product with the filter's row, inner inverse, in place;
3. columns inverse: outer inverse, the V whole outputs of a window, gated, out.

Bytes per output, with e for a value of the input and w for one of the workspace (2
where products are in float16, else 4): u, two gates and y make 4e; the windows, 4
passes of 2w bytes a point, 8w F / V. F / V is 1 for K = L and 2/3 for K = F / 2. The
filter, once a channel for all batch rows: 4 bytes a tap and 8w F. For K = L, B = 1 and
16 bits that is 8 + 16 + 20 = 44 bytes.
"""

from __future__ import annotations

import itertools
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
    Short,
    select,
)
from genomeconv_kernels.fftconv.gpu.outer import (
    Reach,
    Windows,
    columns_forward,
    columns_inverse,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.shapes import part_taps
from genomeconv_kernels.fftconv.gpu.signal import normalise_complex
from genomeconv_kernels.fftconv.gpu.transform import (
    forward,
    frequencies,
    inverse,
    positions,
)
from genomeconv_kernels.launch import launch

WORKSPACE = 256 << 20
"""Bytes of workspace unless a call says otherwise. What fits the GPU's second-level
cache costs no memory traffic between the passes, but more launches."""


@triton.jit
def _row_of(values, row, ko, OUTER: tl.constexpr, INNER: tl.constexpr):
    """Pointer to the real parts of row k_o of a window."""
    return values + row.to(tl.int64) * (2 * OUTER * INNER) + ko * INNER


@triton.jit
def _spectrum(
    values, column_scales, row, ko, table,
    OUTER: tl.constexpr, C: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Inner transform of row k_o of a window, and its scale."""
    INNER: tl.constexpr = N1 * N2 * N3
    n = positions(N1, N2, N3)
    at = _row_of(values, row, ko, OUTER, INNER) + n
    size = tl.load(column_scales + row * (INNER // C) + n // C)
    re = tl.load(at).to(tl.float32) * size
    im = tl.load(at + OUTER * INNER).to(tl.float32) * size
    re, im, scale = normalise_complex(re, im)
    re, im = forward(re, im, table, N1, N2, N3, PRECISION)
    return re, im, scale


@triton.jit
def _store(re, im, at, F: tl.constexpr):
    tl.store(at, re.to(at.dtype.element_ty))
    tl.store(at + F, im.to(at.dtype.element_ty))


@triton.jit
def _rows_forward(
    values, column_scales, row_scales, table,
    OUTER: tl.constexpr, C: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    INNER: tl.constexpr = N1 * N2 * N3
    ko = tl.program_id(0) % OUTER
    row = tl.program_id(0) // OUTER
    re, im, scale = _spectrum(
        values, column_scales, row, ko, table, OUTER, C, N1, N2, N3, PRECISION
    )
    re, im, more = normalise_complex(re, im)
    at = _row_of(values, row, ko, OUTER, INNER) + frequencies(N1, N2, N3)
    _store(re, im, at, OUTER * INNER)
    tl.store(row_scales + row * OUTER + ko, scale * more)


@triton.jit
def _rows_product(
    values, column_scales, row_scales, k_values, k_scales, table, windows,
    OUTER: tl.constexpr, C: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # Neighbouring programs take the windows of a channel: they share the filter's row.
    INNER: tl.constexpr = N1 * N2 * N3
    i = tl.program_id(0) % windows
    ko = (tl.program_id(0) // windows) % OUTER
    h = tl.program_id(0) // windows // OUTER
    row = h * windows + i
    re, im, scale = _spectrum(
        values, column_scales, row, ko, table, OUTER, C, N1, N2, N3, PRECISION
    )
    k = _row_of(k_values, h, ko, OUTER, INNER) + frequencies(N1, N2, N3)
    kr = tl.load(k).to(tl.float32)
    ki = tl.load(k + OUTER * INNER).to(tl.float32)
    re, im = re * kr - im * ki, re * ki + im * kr
    re, im, more = normalise_complex(re, im)
    re, im = inverse(re, im, table, N1, N2, N3, PRECISION)
    at = _row_of(values, row, ko, OUTER, INNER) + positions(N1, N2, N3)
    _store(re, im, at, OUTER * INNER)
    size = tl.load(k_scales + h * OUTER + ko)
    tl.store(row_scales + row * OUTER + ko, scale * more * size)


@triton.jit
def _rows_correlation(
    values, scales, x_values, x_scales, g_values, g_scales, table, windows,
    OUTER: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # The sum of conj(X) G over all windows of a channel, in their order.
    INNER: tl.constexpr = N1 * N2 * N3
    F: tl.constexpr = OUTER * INNER
    ko = tl.program_id(0) % OUTER
    h = tl.program_id(0) // OUTER
    k = frequencies(N1, N2, N3)
    re = tl.zeros(k.shape, tl.float32)
    im = tl.zeros(k.shape, tl.float32)
    for i in range(windows):
        row = h * windows + i
        scale = tl.load(x_scales + row * OUTER + ko)
        scale *= tl.load(g_scales + row * OUTER + ko)
        x = _row_of(x_values, row, ko, OUTER, INNER) + k
        g = _row_of(g_values, row, ko, OUTER, INNER) + k
        xr = tl.load(x).to(tl.float32) * scale
        xi = tl.load(x + F).to(tl.float32) * scale
        gr = tl.load(g).to(tl.float32)
        gi = tl.load(g + F).to(tl.float32)
        re += xr * gr + xi * gi
        im += xr * gi - xi * gr
    re, im, scale = normalise_complex(re, im)
    re, im = inverse(re, im, table, N1, N2, N3, PRECISION)
    at = _row_of(values, h, ko, OUTER, INNER) + positions(N1, N2, N3)
    _store(re, im, at, F)
    tl.store(scales + h * OUTER + ko, scale)


class Round(NamedTuple):
    """What is in the workspace together, of every channel of a group."""

    batch: slice
    first: int
    """First block."""
    blocks: int


def prepare(plan: GpuPlan, taps: Tensor) -> Tensor:
    """Return taps (H, K) as they are: their spectra are made as they are used."""
    return taps


def convolve(
    plan: GpuPlan, x: Input, k: Tensor, y: Output, workspace: int = WORKSPACE
) -> None:
    """Write the convolution into y, which may be uninitialised.

    The workspace, in bytes, is exceeded only where one window does not fit.
    """
    H = x.u.shape[1]
    parts = _parts(plan)
    extra = 4 * plan.block if len(parts) > 1 else 0
    group, rounds = _rounds(plan, x.u, workspace, copies=1, extra=extra)
    f = Windows.empty(plan, group, x.u.device)
    w = Windows.empty(plan, group * _most(rounds), x.u.device, short=_short(x, y))
    for span, (i, r) in itertools.product(_spans(H, group), enumerate(rounds)):
        xs, ys = select(x, r.batch, span), select(y, r.batch, span)
        total = None
        for part in parts:
            if i == 0 or len(parts) > 1:
                columns_forward(plan, Input(k[None, span, part]), f, _taps(part), H)
                _forward(plan, f, len(k[span]))
            columns_forward(plan, xs, w, _inputs(plan, r, part), H)
            _product(plan, w, f, xs.u, r)
            if part is not parts[-1]:
                total = _add(plan, w, xs.u, r, total)
        columns_inverse(plan, w, ys, _outputs(plan, r), H, total)


def filter_grad(
    plan: GpuPlan, x: Input, g: Input, out: Tensor, workspace: int = WORKSPACE
) -> None:
    """Write dk[h, j] = sum g[b, h, t] x[b, h, t + right - j] into out (H, K), float32.

    Sums run over batch rows and blocks in one order. Workspace as in `convolve`.
    """
    H = x.u.shape[1]
    group, rounds = _rounds(plan, x.u, workspace, copies=2)
    f = Windows.empty(plan, group, x.u.device)
    w, v = (
        Windows.empty(plan, group * _most(rounds), x.u.device, short=_short(side))
        for side in (x, g)
    )
    for span, (i, r) in itertools.product(_spans(H, group), enumerate(rounds)):
        xs, gs = select(x, r.batch, span), select(g, r.batch, span)
        rows, channels = gs.u.shape[0] * r.blocks, gs.u.shape[1]
        columns_forward(plan, gs, v, _gradients(plan, r), H)
        _forward(plan, v, rows * channels)
        for part in _parts(plan):
            columns_forward(plan, xs, w, _inputs(plan, r, part), H)
            _forward(plan, w, rows * channels)
            _correlate(plan, f, w, v, rows, channels)
            dk = out[None, span, part]
            columns_inverse(plan, f, Output(dk), _taps(part), H, dk if i else None)


def _short(*sides: Input | Output) -> bool:
    """Whether short filters run on the way."""
    return any(isinstance(t, Short) for side in sides for t in side)


def _parts(plan: GpuPlan) -> list[slice]:
    """Cut the taps; part k[a:b] meets the inputs a positions earlier."""
    T = part_taps(plan.taps, plan.parts)
    return [slice(a, min(a + T, plan.taps)) for a in range(0, plan.taps, T)]


def _spans(H: int, group: int) -> list[slice]:
    return [slice(h, min(h + group, H)) for h in range(0, H, group)]


def _rounds(
    plan: GpuPlan, u: Tensor, workspace: int, *, copies: int, extra: int = 0
) -> tuple[int, list[Round]]:
    """Return the channels of a group, and what of each is done at a time.

    A window takes its values `copies` times and `extra` bytes.
    """
    B, H, L = u.shape
    values = 2 * plan.fft_size * OPERANDS[plan.operand].itemsize
    blocks = math.ceil(L / plan.block)
    group = workspace // (values + (copies * values + extra) * B * blocks)
    if group:
        return min(group, H), [Round(slice(0, B), 0, blocks)]
    most = max((workspace - values) // (copies * values + extra), 1)
    rows, most = max(most // blocks, 1), min(most, blocks)
    return 1, [
        Round(slice(b, min(b + rows, B)), first, min(most, blocks - first))
        for b in range(0, B, rows)
        for first in range(0, blocks, most)
    ]


def _most(rounds: list[Round]) -> int:
    rows: list[int] = [r.batch.stop - r.batch.start for r in rounds]
    return max(n * r.blocks for n, r in zip(rows, rounds, strict=True))


def _taps(part: slice) -> Reach:
    return Reach(1, 0, 0, part.stop - part.start)


def _inputs(plan: GpuPlan, r: Round, part: slice) -> Reach:
    begin = r.first * plan.block - plan.halo - part.start
    return Reach(r.blocks, begin, 0, 2 * plan.fft_size)


def _outputs(plan: GpuPlan, r: Round, begin: int | None = None) -> Reach:
    low = plan.halo + plan.right
    begin = r.first * plan.block if begin is None else begin
    return Reach(r.blocks, begin, low, low + plan.block)


def _gradients(plan: GpuPlan, r: Round) -> Reach:
    """Where gradients stand: each at the place of its output."""
    at = _outputs(plan, r)
    return at._replace(begin=at.begin - at.low)


def _add(
    plan: GpuPlan, w: Windows, u: Tensor, r: Round, total: Tensor | None
) -> Tensor:
    """Add the outputs of a part to those of the parts before (B, H, blocks V)."""
    size = (*u.shape[:2], r.blocks * plan.block)
    out = torch.empty(size, dtype=torch.float32, device=u.device)
    out = out if total is None else total
    columns_inverse(plan, w, Output(out), _outputs(plan, r, 0), u.shape[1], total)
    return out


def _forward(plan: GpuPlan, w: Windows, windows: int) -> None:
    launch(
        _rows_forward, windows * plan.outer,
        w.values, w.columns, w.rows, _table(plan, w),
        C=plan.inner // w.columns.shape[1], **_constants(plan),
    )  # fmt: skip


def _product(plan: GpuPlan, w: Windows, f: Windows, u: Tensor, r: Round) -> None:
    windows = u.shape[0] * r.blocks
    launch(
        _rows_product, u.shape[1] * windows * plan.outer,
        w.values, w.columns, w.rows, f.values, f.rows, _table(plan, w), windows,
        C=plan.inner // w.columns.shape[1], **_constants(plan),
    )  # fmt: skip


def _correlate(
    plan: GpuPlan, f: Windows, x: Windows, g: Windows, windows: int, channels: int
) -> None:
    launch(
        _rows_correlation, channels * plan.outer,
        f.values, f.rows, x.values, x.rows, g.values, g.rows, _table(plan, f), windows,
        **_constants(plan),
    )  # fmt: skip


def _table(plan: GpuPlan, w: Windows) -> Tensor:
    return tables.transform(plan.factors, w.values.dtype, w.values.device)


def _constants(plan: GpuPlan) -> dict[str, int | str]:
    N1, N2, N3 = (*plan.factors, 1)[:3]
    return {
        "OUTER": plan.outer, "N1": N1, "N2": N2, "N3": N3,
        "PRECISION": plan.precision, "num_warps": plan.warps, "num_stages": 1,
    }  # fmt: skip
