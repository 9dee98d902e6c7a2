"""Filters up to a few thousand taps: one transform of F points a block.

Axes: B batch, H channels, L positions, K taps, N blocks, F points, V new outputs.

A block of V outputs needs the V + K - 1 inputs that end with it. Their cyclic
convolution of F >= V + K - 1 points wraps around only into the first K - 1 results,
which are not used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomeconv_kernels.fftconv.plan import ConvPlan
from genomeconv_kernels.fftconv.source import Source, write_blocks
from genomeconv_kernels.layout import pieces


def spectra(plan: ConvPlan, taps: Tensor) -> Tensor:
    """Return the spectrum (H, F/2 + 1) of taps (H, K)."""
    spectrum: Tensor = torch.fft.rfft(taps, n=plan.fft_size)
    return spectrum


def convolve(
    plan: ConvPlan,
    source: Source,
    taps: Tensor,
    post: Tensor | None,
    out: Tensor,
    spectrum: Tensor | None = None,
) -> None:
    """Write the convolution into out (B, H, L); taps (H, K) as the plan cut them."""
    F, V, K = plan.fft_size, plan.block, plan.taps
    before = plan.right - (K - 1)
    ready: tuple[slice, Tensor] | None = None
    for b, h, t in pieces(out.shape, plan.channels, plan.batches, plan.blocks * V):
        if ready is None or ready[0] != h:
            part = spectra(plan, taps[h]) if spectrum is None else spectrum[h]
            ready = (h, part[:, None])
        x = _blocks(plan, source.select(b, h), t, before, F)
        X = torch.fft.rfft(x).mul_(ready[1])
        y = torch.fft.irfft(X, n=F)[..., K - 1 : K - 1 + V]
        write_blocks(out[b, h, t], None if post is None else post[b, h, t], y, 0)


def _blocks(plan: ConvPlan, source: Source, t: slice, before: int, used: int) -> Tensor:
    """Return blocks (B, H, N, F) of x: the first `used` points, the rest zero."""
    n_blocks = -(-(t.stop - t.start) // plan.block)
    x = source.u.new_empty(*source.u.shape[:2], n_blocks, plan.fft_size)
    source.fill_blocks(x[..., :used], t.start + before, plan.block)
    if used < plan.fft_size:
        x[..., used:].zero_()
    return x


def filter_grad(plan: ConvPlan, source: Source, grad: Source, out: Tensor) -> None:
    """Write dk[j] = sum over b, t of grad[t] x[t + right - j] into out (H, K).

    The correlation of a block of grad with its window of x, summed over blocks and
    batch rows as spectra: its lag m is tap K - 1 - m, and no wrapped lag is used.
    """
    F, V, K = plan.fft_size, plan.block, plan.taps
    before = plan.right - (K - 1)
    sums: dict[tuple[int, int], Tensor] = {}
    for b, h, t in pieces(grad.u.shape, plan.channels, plan.batches, plan.blocks * V):
        X = torch.fft.rfft(_blocks(plan, source.select(b, h), t, before, F))
        G = torch.fft.rfft(_blocks(plan, grad.select(b, h), t, 0, V))
        # conj() is lazy, and lost where a compiler runs the operator: do it at once.
        part = X.mul_(G.conj_physical_()).sum((0, 2))
        key = (h.start, h.stop)
        sums[key] = part if key not in sums else sums[key].add_(part)
    for (start, stop), total in sums.items():
        lags = torch.fft.irfft(total, n=F)[..., :K]
        out[start:stop] = lags.flip(-1)
