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
    aligned_state,
    lined,
    short_arguments,
    strides,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.signal import gated_at, row_of, write


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
    past: tl.constexpr = max(T - 1, 0)
    row = (b.to(tl.int64) * H + h) * past
    return gated_at(
        row_of(u, b, h, u_b, u_h), row_of(pre, b, h, pre_b, pre_h),
        row_of(state, b, h, state_b, state_h), t, L, S,
        u_table + h * wide, u_past + row, pre_table + h * wide, pre_past + row,
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip


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
    past = post_past + (b.to(tl.int64) * H + h) * max(T - 1, 0)
    o, g = row_of(out, b, h, out_b, out_h), row_of(post, b, h, post_b, post_h)
    write(y, o, g, t, mask, L, table, past, HAS_POST, T)
    if TWO:
        o, g = row_of(out2, b, h, out2_b, out2_h), row_of(post2, b, h, post2_b, post2_h)
        write(y, o, g, t, mask, L, table, past, True, 0)


def read_arguments(x: Input) -> tuple[list[Tensor], list[int]]:
    """Return tensors and strides of a gated input as kernels take them."""
    u, pre, state = lined(x.u), lined(x.pre), lined(aligned_state(x.state))
    assert u is not None
    tensors = [u, u if pre is None else pre, u if state is None else state]
    tensors += [*short_arguments(x.u_short, u), *short_arguments(x.pre_short, u)]
    return tensors, [*strides(u), *strides(pre), *strides(state)]


def arguments(
    plan: GpuPlan, x: Input, y: Output, k: tuple[Tensor, ...], together: int = 1
) -> tuple[int, tuple[int | Tensor, ...]]:
    """Return programs and arguments of a kernel that convolves window by window.

    A program takes so many windows of a channel together.
    """
    B, H, L = x.u.shape
    read, read_strides = read_arguments(x)
    u, state = read[0], read[2]
    post, post2 = lined(y.post), lined(y.post2)
    windows = -(-L // plan.block)
    programs = -(-B * windows // together)
    return H * programs, (
        *read, *k,
        y.out, u if post is None else post,
        u if y.out2 is None else y.out2, u if post2 is None else post2,
        *short_arguments(y.post_short, u),
        *read_strides, *strides(y.out), *strides(post),
        *strides(y.out2), *strides(post2),
        B, H, L, 0 if x.state is None else state.shape[-1],
        windows, programs, plan.halo, plan.right, plan.block,
    )  # fmt: skip


def options(x: Input, y: Output) -> dict[str, int]:
    """Return what such a kernel is compiled for."""
    return {
        "HAS_PRE": x.pre is not None,
        "HAS_STATE": x.state is not None,
        "HAS_POST": y.post is not None,
        "TWO": y.out2 is not None,
        "T": max((s.taps for s in (x.u_short, x.pre_short) if s), default=0),
    }
