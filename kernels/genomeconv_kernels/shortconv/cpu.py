"""The short convolution near memory speed: multiply-add in place, piece by piece.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from genomeconv_kernels.layout import pieces

_PIECE = 1 << 19  # elements of one piece: input and output stay in cache
_SUMMED = 1 << 17  # of a piece whose products are summed: a third array


def convolve(
    u: Tensor, w: Tensor, bias: Tensor | None, state: Tensor | None, out: Tensor
) -> None:
    """Write y[t] = bias + sum_j w[K-1-j] u[t-j] into out (B, H, L)."""
    B, H, L = u.shape
    rows = max(_PIECE // L, 1)
    channels, batches = min(rows, H), max(rows // H, 1)
    columns = [column.split(channels) for column in w.split(1, dim=1)]
    biases = [None] * H if bias is None else bias[:, None].split(channels)
    for b in range(0, B, batches):
        x_parts = u[b : b + batches].split(channels, dim=1)
        y_parts = out[b : b + batches].split(channels, dim=1)
        for i, (x, y) in enumerate(zip(x_parts, y_parts, strict=True)):
            _piece(x, [column[i] for column in columns], biases[i], y)
    if state is not None and w.shape[-1] > 1:
        _head(u, w, bias, state, out)


def _piece(x: Tensor, taps: list[Tensor], bias: Tensor | None, y: Tensor) -> None:
    """Write the taps, (H, 1) each, that reach positions from 0 on; then the bias."""
    L, K = y.shape[-1], len(taps)
    for t in range(0, L, _PIECE):
        n = min(_PIECE, L - t)
        part = y if n == L else y[..., t : t + n]
        torch.mul(x if n == L else x[..., t : t + n], taps[-1], out=part)
        for j in range(1, K):
            late = max(j - t, 0)  # of the first positions tap j reaches before 0
            if late < n:
                late_part = part[..., late:] if late else part
                late_part.addcmul_(x[..., t + late - j : t + n - j], taps[K - 1 - j])
        if bias is not None:
            part.add_(bias)


def _head(u: Tensor, w: Tensor, bias: Tensor | None, state: Tensor, y: Tensor) -> None:
    """Write the first K - 1 positions again, with the state, in the same order."""
    K = w.shape[-1]
    n = min(K - 1, u.shape[-1])
    x = torch.cat([state, u[..., :n]], dim=-1)
    wide = torch.empty_like(x)
    b = None if bias is None else bias[:, None]
    _piece(x, list(w.split(1, dim=1)), b, wide)
    y[..., :n].copy_(wide[..., K - 1 :])


def input_grad(grad: Tensor, w: Tensor, out: Tensor) -> None:
    """Write sum_j w[K-1-j] grad[t+j], the filter read backwards, into out (B, H, L)."""
    L, K = grad.shape[-1], w.shape[-1]
    for b, h, t in _pieces(grad, _PIECE):
        part = out[b, h, t]
        torch.mul(grad[b, h, t], w[h, K - 1, None], out=part)
        for j in range(1, K):
            n = min(t.stop, L - j) - t.start
            if n > 0:
                late = grad[b, h, t.start + j : t.start + j + n]
                part[..., :n].addcmul_(late, w[h, K - 1 - j, None])


def weight_grad(grad: Tensor, u: Tensor, state: Tensor | None, out: Tensor) -> None:
    """Write sum_(b, t) grad[t] u[t-j] into out[:, K-1-j], (H, K)."""
    L, K = grad.shape[-1], out.shape[-1]
    out.zero_()
    products = grad.new_empty(_SUMMED)
    for b, h, t in _pieces(grad, _SUMMED):
        for j in range(K):
            first = max(t.start, j)
            if first < t.stop:
                x, g = u[b, h, first - j : t.stop - j], grad[b, h, first : t.stop]
                made = products[: x.numel()].view(x.shape)
                out[h, K - 1 - j] += torch.mul(g, x, out=made).sum((0, 2))
    if state is not None:
        for j in range(1, K):
            n = min(j, L)
            past = state[..., K - 1 - j :][..., :n]
            out[:, K - 1 - j] += (grad[..., :n] * past).sum((0, 2))


def _pieces(x: Tensor, size: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield slices of (B, H, L) of at most ``size`` elements."""
    _, H, L = x.shape
    step = max(min(size, L), 1)
    channels = max(min(size // step, H), 1)
    return pieces(x.shape, channels, max(size // (step * channels), 1), step)
