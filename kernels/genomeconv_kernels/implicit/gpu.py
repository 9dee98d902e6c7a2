"""Filter synthesis in Triton: position, sine network, window, taps, on the chip.

Axes: H channels, K taps, E width of the encoding, W width of the network, P positions
of a program, C channels of a step. A program goes from positions to taps on the chip:
nothing of size (K, W) is ever written.

Every angle is exact before its sine is taken. Positions turn by int64 steps of 2^-64
turns, so a phase is a product that wraps by itself, off by at most position * 2^-65
turns. An argument freq * a of the network is taken in half turns, freq / pi in two
float32 parts: fused multiply-adds lose nothing when whole half turns are removed.
Cost and accuracy stand in ../README.md.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genomeconv_kernels.fftconv.gpu.limits import Limits
from genomeconv_kernels.implicit.reference import ImplicitWeights, frequencies
from genomeconv_kernels.launch import launch

MAX_WIDTH, MAX_ENCODING = 64, 32
"""Largest W and E whose tiles stay in registers."""


class Tile(NamedTuple):
    """How a program is cut: P, C, how products are done, warps."""

    positions: int
    channels: int
    precision: str
    warps: int


def tile_for(target: str) -> Tile:
    """Return the tile of a target ("sm_90", "gfx942"): it spills nowhere.

    tf32x3 is worth its registers only where products read operands from shared memory,
    on sm_9x and sm_10x; others, and AMD's matrix units, take float32 as it is.
    """
    if target.startswith(("sm_9", "sm_10")):
        return Tile(128, 64, "tf32x3", 8)
    return Tile(64, 64, "ieee", 8)


@triton.jit
def _sine(r):
    """Return sin(pi r) for abs(r) <= 1/2: odd minimax polynomial, off by 1.6e-7."""
    s = r * r
    y = tl.fma(s, 0.07765591, -0.59829038)
    y = tl.fma(s, y, 2.55007744)
    y = tl.fma(s, y, -5.16771030)
    y = tl.fma(s, y, 3.14159274)
    return y * r


@triton.jit
def sine_of_phase(phase):
    """Return the sine of an int64 phase in units of 2^-64 turns."""
    half = (phase + (1 << 62)) >> 63
    r = (phase - (half << 63)).to(tl.float32) * 1.0842021724855044e-19  # 2^-63
    y = _sine(r)
    return tl.where(half == 0, y, -y)


@triton.jit
def sine_of(a, high, low):
    """Return sin(pi (high + low) a), reduced without a rounding of its own.

    Beyond 2^22 half turns float32 holds no phase any more; 0 is as good as any.
    """
    # Added to a float32, 1.5 * 2^23 rounds it to whole numbers; the last bit is parity.
    shifted = tl.fma(a, high, 12582912.0)
    r = tl.fma(a, high, 12582912.0 - shifted)
    r = tl.fma(a, low, r)
    r = tl.where(tl.abs(r) < 0.51, r, r * 0.0)
    odd = shifted.to(tl.int32, bitcast=True) << 31
    return (_sine(r).to(tl.int32, bitcast=True) ^ odd).to(tl.float32, bitcast=True)


@triton.jit
def time_at(t, steps):
    """Return time of positions t (int64), 0..1."""
    return (t * tl.load(steps)).to(tl.float32) * 2.168404344971009e-19  # 2^-62


@triton.jit
def encoding_at(t, steps, E, EP: tl.constexpr):
    """Encode positions t (int64) as (P, EP); columns from E on are of no meaning."""
    e = tl.arange(0, EP)
    step = tl.load(steps + e, mask=e < E, other=0)
    start = tl.load(steps + E + e, mask=e < E, other=0)
    z = sine_of_phase(t[:, None] * step[None, :] + start[None, :])
    return tl.where(e[None, :] == 0, time_at(t, steps)[:, None], z)


@triton.jit
def _layer(
    x, w, b, width, inputs, W: tl.constexpr, N: tl.constexpr, PRECISION: tl.constexpr
):
    """Return x W^T + b of inputs (P, N), 0 beyond the width."""
    i = tl.arange(0, N)
    j = tl.arange(0, W)
    inside = (i < inputs)[:, None] & (j < width)[None, :]
    at = j[None, :] * inputs + i[:, None]
    weight = tl.load(w + at, mask=inside, other=0.0)
    bias = tl.load(b + j, mask=j < width, other=0.0)
    return tl.dot(x, weight, input_precision=PRECISION) + bias[None, :]


@triton.jit
def _taps(
    out, steps, turns, w0, b0, w1, b1, w2, b2, last, deltas,
    K, H, E, width, shift,
    P: tl.constexpr, W: tl.constexpr, EP: tl.constexpr,
    C: tl.constexpr, STEPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # Positions of this program as rows; widths, then channels, as columns.
    t = tl.program_id(0) * P + tl.arange(0, P)
    j = tl.arange(0, W)
    high = tl.load(turns + j, mask=j < width, other=0.0)[None, :]
    low = tl.load(turns + width + j, mask=j < width, other=0.0)[None, :]
    x = encoding_at(t.to(tl.int64), steps, E, EP)
    x = sine_of(_layer(x, w0, b0, width, E, W, EP, PRECISION), high, low)
    x = sine_of(_layer(x, w1, b1, width, width, W, W, PRECISION), high, low)
    x = sine_of(_layer(x, w2, b2, width, width, W, W, PRECISION), high, low)

    time = time_at(t.to(tl.int64), steps)
    for step in range(STEPS):
        c = step * C + tl.arange(0, C)
        inside = (j < width)[:, None] & (c < H)[None, :]
        weight = tl.load(last + c[None, :] * width + j[:, None], mask=inside, other=0.0)
        y = tl.dot(x, weight, input_precision=PRECISION)
        rate = tl.abs(tl.load(deltas + c, mask=c < H, other=0.0))
        nepers = rate[None, :] * time[:, None]
        y *= tl.exp2(nepers * -1.4426950408889634) + shift
        at = c.to(tl.int64)[None, :] * K + t[:, None]
        tl.store(out + at, y, mask=(t < K)[:, None] & (c < H)[None, :])


@lru_cache(maxsize=64)
def fixed_point_steps(bands: int, l_max: int, device: torch.device) -> Tensor:
    """Return what a position adds to each column of the encoding, and its start.

    int64 (2, E), in units of 2^-64 turns of a sine, whole turns left out: a cosine
    starts a quarter turn ahead, a negative sine turns back. Column 0 is time, in 2^-62.
    """
    time = round(Fraction(2**62, max(l_max - 1, 1)))
    turns = [Fraction(f) * 2**64 / l_max for f in frequencies(bands).tolist()]
    steps = [(round(s) + 2**63) % 2**64 - 2**63 for s in turns]
    back = [-s if s != -(2**63) else s for s in steps]
    starts = [0, *[2**62] * bands, *[0] * bands]
    return torch.tensor([[time, *steps, *back], starts], device=device)


def half_turns(freq: Tensor) -> Tensor:
    """Return freq / pi as the sum of two float32 rows, (2, W)."""
    exact = freq.double().flatten() / math.pi
    high = exact.float()
    return torch.stack([high, (exact - high.double()).float()])


def fits(weights: ImplicitWeights) -> bool:
    """Whether the kernel holds such a network in registers."""
    W, E = weights.w0.shape
    return W <= MAX_WIDTH and E <= MAX_ENCODING


def taps(
    weights: ImplicitWeights,
    deltas: Tensor,
    K: int,
    l_max: int,
    shift: float,
    tile: Tile | None = None,
) -> Tensor:
    """Return the taps (H, K), float32 as the weights are."""
    freq, *layers, last = (w.contiguous() for w in weights)
    tile = tile or tile_for(Limits.of(freq.device).target)
    (W, E), H = weights.w0.shape, len(last)
    out = torch.empty(H, K, dtype=torch.float32, device=freq.device)
    launch(
        _taps, triton.cdiv(K, tile.positions),
        out, fixed_point_steps(E // 2, l_max, freq.device), half_turns(freq),
        *layers, last, deltas.contiguous(), K, H, E, W, shift,
        P=tile.positions, W=_padded(W), EP=_padded(E),
        C=tile.channels, STEPS=triton.cdiv(H, tile.channels),
        PRECISION=tile.precision, num_warps=tile.warps,
    )  # fmt: skip
    return out


def _padded(n: int) -> int:
    """Return the next size a product takes."""
    return max(16, int(triton.next_power_of_2(n)))
