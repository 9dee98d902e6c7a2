"""The short convolution in Triton, for any layout; products and sums in float32.

Axes: B batch, H channels, L positions, K taps.

Rows whose positions lie side by side take the short band of the long convolution. All
else, above all the output of a projection (B, L, H) seen as (B, H, L), is read in tiles
of positions by channels, coalesced along whichever axis is contiguous; where the output
wants the other, the tile is transposed on the chip. Both add the taps in one order.

    y[t] = bias + sum_j k[j] u[t + right - j]
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from genomeconv_kernels.fftconv.gpu import short
from genomeconv_kernels.fftconv.gpu.operands import Input, Output
from genomeconv_kernels.fftconv.gpu.shapes import shape_short
from genomeconv_kernels.launch import launch

_POSITIONS, _CHANNELS = 64, 64  # of a tile
_LONG, _FEW = 256, 8  # of a tile of rows whose positions lie side by side


@triton.jit
def _place(pid, H, L, BT: tl.constexpr, BH: tl.constexpr):
    """Batch row, positions (BT, 1) and channels (1, BH) of a tile."""
    across = tl.cdiv(H, BH)
    along = tl.cdiv(L, BT)
    h = pid % across * BH + tl.arange(0, BH)[None, :]
    t = pid // across % along * BT + tl.arange(0, BT)[:, None]
    return (pid // across // along).to(tl.int64), t, h


@triton.jit
def _at(z, t, h, stride_h, stride_t, H, L):
    """Signal of a batch row at a tile, float32, 0 outside; offsets are int64."""
    inside = (t >= 0) & (t < L) & (h < H)
    offset = h.to(tl.int64) * stride_h + t.to(tl.int64) * stride_t
    return tl.load(z + offset, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _after_state(
    u, state, t, h, u_h, u_t, state_h, state_t, H, L,
    HAS_STATE: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Signal of a batch row at a tile, the state before it."""
    x = _at(u, t, h, u_h, u_t, H, L)
    if HAS_STATE:
        past = _at(state, t + (K - 1), h, state_h, state_t, H, K - 1)
        x = tl.where(t < 0, past, x)
    return x


