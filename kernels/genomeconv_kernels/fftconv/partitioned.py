"""Filters as long as the signal: both are cut into parts that fit in cache.

Axes: B batch, H channels, L positions, K taps; P positions of a part, F = 2 P points.

With windows w_i = x[(i-1) P : (i+1) P] and parts k_m = k[m P : (m+1) P], the output
block i is the second half of the cyclic convolution sum_m k_m * w_{i-m}: the sum is
taken over spectra, so every window, part and output is transformed once. A round holds
the spectra of a few channels only.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from genomeconv_kernels.fftconv.plan import ConvPlan
from genomeconv_kernels.fftconv.source import Source, write_blocks
from genomeconv_kernels.layout import pieces


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep blocks up to 32 MB that are freed, for the next round.

    Its malloc learns from the first such block it frees (mallopt(3), M_MMAP_THRESHOLD).
    Untaught, it gives them back to the kernel and every round takes fresh pages, a
    third of the time. The block is never touched; other allocators do not mind.
    """
    torch.empty((32 << 20) - (64 << 10), dtype=torch.uint8)


def spectra(plan: ConvPlan, taps: Tensor) -> Tensor:
    """Return the spectra (H, parts, P + 1) of the parts of taps (H, K)."""
    padded = taps.new_zeros(len(taps), plan.parts, plan.fft_size)
    Source(taps[None]).fill_blocks(padded[None, ..., : plan.block], 0, plan.block)
    spectra: Tensor = torch.fft.rfft(padded)
    return spectra


def _windows(plan: ConvPlan, source: Source, length: int) -> tuple[Tensor, int]:
    """Return spectra (B, H, N, P + 1) of windows that hold anything, and i of X_0."""
    P = plan.block
    outputs = -(-length // P)
    first = 1 - plan.parts
    if source.state is None:  # nothing before 0: the first window that reaches past it
        first = max(first, -((plan.right - 1) // P) - 1)
    x = source.u.new_empty(*source.u.shape[:2], outputs - first, plan.fft_size)
    source.fill_blocks(x, (first - 1) * P + plan.right, P)
    return torch.fft.rfft(x), first


def convolve(
    plan: ConvPlan,
    source: Source,
    taps: Tensor,
    post: Tensor | None,
    out: Tensor,
    spectrum: Tensor | None = None,
) -> None:
    """Write the convolution into out (B, H, L); taps (H, K) as the plan cut them."""
    _keep_freed_memory()
    P, F, L = plan.block, plan.fft_size, out.shape[-1]
    outputs = -(-L // P)
    ready: tuple[slice, Tensor] | None = None
    for b, h, _ in pieces(out.shape, plan.channels, plan.batches, L):
        if ready is None or ready[0] != h:
            ready = (h, spectra(plan, taps[h]) if spectrum is None else spectrum[h])
        k = ready[1]
        X, first = _windows(plan, source.select(b, h), L)
        Y = _products(X, k, first, outputs)
        del X  # its memory serves the inverse
        y = torch.fft.irfft(Y, n=F)[..., P:]
        write_blocks(out[b, h], None if post is None else post[b, h], y, 0)


def _products(X: Tensor, k: Tensor, first: int, outputs: int) -> Tensor:
    """Return Y_i = sum_m k_m X_{i-m}, (B, H, outputs, P + 1); X begins with X_first."""
    Y = X[:, :, -first:] * k[:, 0, None]
    for m in range(1, min(k.shape[1], outputs - first)):
        low = max(0, first + m)
        w = X[:, :, low - m - first : outputs - m - first]
        Y[:, :, low:].addcmul_(w, k[:, m, None])
    return Y


def filter_grad(plan: ConvPlan, source: Source, grad: Source, out: Tensor) -> None:
    """Write dk[j] = sum over b, t of grad[t] x[t + right - j] into out (H, K).

    Part m is the correlation of the output gradients, standing in the second half of
    their windows, with the windows m before them: lags 0..P-1, no wrapped one is used.
    """
    P, F, L = plan.block, plan.fft_size, grad.u.shape[-1]
    outputs = -(-L // P)
    out.zero_()
    for b, h, _ in pieces(grad.u.shape, plan.channels, plan.batches, L):
        X, first = _windows(plan, source.select(b, h), L)
        X.conj_physical_()  # conj() is lazy, and lost where a compiler runs this
        part = grad.select(b, h)
        g = out.new_zeros(*part.u.shape[:2], outputs, F)
        part.fill_blocks(g[..., P:], 0, P)
        G = torch.fft.rfft(g)
        for m in range(plan.parts):
            low = max(0, first + m)
            if low >= outputs:
                break
            w = X[:, :, low - m - first : outputs - m - first]
            D = (G[:, :, low:] * w).sum((0, 2))
            dk = out[h, m * P : (m + 1) * P]
            dk += torch.fft.irfft(D, n=F)[..., : dk.shape[-1]]
