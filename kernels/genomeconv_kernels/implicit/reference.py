"""The implicit filter in torch, slice by slice: the formula, and its gradient.

Axes: H channels, K taps, E width of the encoding, W width of the network, P positions
of a slice.

    z(t) = [t / (l_max - 1), cos(2 pi f t / l_max), -sin(2 pi f t / l_max)]
    a_0 = W_0 z + b_0,  x_i = sin(freq a_i),  a_(i+1) = W_(i+1) x_i + b_(i+1),  i = 0..2
    k[h, t] = (last x_2)[h] (exp(-|delta_h| t / (l_max - 1)) + shift)

(Hyena hierarchy, Poli et al. 2023, section 3.3 and eq. 7; constants as in HyenaDNA,
Nguyen et al. 2023.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class ImplicitWeights(NamedTuple):
    """What an implicit filter has learned."""

    freq: Tensor
    """Frequency of the sines, (1, W)."""
    w0: Tensor
    """(W, E)."""
    b0: Tensor
    """(W,)."""
    w1: Tensor
    """(W, W)."""
    b1: Tensor
    """(W,)."""
    w2: Tensor
    """(W, W)."""
    b2: Tensor
    """(W,)."""
    last: Tensor
    """(H, W)."""


def frequencies(bands: int) -> Tensor:
    """Return f, turns of each band over l_max positions, float64."""
    return torch.linspace(1e-4, bands - 1, bands, dtype=torch.float64)


def implicit_encoding(
    start: int, stop: int, *, l_max: int, bands: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return z (P, E) and time t (P, 1) of positions start..stop, of like's dtype.

    Computed in float64 and rounded once: at a million positions float32 arithmetic
    would leave only three digits of the angle.
    """
    device = like.device
    position = torch.arange(start, stop, dtype=torch.float64, device=device)[:, None]
    t = position / max(l_max - 1, 1)
    w = 2 * math.pi * position / l_max
    f = frequencies(bands).to(device)
    z = torch.cat([t, torch.cos(f * w), -torch.sin(f * w)], dim=-1)
    return z.to(like.dtype), t.to(like.dtype)


def implicit_taps_reference(
    weights: ImplicitWeights,
    deltas: Tensor,
    start: int,
    stop: int,
    *,
    l_max: int,
    shift: float,
) -> Tensor:
    """Return taps start..stop, (H, P), by the formula above."""
    freq, *_, last = weights
    bands = weights.w0.shape[1] // 2
    x, t = implicit_encoding(start, stop, l_max=l_max, bands=bands, like=freq)
    for w, b in _layers(weights):
        x = torch.sin(freq * F.linear(x, w, b))
    return (F.linear(x, last) * _window(t, deltas, shift)).T


def implicit_gradients(
    grad: Tensor,
    weights: ImplicitWeights,
    deltas: Tensor,
    start: int,
    stop: int,
    *,
    l_max: int,
    shift: float,
) -> ImplicitWeights:
    """Return the gradients of the weights from grad (H, P), the taps' start..stop.

    With g = grad window, d last = g x_2^T and dx_2 = last^T g; then layer by layer
    da = freq cos(freq a) dx, dW = da x^T, db = sum da, dx = W^T da, and
    d freq = sum a cos(freq a) dx over all three.
    """
    freq, *_, last = weights
    bands = weights.w0.shape[1] // 2
    x, t = implicit_encoding(start, stop, l_max=l_max, bands=bands, like=freq)
    inputs, sums = [], []
    for w, b in _layers(weights):
        inputs.append(x)
        sums.append(F.linear(x, w, b))
        x = torch.sin(freq * sums[-1])
    g = grad * _window(t, deltas, shift).T
    d_last, dx, d_freq = g @ x, g.T @ last, torch.zeros_like(freq)
    found: list[Tensor] = []
    for w, _ in reversed(_layers(weights)):
        a, x = sums.pop(), inputs.pop()
        dx = dx * torch.cos(freq * a)
        d_freq += (a * dx).sum(0)
        da = dx * freq
        found = [da.T @ x, da.sum(0), *found]
        dx = da @ w
    return ImplicitWeights(*[d_freq, *found, d_last])


def _layers(weights: ImplicitWeights) -> list[tuple[Tensor, Tensor]]:
    _, w0, b0, w1, b1, w2, b2, _ = weights
    return [(w0, b0), (w1, b1), (w2, b2)]


def _window(t: Tensor, deltas: Tensor, shift: float) -> Tensor:
    return torch.exp(-t * deltas.abs()) + shift
