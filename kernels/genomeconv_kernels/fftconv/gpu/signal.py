"""What every band reads and writes: gated inputs at any position, gated outputs.

Axes: B batch, H channels, L positions, S positions of the state, T taps of the short
filter. The jit functions take pointers of one row (b, h), whose positions lie side by
side, and blocks of positions of any shape.

    x[t] = pre[t] u[t] inside 0..L, state[S + t] before, 0 elsewhere
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def row_of(base, b, h, stride_b, stride_h):
    """Pointer to row (b, h); the offset is computed in int64."""
    return base + b.to(tl.int64) * stride_b + h.to(tl.int64) * stride_h


@triton.jit
def past_of(past, b, h, H, T: tl.constexpr):
    """Pointer to the last T - 1 inputs of row (b, h); the offset is in int64."""
    return past + (b.to(tl.int64) * H + h) * max(T - 1, 0)


@triton.jit
def short_at(z, table, past, t, L, T: tl.constexpr):
    """Short causal filter of raw input z at positions t: bias + sum_j w[T-1-j] z[t-j].

    table holds the T taps and the bias of this row, past its last T - 1 inputs.
    """
    y = tl.zeros(t.shape, tl.float32) + tl.load(table + T)
    # A loop that is not unrolled: all loads at once would take all registers.
    for j in range(T):
        s = t - j
        value = tl.load(z + s, mask=(s >= 0) & (s < L), other=0.0).to(tl.float32)
        value += tl.load(past + (T - 1 + s), mask=(s < 0) & (s > -T), other=0.0)
        y += tl.load(table + (T - 1 - j)) * value
    return y


@triton.jit
def signal_at(z, table, past, t, L, T: tl.constexpr):
    """Signal of this row at positions t (float32), 0 outside 0..L.

    T = 0 reads it as it is; otherwise the short filter of T taps runs on the way.
    """
    inside = (t >= 0) & (t < L)
    if T == 0:
        return tl.load(z + t, mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, short_at(z, table, past, t, L, T), 0.0)


@triton.jit
def gated_at(
    u, pre, state, t, L, S,
    u_table, u_past, pre_table, pre_past,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Gated input x at positions t, float32."""
    x = signal_at(u, u_table, u_past, t, L, T)
    if HAS_PRE:
        x *= signal_at(pre, pre_table, pre_past, t, L, T)
    if HAS_STATE:
        past = tl.load(state + (S + t), mask=(t < 0) & (t >= -S), other=0.0)
        x = tl.where(t < 0, past.to(tl.float32), x)
    return x


@triton.jit
def _size(x):
    """Bits of |x|, which go up as |x| does: Inf and then NaN are the largest."""
    return x.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@triton.jit
def _power(bits):
    bits = tl.minimum(tl.maximum(bits & 0x7F800000, 27 << 23), 253 << 23)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def power_of_two(x):
    """Power of two at or below x, from 2^-100 to 2^126."""
    return _power(_size(x))


@triton.jit
def _scale_of(size):
    """Power of two at or below the largest, and whether all are finite."""
    most = tl.max(tl.ravel(size), 0)
    whole = most < 0x7F800000
    return _power(tl.where(whole, most, 0x3F800000)), whole


@triton.jit
def normalise(x):
    """Scale a block to below 2 by a power of two; a block with NaN or Inf becomes 0.

    Returns the block, the scale to multiply results by, and 0, or NaN where the block
    had to be replaced: added to its results, it marks them.
    """
    scale, whole = _scale_of(_size(x))
    x = tl.where(whole, x * (1.0 / scale), 0.0)
    return x, scale, tl.where(whole, 0.0, float("nan"))


@triton.jit
def normalise_complex(re, im):
    """Scale a complex block as `normalise` does; the scale is NaN where that marks."""
    scale, whole = _scale_of(tl.maximum(_size(re), _size(im)))
    re = tl.where(whole, re * (1.0 / scale), 0.0)
    im = tl.where(whole, im * (1.0 / scale), 0.0)
    return re, im, tl.where(whole, scale, float("nan"))


@triton.jit
def write(
    y, out, post, t, mask, L, table, past, HAS_POST: tl.constexpr, T: tl.constexpr
):
    """Store y * post at positions t of a row, rounded once."""
    if HAS_POST:
        if T == 0:
            y *= tl.load(post + t, mask=mask, other=0.0).to(tl.float32)
        else:
            y *= short_at(post, table, past, t, L, T)
    tl.store(out + t, y.to(out.dtype.element_ty), mask=mask)
