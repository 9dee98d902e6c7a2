"""The frequency-sparse convolution in torch: its definition, and its gradients.

Axes: B batch, H channels, L positions, K taps, N blocks, F points, V new outputs of a
block.

    z = irfft( M rfft(x[iV - halo : iV - halo + F]) rfft(k, F) )     M the mask, 0 or 1
    y[iV + m] = post[iV + m] z[halo + right + m],  0 <= m < V

A masked filter is as long as the window, so what the window holds decides: F, halo and
V belong to the definition. It is linear in x and in k. With g = post dy standing in
windows of zeros at halo + right, dx is the sum of all windows
irfft(M rfft(g) conj(rfft(k))), each at its place, and dk the first K of
irfft(M sum(conj(rfft(x)) rfft(g))).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from genomeconv_kernels.fftconv.gpu.plan import window
from genomeconv_kernels.fftconv.mask import FrequencyMask, kept_half
from genomeconv_kernels.fftconv.source import Source, write_blocks
from genomeconv_kernels.layout import pieces

_ROUND_POINTS = 1 << 21
"""Points of the windows transformed together: bounds the memory."""


class Windows(NamedTuple):
    """Where windows stand: one begins halo before its block of V."""

    mask: FrequencyMask
    right: int
    halo: int
    block: int

    @classmethod
    def of(cls, mask: FrequencyMask, K: int, right: int) -> Windows:
        """Return the windows of K taps.

        Raises
        ------
        ValueError
            A window has no room for so many taps.
        """
        return cls(mask, right, *window(K, right, mask.fft_size))

    @classmethod
    def whole(cls, mask: FrequencyMask) -> Windows:
        """Return the one window of a periodic signal of F positions."""
        return cls(mask, 0, 0, mask.fft_size)

    @property
    def points(self) -> int:
        """F."""
        return self.mask.fft_size

    @property
    def outputs(self) -> slice:
        """Where a window holds the V outputs of its block."""
        return slice(self.halo + self.right, self.halo + self.right + self.block)


def spectra(w: Windows, taps: Tensor) -> Tensor:
    """Return the masked spectra (H, 1, F/2 + 1) of taps (H, K)."""
    whole = torch.fft.rfft(taps, n=w.points)
    return torch.where(kept_half(w.mask, taps.device), whole, 0)[:, None]


def convolve(
    w: Windows, source: Source, k: Tensor, post: Tensor | None, out: Tensor
) -> None:
    """Write the convolution into out (B, H, L), which may be uninitialised."""
    spectrum = spectra(w, k)
    for b, h, t in _rounds(out.shape, w):
        X = torch.fft.rfft(_inputs(w, source.select(b, h), t)).mul_(spectrum[h])
        y = torch.fft.irfft(X, n=w.points)[..., w.outputs]
        write_blocks(out[b, h, t], None if post is None else post[b, h, t], y, 0)


def input_grad(w: Windows, grad: Source, k: Tensor, out: Tensor) -> None:
    """Write dx into out (B, H, L): windows overlap, and are added in one order."""
    spectrum = spectra(w, k).conj_physical()
    F, V, L = w.points, w.block, out.shape[-1]
    length = -(-L // V) * V + -(-F // V) * V
    total = out.new_empty(0)
    for b, h, t in _rounds(out.shape, w):
        if t.start == 0:
            total = out.new_zeros(*out[b, h].shape[:2], length)
        G = torch.fft.rfft(_gradients(w, grad.select(b, h), t)).mul_(spectrum[h])
        dx = torch.fft.irfft(G, n=F)
        for first in range(0, F, V):
            share = dx[..., first : first + V]
            begin = t.start + first
            rows = total[..., begin : begin + share.shape[-2] * V]
            rows.unflatten(-1, (-1, V))[..., : share.shape[-1]] += share
        if t.stop == L:
            out[b, h] = total[..., w.halo : w.halo + L]


def filter_grad(w: Windows, source: Source, grad: Source) -> Tensor:
    """Return the gradient of the F taps a window meets (H, F), summed in one order."""
    H = source.u.shape[1]
    total = torch.zeros(H, w.points // 2 + 1, dtype=_complex(source.u))
    total = total.to(source.u.device)
    for b, h, t in _rounds(source.u.shape, w):
        X = torch.fft.rfft(_inputs(w, source.select(b, h), t))
        G = torch.fft.rfft(_gradients(w, grad.select(b, h), t))
        total[h] += G.mul_(X.conj_physical_()).sum((0, 2))
    total = torch.where(kept_half(w.mask, total.device), total, 0)
    lags: Tensor = torch.fft.irfft(total, n=w.points)
    return lags


def _complex(like: Tensor) -> torch.dtype:
    return torch.complex128 if like.dtype == torch.float64 else torch.complex64


def _inputs(w: Windows, source: Source, t: slice) -> Tensor:
    """Return the windows (B, H, N, F) of x whose blocks begin in t."""
    x = _room(w, source, t)
    source.fill_blocks(x, t.start - w.halo, w.block)
    return x


def _gradients(w: Windows, grad: Source, t: slice) -> Tensor:
    """Return windows (B, H, N, F) of zeros around the gradients of their blocks."""
    g = _room(w, grad, t).zero_()
    grad.fill_blocks(g[..., w.outputs], t.start, w.block)
    return g


def _room(w: Windows, source: Source, t: slice) -> Tensor:
    blocks = -(-(t.stop - t.start) // w.block)
    return source.u.new_empty(*source.u.shape[:2], blocks, w.points)


def _rounds(shape: tuple[int, ...], w: Windows) -> Iterator[tuple[slice, slice, slice]]:
    """Yield (batch, channel, position) slices of so many windows as fit a round."""
    B, H, L = shape
    most = max(_ROUND_POINTS // w.points, 1)
    blocks = min(-(-L // w.block), most)
    batches = max(min(most // blocks, B), 1)
    channels = max(min(most // (blocks * batches), H), 1)
    yield from pieces(torch.Size(shape), channels, batches, blocks * w.block)
