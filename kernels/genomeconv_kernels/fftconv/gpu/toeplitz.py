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
    options,
    read_arguments,
    write_arguments,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.shapes import packed
from genomeconv_kernels.fftconv.gpu.signal import gated_at, past_of, row_of
from genomeconv_kernels.fftconv.gpu.windows import window_of, write_row
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

    kind = values.dtype.element_ty
    k = values + h.to(tl.int64) * (COPIES * W)
    y = tl.zeros((N, M), tl.float32)
    y_scale = tl.full((N, 1), 7.9e-31, tl.float32)
    for d in range(D):
        s = t + (ahead - d * M)
        x = window_of(
            u, pre, state, u_table, u_past, pre_table, pre_past,
            u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, s, H, L, S,
            HAS_PRE, HAS_STATE, T,
        )  # fmt: skip
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
    g_wide: tl.constexpr = GT + 1
    i = tl.arange(0, M)[None, :]
    c = tl.arange(0, C)[None, :] + (ahead + M - (chunk + 1) * C)
    total = tl.zeros((C, M), tl.float32)
    for tile in range(part * share, tl.minimum((part + 1) * share, tiles)):
        b, t = _place(tile, runs, B, Q, N, M)
        x = window_of(
            u, pre, state, u_table, u_past, pre_table, pre_past,
            u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t + c, H, L, S,
            HAS_PRE, HAS_STATE, T,
        )  # fmt: skip
        dy = row_of(g, b, h, g_b, g_h)
        y = gated_at(
            dy, row_of(post, b, h, post_b, post_h), dy, t + i, L, 0,
            g_table + h * g_wide, past_of(g_past, b, h, H, GT),
            post_table + h * g_wide, past_of(post_past, b, h, H, GT),
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
    read, read_strides, S = read_arguments(x)
    written, write_strides = write_arguments(y, read[0])
    N, M = plan.factors
    if x.short_taps:
        N = max(N // 2, 16)  # their misaligned reads take registers too
    D, ahead, _ = _blocks(plan.taps, plan.right, M)
    Q, runs = packed(B, L, N, M)
    launch(
        _convolve, runs * -(-B // Q) * H,
        *read, k.values, k.scale, *written, *read_strides, *write_strides,
        B, H, L, S, runs, ahead, (D + 1) * M,
        **options(x, y), SCALED=plan.operand == "float16",
        D=D, Q=Q, N=N, M=M,
        PRECISION=plan.precision, num_warps=plan.warps, num_stages=1,
    )  # fmt: skip


def filter_grad(plan: GpuPlan, x: Input, g: Input, out: Tensor) -> None:
    """Write dk[h, j] = sum_{b,t} g[t] x[t + right - j] into out (H, K).

    A program sums a share of the tiles of one channel; shares are added in one order.
    """
    B, H, L = x.u.shape
    read, read_strides, S = read_arguments(x)
    (dy, post, _, *shorts), grad_strides, _ = read_arguments(g)  # it has no state
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
        *read, dy, post, *shorts, partial, *read_strides, *grad_strides[:4],
        B, H, L, S, runs, tiles, share, chunks, ahead,
        HAS_PRE=x.pre is not None, HAS_STATE=x.state is not None,
        HAS_POST=g.pre is not None, T=x.short_taps, GT=g.short_taps,
        KIND=tl.float16, SCALED=plan.operand == "float16",
        C=C, Q=Q, N=N, M=M, PRECISION=plan.precision,
        num_warps=max(plan.warps, C * M // 1024), num_stages=1,  # for C M sums
    )  # fmt: skip
    first = chunks * C - lead - (K - 1)
    out.copy_(partial[..., first : first + K].sum((0, 2)).flip(-1))
