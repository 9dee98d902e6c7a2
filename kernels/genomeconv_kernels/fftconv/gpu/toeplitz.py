"""Up to a few hundred taps: products with Toeplitz blocks on tensor cores, one pass.

Axes: B batch, H channels, L positions, K taps; a tile is N rows of M positions.

The convolution of a row cut into rows of M positions is a sum of matrix products

    Y[n, i] = sum_d sum_i' X[n - d, i'] T_d[i', i],     T_d[i', i] = k[d M + i - i']

over D = floor((K + M - 2) / M) + 1 blocks: 2 M D operations an output, no twiddles.
X[n - d] is the same tile read M d positions earlier, out of the cache.

T_d is never stored: its rows are stretches of the taps that begin anywhere. So the taps
are laid out in 8 copies, each one position further, and every row is an aligned vector
of one of them:

    values[r, p] = k[p + r - M - lead], 0 outside of the taps

float16 operands: a channel's taps and the rows of x are scaled by powers of two to
below 2. The scale of a row grows with the d seen so far and its sum is scaled along,
which is exact: one pass over the window, and no row knows of another. The M outputs of
a row so depend on their own window alone, and NaN or Inf reach the rows (of M
positions) that its D blocks touch, no batch row and no channel but its own.

The filter gradient is the product turned round: X^T G, windows of C positions of x and
M gradients. Entry (c, i) belongs to the lag i - c and a constant; stored askew, lags
are columns, and the shares of programs are added in one order. With C = 2 M that is
2 C ceil((K + M - 1) / C) operations an output: 512, 768, 1280 for 128, 256, 512 taps
and M = 64, against 580, 680, 1020 by transforms (8 F (N1 + N2) / V), which need
twiddles, more passes through shared memory and a plan of their own.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from genomeconv_kernels.fftconv.gpu.operands import (
    OPERANDS,
    Input,
    Output,
    Spectrum,
    aligned_state,
    lined,
    short_arguments,
    strides,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.shapes import packed
from genomeconv_kernels.fftconv.gpu.signal import gated_at, row_of, write
from genomeconv_kernels.launch import launch

COPIES = tl.constexpr(8)
_PROGRAMS = 1024  # what a filter gradient is shared out over, where it is long enough


@triton.jit
def _block(values, at, W, M: tl.constexpr):
    """T_d (M, M), rows i'; `at` is d M, values the copies of one channel."""
    first = at + M - tl.arange(0, M)[:, None]
    copy = first % COPIES
    i = tl.arange(0, M)[None, :]
    return tl.load(values + copy * W + (first // COPIES * COPIES + i))


@triton.jit
def _power_of_two(x, axis: tl.constexpr):
    """Power of two at or below the largest finite magnitude along an axis, kept."""
    x = tl.abs(x)
    most = tl.max(tl.where(x <= 3.4028234e38, x, 0.0), axis, keep_dims=True)
    bits = tl.maximum(most, 7.9e-31).to(tl.int32, bitcast=True) & 0x7F800000
    return tl.minimum(bits.to(tl.float32, bitcast=True), 8.5e37)


@triton.jit
def _place(tile, runs, B, Q: tl.constexpr, N: tl.constexpr, M: tl.constexpr):
    """Batch rows b and first positions t of the N rows of a tile.

    A tile holds rows of Q batch rows, `runs` tiles make up one; rows of no batch row
    stand beyond the end of any.
    """
    R: tl.constexpr = N // Q
    n = tl.arange(0, N)[:, None]
    t = tile % runs * (R * M) + n % R * M
    if Q == 1:
        return tile // runs, t
    else:
        b = tile // runs * Q + n // R
        return tl.minimum(b, B - 1), t + (b >= B).to(tl.int32) * (1 << 30)


@triton.jit
def _convolve(
    u, pre, state, u_table, u_past, pre_table, pre_past, values, scale,
    out, post, out2, post2, post_table, post_past,
    u_b, u_h, pre_b, pre_h, state_b, state_h,
    out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
    B, H, L, S, runs, ahead, W,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, HAS_POST: tl.constexpr,
    TWO: tl.constexpr, T: tl.constexpr, SCALED: tl.constexpr,
    D: tl.constexpr, Q: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    # Neighbouring programs take the tiles of one channel: they share taps and window.
    pid = tl.program_id(0)
    h = (pid // runs) % H
    b, t = _place(pid % runs + pid // runs // H * runs, runs, B, Q, N, M)
    t += tl.arange(0, M)[None, :]
    uu = row_of(u, b, h, u_b, u_h)
    pp = row_of(pre, b, h, pre_b, pre_h)
    ss = row_of(state, b, h, state_b, state_h)
    wide: tl.constexpr = T + 1
    past: tl.constexpr = max(T - 1, 0)
    ut, up = u_table + h * wide, u_past + (b.to(tl.int64) * H + h) * past
    pt, pp_ = pre_table + h * wide, pre_past + (b.to(tl.int64) * H + h) * past

    kind = values.dtype.element_ty
    k = values + h.to(tl.int64) * (COPIES * W)
    y = tl.zeros((N, M), tl.float32)
    y_scale = tl.full((N, 1), 7.9e-31, tl.float32)
    for d in range(D):
        s = t + (ahead - d * M)
        x = gated_at(uu, pp, ss, s, L, S, ut, up, pt, pp_, HAS_PRE, HAS_STATE, T)
        if SCALED:
            grown = tl.maximum(y_scale, _power_of_two(x, 1))
            shrink = 1.0 / grown
            y *= y_scale * shrink
            x *= shrink
            y_scale = grown
        block = _block(k, d * M, W, M)
        y = tl.dot(x.to(kind), block, y, input_precision=PRECISION)
    if SCALED:
        y *= y_scale * tl.load(scale + h)

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
    B, H, L, S, runs, tiles, share, chunks, ahead,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, HAS_POST: tl.constexpr,
    T: tl.constexpr, GT: tl.constexpr, KIND: tl.constexpr, SCALED: tl.constexpr,
    C: tl.constexpr, Q: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    # Chunks of windows of one share of the tiles run side by side: they share g.
    pid = tl.program_id(0)
    chunk = pid % chunks
    h = (pid // chunks) % H
    part = pid // chunks // H
    wide: tl.constexpr = T + 1
    past: tl.constexpr = max(T - 1, 0)
    g_wide: tl.constexpr = GT + 1
    g_before: tl.constexpr = max(GT - 1, 0)
    i = tl.arange(0, M)[None, :]
    c = tl.arange(0, C)[None, :] + (ahead + M - (chunk + 1) * C)
    total = tl.zeros((C, M), tl.float32)
    for tile in range(part * share, tl.minimum((part + 1) * share, tiles)):
        b, t = _place(tile, runs, B, Q, N, M)
        row = b.to(tl.int64) * H + h
        x = gated_at(
            row_of(u, b, h, u_b, u_h),
            row_of(pre, b, h, pre_b, pre_h),
            row_of(state, b, h, state_b, state_h),
            t + c, L, S,
            u_table + h * wide, u_past + row * past,
            pre_table + h * wide, pre_past + row * past,
            HAS_PRE, HAS_STATE, T,
        )  # fmt: skip
        dy = row_of(g, b, h, g_b, g_h)
        y = gated_at(
            dy, row_of(post, b, h, post_b, post_h), dy, t + i, L, 0,
            g_table + h * g_wide, g_past + row * g_before,
            post_table + h * g_wide, post_past + row * g_before,
            HAS_POST, False, GT,
        )  # fmt: skip
        if SCALED:
            x_scale = _power_of_two(_power_of_two(x, 1), 0)
            y_scale = _power_of_two(_power_of_two(y, 1), 0)
            x = (x * (1.0 / x_scale)).to(KIND)
            y = (y * (1.0 / y_scale)).to(KIND)
            total += tl.dot(tl.trans(x), y) * (x_scale * y_scale)
        else:
            total += tl.dot(tl.trans(x), y, input_precision=PRECISION)
    # Entry (c, i) is of lag i - c and a constant: lags become columns.
    width = chunks * C + M
    row = partial + (part.to(tl.int64) * H + h) * M * width
    at = (chunks - 1 - chunk) * C + tl.arange(0, C)[:, None] + M - i
    tl.store(row + i * width + at, total)


def _blocks(taps: int, right: int, M: int) -> tuple[int, int, int]:
    """Return (D, ahead, lead): blocks, and where the window of a tile begins.

    The window is read `ahead` positions ahead of its outputs, a multiple of 8 so that
    loads stay aligned: as if `lead` zeros came before the taps.
    """
    ahead = -(-right // COPIES.value) * COPIES.value
    lead = ahead - right
    return (taps + lead + M - 2) // M + 1, ahead, lead


def _short_taps(x: Input) -> int:
    return max((s.taps for s in (x.u_short, x.pre_short) if s), default=0)


def prepare(plan: GpuPlan, taps: Tensor) -> Spectrum:
    """Return copies of the taps (H, K), each one position further, and their scale."""
    M = plan.factors[1]
    D, _, lead = _blocks(plan.taps, plan.right, M)
    H, K = taps.shape
    scale = torch.ones(H, dtype=torch.float32, device=taps.device)
    taps = taps.float()
    if plan.operand == "float16":
        most = taps.abs().amax(1)
        _, exponent = torch.frexp(most)
        power = torch.ldexp(scale, (exponent - 1).clamp(-100, 126))
        scale = torch.where(most.isfinite(), power, scale)
        taps = taps / scale[:, None]
    W = (D + 1) * M
    padded = F.pad(taps, (M + lead, W + COPIES.value - M - lead - K))
    values = padded.unfold(1, W, 1)[:, : COPIES.value]
    return Spectrum(values.to(OPERANDS[plan.operand]).contiguous(), scale)


def convolve(plan: GpuPlan, x: Input, k: Spectrum, y: Output) -> None:
    """Write the convolution into y, which may be uninitialised."""
    B, H, L = x.u.shape
    u, pre, state = lined(x.u), lined(x.pre), lined(aligned_state(x.state))
    assert u is not None
    post, post2 = lined(y.post), lined(y.post2)
    N, M = plan.factors
    if _short_taps(x):
        N = max(N // 2, 16)  # their misaligned reads take registers too
    D, ahead, _ = _blocks(plan.taps, plan.right, M)
    Q, runs = packed(B, L, N, M)
    launch(
        _convolve, runs * -(-B // Q) * H,
        u, pre if pre is not None else u, state if state is not None else u,
        *short_arguments(x.u_short, u), *short_arguments(x.pre_short, u),
        k.values, k.scale,
        y.out, post if post is not None else u,
        y.out2 if y.out2 is not None else u, post2 if post2 is not None else u,
        *short_arguments(y.post_short, u),
        *strides(u), *strides(pre), *strides(state), *strides(y.out), *strides(post),
        *strides(y.out2), *strides(post2),
        B, H, L, 0 if state is None else state.shape[-1], runs, ahead, (D + 1) * M,
        HAS_PRE=pre is not None, HAS_STATE=state is not None,
        HAS_POST=post is not None, TWO=y.out2 is not None, T=_short_taps(x),
        SCALED=plan.operand == "float16",
        D=D, Q=Q, N=N, M=M,
        PRECISION=plan.precision, num_warps=plan.warps, num_stages=1,
    )  # fmt: skip


def filter_grad(plan: GpuPlan, x: Input, g: Input, out: Tensor) -> None:
    """Write dk[h, j] = sum_{b,t} g[t] x[t + right - j] into out (H, K).

    A program sums a share of the tiles of one channel; shares are added in one order.
    """
    B, H, L = x.u.shape
    u, pre, state = lined(x.u), lined(x.pre), lined(aligned_state(x.state))
    dy, post = lined(g.u), lined(g.pre)
    assert u is not None
    assert dy is not None
    rows, M = plan.factors
    N = max(rows // 2, 16)  # the sums take registers too
    K, C = plan.taps, 2 * M
    _, ahead, lead = _blocks(K, plan.right, M)
    chunks = -(-(K + lead + M - 1) // C)
    Q, runs = packed(B, L, N, M)
    tiles = runs * -(-B // Q)
    share = -(-tiles // min(tiles, -(-_PROGRAMS // (H * chunks))))
    parts = -(-tiles // share)
    partial = out.new_empty((parts, H, M, chunks * C + M))
    launch(
        _correlate, parts * H * chunks,
        u, pre if pre is not None else u, state if state is not None else u,
        *short_arguments(x.u_short, u), *short_arguments(x.pre_short, u),
        dy, post if post is not None else dy,
        *short_arguments(g.u_short, dy), *short_arguments(g.pre_short, dy), partial,
        *strides(u), *strides(pre), *strides(state), *strides(dy), *strides(post),
        B, H, L, 0 if state is None else state.shape[-1],
        runs, tiles, share, chunks, ahead,
        HAS_PRE=pre is not None, HAS_STATE=state is not None,
        HAS_POST=post is not None, T=_short_taps(x), GT=_short_taps(g),
        KIND=tl.float16, SCALED=plan.operand == "float16",
        C=C, Q=Q, N=N, M=M, PRECISION=plan.precision,
        num_warps=max(plan.warps, C * M // 1024), num_stages=1,  # for C M sums
    )  # fmt: skip
    first = chunks * C - lead - (K - 1)
    out.copy_(partial[..., first : first + K].sum((0, 2)).flip(-1))