@triton.jit
def _convolve(
    u, state, taps, bias, out,
    u_b, u_h, u_t, state_b, state_h, state_t, out_b, out_h, out_t,
    H, L, right,
    HAS_STATE: tl.constexpr, HAS_BIAS: tl.constexpr,
    K: tl.constexpr, BT: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    b, t, h = _place(tl.program_id(0), H, L, BT, BH)
    y = tl.zeros((BT, BH), tl.float32)
    if HAS_BIAS:
        y += tl.load(bias + h, mask=h < H, other=0.0)
    for j in tl.static_range(K):
        x = _after_state(
            u + b * u_b, state + b * state_b, t + (right - j), h,
            u_h, u_t, state_h, state_t, H, L, HAS_STATE, K,
        )  # fmt: skip
        y += tl.load(taps + h * K + j, mask=h < H, other=0.0) * x
    offset = h.to(tl.int64) * out_h + t.to(tl.int64) * out_t
    y = y.to(out.dtype.element_ty)
    tl.store(out + b * out_b + offset, y, mask=(t < L) & (h < H))


@triton.jit
def _correlate(
    u, state, g, partial,
    u_b, u_h, u_t, state_b, state_h, state_t, g_b, g_h, g_t,
    H, L,
    HAS_STATE: tl.constexpr,
    K: tl.constexpr, BT: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    b, t, h = _place(pid, H, L, BT, BH)
    dy = _at(g + b * g_b, t, h, g_h, g_t, H, L)
    row = partial + (pid // tl.cdiv(H, BH)).to(tl.int64) * H * (K + 1)
    h_out = tl.max(h, 0)
    for j in tl.static_range(K):
        x = _after_state(
            u + b * u_b, state + b * state_b, t - j, h,
            u_h, u_t, state_h, state_t, H, L, HAS_STATE, K,
        )  # fmt: skip
        tap = tl.sum(dy * x, 0)
        tl.store(row + h_out * (K + 1) + (K - 1 - j), tap, mask=h_out < H)
    tl.store(row + h_out * (K + 1) + K, tl.sum(dy, 0), mask=h_out < H)


def convolve(
    u: Tensor, w: Tensor, bias: Tensor | None, state: Tensor | None, out: Tensor
) -> None:
    """Write y[t] = bias + sum_j w[K-1-j] u[t-j] into out (B, H, L)."""
    _filter(u, w.flip(-1), 0, bias, state, out)


def input_grad(grad: Tensor, w: Tensor, out: Tensor) -> None:
    """Write du[t] = sum_j w[K-1-j] g[t+j] into out (B, H, L)."""
    _filter(grad, w, w.shape[1] - 1, None, None, out)


def state_grad(grad: Tensor, w: Tensor, out: Tensor) -> None:
    """Write dstate[K-1-i] = sum_{j>=i} w[K-1-j] g[j-i] into out (B, H, K-1)."""
    n = out.shape[-1]
    if n:
        first = grad[..., :n]
        first = F.pad(first, (0, n - first.shape[-1]))
        _filter(first, w, 0, None, None, out)


def _filter(
    u: Tensor,
    k: Tensor,
    right: int,
    bias: Tensor | None,
    state: Tensor | None,
    out: Tensor,
) -> None:
    """Write the sum at the top of this module; k (H, K) by lag."""
    B, H, L = u.shape
    K = k.shape[1]
    k = k.float().contiguous()
    bias = None if bias is None else bias.float().contiguous()
    if state is not None and K == 1:
        state = None
    if _in_rows(u) and _in_rows(out):
        x = Input(u, state=state)
        short.run(x, k, right, Output(out), *shape_short(L), bias)
        return
    state = _like(u, state)
    tiles = B * triton.cdiv(L, _POSITIONS) * triton.cdiv(H, _CHANNELS)
    launch(
        _convolve, tiles,
        u, state if state is not None else u, k, bias if bias is not None else k, out,
        *u.stride(), *_strides(state), *out.stride(),
        H, L, right, HAS_STATE=state is not None, HAS_BIAS=bias is not None,
        K=K, BT=_POSITIONS, BH=_CHANNELS, num_warps=8,
    )  # fmt: skip


def weight_grad(
    grad: Tensor, u: Tensor, state: Tensor | None, K: int
) -> tuple[Tensor, Tensor]:
    """Return dw (H, K) and dbias (H,), float32.

    Every program sums its own tile; the sums of tiles are added in one order.
    """
    B, H, L = u.shape
    BT, BH = _POSITIONS, _CHANNELS
    if _in_rows(u) and _in_rows(grad):
        BT, BH = _LONG, _FEW
    state = None if K == 1 else _like(u, state)
    parts = B * triton.cdiv(L, BT)
    partial = u.new_empty((parts, H, K + 1), dtype=torch.float32)
    launch(
        _correlate, parts * triton.cdiv(H, BH),
        u, state if state is not None else u, grad, partial,
        *u.stride(), *_strides(state), *grad.stride(),
        H, L, HAS_STATE=state is not None, K=K, BT=BT, BH=BH,
        num_warps=4 if BT == _LONG else 8,
    )  # fmt: skip
    total = partial.sum(0)
    return total[:, :K], total[:, K]


def _in_rows(t: Tensor) -> bool:
    return t.stride(-1) == 1 or t.shape[-1] == 1


def _like(u: Tensor, state: Tensor | None) -> Tensor | None:
    """Return the state with channels side by side where u has them so."""
    if state is None or u.stride(1) != 1:
        return state
    return state.mT.contiguous().mT


def _strides(state: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if state is None else state.stride()
