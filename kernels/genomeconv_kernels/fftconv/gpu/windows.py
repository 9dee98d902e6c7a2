"""Windows of a channel: where they begin, what is read into them and written of them.

Axes: B batch, H channels, L positions, V new outputs of a window. Windows are counted
through the rows (b, h) of a channel h.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genomeconv_kernels.fftconv.gpu.operands import (
    Input,
    Output,
    read_arguments,
    write_arguments,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.signal import gated_at, past_of, row_of, write


@triton.jit
def place(window, windows, B, halo, V):
    """Row b and first position of a window; after the last of all it is beyond L."""
    b = window // windows
    begin = tl.where(b < B, (window - b * windows) * V - halo, 1 << 30)
    return tl.minimum(b, B - 1), tl.multiple_of(begin, 16)


@triton.jit
def window_of(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t, H, L, S,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Gated input of row (b, h) at positions t, float32."""
    wide: tl.constexpr = T + 1
    return gated_at(
        row_of(u, b, h, u_b, u_h), row_of(pre, b, h, pre_b, pre_h),
        row_of(state, b, h, state_b, state_h), t, L, S,
        u_table + h * wide, past_of(u_past, b, h, H, T),
        pre_table + h * wide, past_of(pre_past, b, h, H, T),
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip


@triton.jit
def halves_of(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t, later, H, L, S,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Both halves of a window, at t and later: real and imaginary part, float32."""
    re = window_of(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t, H, L, S,
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip
    im = window_of(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, later, H, L, S,
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip
    return re, im


@triton.jit
def block_of(
    g, pre, g_b, g_h, pre_b, pre_h, b, h, first, t, L, V, HAS_PRE: tl.constexpr
):
    """Gated gradient at first + t, zero outside of the V of its block."""
    g = row_of(g, b, h, g_b, g_h) + first
    pre = row_of(pre, b, h, pre_b, pre_h) + first
    room = tl.minimum(L - first, V)
    return gated_at(g, pre, g, t, room, 0, g, g, pre, pre, HAS_PRE, False, 0)


@triton.jit
def write_row(
    y, out, post, out2, post2, post_table, post_past,
    out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
    b, h, t, mask, H, L,
    HAS_POST: tl.constexpr, TWO: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Gate and store outputs t of row (b, h)."""
    table = post_table + h * (T + 1)
    past = past_of(post_past, b, h, H, T)
    o, g = row_of(out, b, h, out_b, out_h), row_of(post, b, h, post_b, post_h)
    write(y, o, g, t, mask, L, table, past, HAS_POST, T)
    if TWO:
        o, g = row_of(out2, b, h, out2_b, out2_h), row_of(post2, b, h, post2_b, post2_h)
        write(y, o, g, t, mask, L, table, past, True, 0)


def arguments(
    plan: GpuPlan, x: Input, y: Output, k: tuple[Tensor, ...], together: int = 1
) -> tuple[int, tuple[int | Tensor, ...]]:
    """Return programs and arguments of a kernel that convolves window by window.

    A program takes so many windows of a channel together.
    """
    B, H, L = x.u.shape
    read, read_strides, S = read_arguments(x)
    written, write_strides = write_arguments(y, read[0])
    windows = -(-L // plan.block)
    programs = -(-B * windows // together)
    return H * programs, (
        *read, *k, *written, *read_strides, *write_strides,
        B, H, L, S, windows, programs, plan.halo, plan.right, plan.block,
    )  # fmt: skip
