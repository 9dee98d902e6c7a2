"""A few taps: multiply and add, in float32, one pass over memory.

Axes: B batch, H channels, L positions, K taps; R rows of C positions in a program.

A tap reads the signal a few positions earlier, and such a load is misaligned: the GPU
fetches its elements one by one. So a thread keeps whole groups of C positions (16
bytes), loaded aligned, in registers; a shift is then the choice of a register. To the
outputs of a group belong the groups the taps reach, from AHEAD groups on backwards:

    y[C r + c] = sum_j k[j] x[C (r + AHEAD) + c - (j + LEAD)],   LEAD = C AHEAD - right

Sums are exact to float32 and take the taps in one order, so that the result does not
depend on where a signal is cut.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genomeconv_kernels.fftconv.gpu.operands import (
    Input,
    Output,
    options,
    read_arguments,
    write_arguments,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.signal import gated_at, past_of, row_of
from genomeconv_kernels.fftconv.gpu.windows import window_of, write_row
from genomeconv_kernels.launch import launch


@triton.jit
def _columns(x):
    """Columns of a tile (R, 4) or (R, 8), each (R,): a choice of registers."""
    R: tl.constexpr = x.shape[0]
    if x.shape[1] == 4:
        even, odd = tl.split(tl.reshape(x, (R, 2, 2)))
        c0, c2 = tl.split(even)
        c1, c3 = tl.split(odd)
        return (c0, c1, c2, c3)
    else:
        even, odd = tl.split(tl.reshape(x, (R, 4, 2)))
        c0, c2, c4, c6 = _columns(even)
        c1, c3, c5, c7 = _columns(odd)
        return (c0, c1, c2, c3, c4, c5, c6, c7)


@triton.jit
def _tile4(c0, c1, c2, c3):
    """Tile (R, 4) of its columns."""
    R: tl.constexpr = c0.shape[0]
    return tl.reshape(tl.join(tl.join(c0, c2), tl.join(c1, c3)), (R, 4))


@triton.jit
def _tile(c):
    """Tile (R, 4) or (R, 8) of its columns."""
    R: tl.constexpr = c[0].shape[0]
    if len(c) == 4:
        return _tile4(c[0], c[1], c[2], c[3])
    else:
        even, odd = _tile4(c[0], c[2], c[4], c[6]), _tile4(c[1], c[3], c[5], c[7])
        return tl.reshape(tl.join(even, odd), (R, 8))


@triton.jit
def _window(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t, H, L, S,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
    GROUPS: tl.constexpr,
):  # fmt: skip
    """Columns of the gated input of row (b, h) in GROUPS groups, the last at t.

    t is (R, C); returns GROUPS C columns of R, the earliest first.
    """
    C: tl.constexpr = t.shape[1]
    window = ()
    for m in tl.static_range(GROUPS):
        x = window_of(
            u, pre, state, u_table, u_past, pre_table, pre_past,
            u_b, u_h, pre_b, pre_h, state_b, state_h,
            b, h, t - C * (GROUPS - 1 - m), H, L, S, HAS_PRE, HAS_STATE, T,
        )  # fmt: skip
        window += _columns(x)
    return window


@triton.jit
def _convolve(
    u, pre, state, u_table, u_past, pre_table, pre_past, taps, bias,
    out, post, out2, post2, post_table, post_past,
    u_b, u_h, pre_b, pre_h, state_b, state_h,
    out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
    H, L, S, runs,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, HAS_POST: tl.constexpr,
    HAS_BIAS: tl.constexpr, TWO: tl.constexpr, T: tl.constexpr,
    K: tl.constexpr, AHEAD: tl.constexpr, LEAD: tl.constexpr, GROUPS: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    h = (pid // runs) % H
    b = pid // runs // H
    t = pid % runs * (R * C) + tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :]
    window = _window(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t + C * AHEAD, H, L, S,
        HAS_PRE, HAS_STATE, T, GROUPS,
    )  # fmt: skip
    start = 0.0
    if HAS_BIAS:
        start = tl.load(bias + h)
    columns = ()
    for c in tl.static_range(C):
        y = tl.zeros((R,), tl.float32) + start
        for j in tl.static_range(K):
            k = tl.load(taps + h * K + j)
            y += k * window[C * (GROUPS - 1) + c - j - LEAD]
        columns += (y,)  # type: ignore[assignment]
    y = _tile(columns)

    write_row(
        y, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b, h, t, t < L, H, L, HAS_POST, TWO, T,
    )  # fmt: skip


@triton.jit
def _correlate(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    g, post, g_table, g_past, post_table, post_past, partial,
    u_b, u_h, pre_b, pre_h, state_b, state_h, g_b, g_h, post_b, post_h,
    H, L, S, runs,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, HAS_POST: tl.constexpr,
    T: tl.constexpr, GT: tl.constexpr,
    K: tl.constexpr, AHEAD: tl.constexpr, LEAD: tl.constexpr, GROUPS: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    h = (pid // runs) % H
    b = pid // runs // H
    t = pid % runs * (R * C) + tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :]
    window = _window(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t + C * AHEAD, H, L, S,
        HAS_PRE, HAS_STATE, T, GROUPS,
    )  # fmt: skip
    g_wide: tl.constexpr = GT + 1
    gated = gated_at(
        row_of(g, b, h, g_b, g_h), row_of(post, b, h, post_b, post_h), g, t, L, 0,
        g_table + h * g_wide, past_of(g_past, b, h, H, GT),
        post_table + h * g_wide, past_of(post_past, b, h, H, GT),
        HAS_POST, False, GT,
    )  # fmt: skip
    columns = _columns(gated)
    for j in tl.static_range(K):
        total = tl.zeros((R,), tl.float32)
        for c in tl.static_range(C):
            total += columns[c] * window[C * (GROUPS - 1) + c - j - LEAD]
        tl.store(partial + pid.to(tl.int64) * K + j, tl.sum(total, 0))


def _tiling(u: Tensor, K: int, right: int, block: int) -> dict[str, int]:
    """Return the constants of K taps, `right` of them ahead, on rows like u's."""
    C = 16 // u.element_size()
    ahead = -(-right // C)
    lead = C * ahead - right
    groups = 1 + -(-(lead + K - 1) // C)
    names = ("K", "AHEAD", "LEAD", "GROUPS", "R", "C")
    return dict(zip(names, (K, ahead, lead, groups, block // C, C), strict=True))


def prepare(plan: GpuPlan, taps: Tensor) -> Tensor:
    """Return the taps (H, K), float32, rows side by side."""
    return taps.float().contiguous()


def convolve(plan: GpuPlan, x: Input, k: Tensor, y: Output) -> None:
    """Write the convolution into y, which may be uninitialised."""
    run(x, k, plan.right, y, plan.block, plan.warps)


def run(
    x: Input,
    k: Tensor,
    right: int,
    y: Output,
    block: int,
    warps: int,
    bias: Tensor | None = None,
) -> None:
    """Write post (bias + sum_j k[j] x[t + right - j]) into y; k (H, K), bias (H,)."""
    B, H, L = x.u.shape
    read, read_strides, S = read_arguments(x)
    written, write_strides = write_arguments(y, read[0])
    runs = -(-L // block)
    launch(
        _convolve, runs * B * H,
        *read, k, bias if bias is not None else k, *written,
        *read_strides, *write_strides, H, L, S, runs,
        **options(x, y), HAS_BIAS=bias is not None,
        **_tiling(x.u, k.shape[1], right, block), num_warps=warps,
    )  # fmt: skip


def filter_grad(plan: GpuPlan, x: Input, g: Input, out: Tensor) -> None:
    """Write dk[h, j] = sum_{b,t} g[t] x[t + right - j] into out (H, K).

    Every program sums its own positions; the sums of programs are added in one order.
    """
    B, H, L = x.u.shape
    read, read_strides, S = read_arguments(x)
    (dy, post, _, *shorts), grad_strides, _ = read_arguments(g)  # it has no state
    K, block = plan.taps, plan.block
    runs = -(-L // block)
    partial = out.new_empty((B, H, runs, K))
    launch(
        _correlate, runs * B * H,
        *read, dy, post, *shorts, partial, *read_strides, *grad_strides[:4],
        H, L, S, runs,
        HAS_PRE=x.pre is not None, HAS_STATE=x.state is not None,
        HAS_POST=g.pre is not None, T=x.short_taps, GT=g.short_taps,
        **_tiling(x.u, K, plan.right, block), num_warps=plan.warps,
    )  # fmt: skip
    out.copy_(partial.sum((0, 2)))
