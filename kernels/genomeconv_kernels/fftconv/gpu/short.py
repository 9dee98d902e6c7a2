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
    aligned_state,
    lined,
    short_arguments,
    strides,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.signal import gated_at, row_of, write
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
    u, pre, state, t, L, S, u_table, u_past, pre_table, pre_past,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
    GROUPS: tl.constexpr,
):  # fmt: skip
    """Columns of the gated input in GROUPS groups, the last of them at t.

    t is (R, C); returns GROUPS C columns of R, the earliest first.
    """
    C: tl.constexpr = t.shape[1]
    window = ()
    for m in tl.static_range(GROUPS):
        x = gated_at(
            u, pre, state, t - C * (GROUPS - 1 - m), L, S,
            u_table, u_past, pre_table, pre_past, HAS_PRE, HAS_STATE, T,
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
    wide: tl.constexpr = T + 1
    past: tl.constexpr = max(T - 1, 0)
    window = _window(
        row_of(u, b, h, u_b, u_h),
        row_of(pre, b, h, pre_b, pre_h),
        row_of(state, b, h, state_b, state_h),
        t + C * AHEAD, L, S,
        u_table + h * wide, u_past + (b.to(tl.int64) * H + h) * past,
        pre_table + h * wide, pre_past + (b.to(tl.int64) * H + h) * past,
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

    o = row_of(out, b, h, out_b, out_h)
    g = row_of(post, b, h, post_b, post_h)
    ot, op = post_table + h * wide, post_past + (b.to(tl.int64) * H + h) * past
    write(y, o, g, t, t < L, L, ot, op, HAS_POST, T)
    if TWO:
        o = row_of(out2, b, h, out2_b, out2_h)
        g = row_of(post2, b, h, post2_b, post2_h)
        write(y, o, g, t, t < L, L, ot, op, True, 0)


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
    wide: tl.constexpr = T + 1
    past: tl.constexpr = max(T - 1, 0)
    window = _window(
        row_of(u, b, h, u_b, u_h),
        row_of(pre, b, h, pre_b, pre_h),
        row_of(state, b, h, state_b, state_h),
        t + C * AHEAD, L, S,
        u_table + h * wide, u_past + (b.to(tl.int64) * H + h) * past,
        pre_table + h * wide, pre_past + (b.to(tl.int64) * H + h) * past,
        HAS_PRE, HAS_STATE, T, GROUPS,
    )  # fmt: skip
    g_wide: tl.constexpr = GT + 1
    g_before: tl.constexpr = max(GT - 1, 0)
    gated = gated_at(
        row_of(g, b, h, g_b, g_h), row_of(post, b, h, post_b, post_h), g, t, L, 0,
        g_table + h * g_wide, g_past + (b.to(tl.int64) * H + h) * g_before,
        post_table + h * g_wide, post_past + (b.to(tl.int64) * H + h) * g_before,
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


def _short_taps(*signals: Input) -> int:
    shorts = (s for x in signals for s in (x.u_short, x.pre_short))
    return max((s.taps for s in shorts if s), default=0)


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
    u, pre, state = lined(x.u), lined(x.pre), lined(aligned_state(x.state))
    assert u is not None
    post, post2 = lined(y.post), lined(y.post2)
    runs = -(-L // block)
    launch(
        _convolve, runs * B * H,
        u, pre if pre is not None else u, state if state is not None else u,
        *short_arguments(x.u_short, u), *short_arguments(x.pre_short, u),
        k, bias if bias is not None else k,
        y.out, post if post is not None else u,
        y.out2 if y.out2 is not None else u, post2 if post2 is not None else u,
        *short_arguments(y.post_short, u),
        *strides(u), *strides(pre), *strides(state), *strides(y.out), *strides(post),
        *strides(y.out2), *strides(post2),
        H, L, 0 if state is None else state.shape[-1], runs,
        HAS_PRE=pre is not None, HAS_STATE=state is not None,
        HAS_POST=post is not None, HAS_BIAS=bias is not None, TWO=y.out2 is not None,
        T=_short_taps(x), **_tiling(u, k.shape[1], right, block), num_warps=warps,
    )  # fmt: skip


def filter_grad(plan: GpuPlan, x: Input, g: Input, out: Tensor) -> None:
    """Write dk[h, j] = sum_{b,t} g[t] x[t + right - j] into out (H, K).

    Every program sums its own positions; the sums of programs are added in one order.
    """
    B, H, L = x.u.shape
    u, pre, state = lined(x.u), lined(x.pre), lined(aligned_state(x.state))
    dy, post = lined(g.u), lined(g.pre)
    assert u is not None
    assert dy is not None
    K, block = plan.taps, plan.block
    runs = -(-L // block)
    partial = u.new_empty((B, H, runs, K), dtype=out.dtype)
    launch(
        _correlate, runs * B * H,
        u, pre if pre is not None else u, state if state is not None else u,
        *short_arguments(x.u_short, u), *short_arguments(x.pre_short, u),
        dy, post if post is not None else dy,
        *short_arguments(g.u_short, dy), *short_arguments(g.pre_short, dy), partial,
        *strides(u), *strides(pre), *strides(state), *strides(dy), *strides(post),
        H, L, 0 if state is None else state.shape[-1], runs,
        HAS_PRE=pre is not None, HAS_STATE=state is not None,
        HAS_POST=post is not None, T=_short_taps(x), GT=_short_taps(g),
        **_tiling(u, K, plan.right, block), num_warps=plan.warps,
    )  # fmt: skip
    out.copy_(partial.sum((0, 2)))
