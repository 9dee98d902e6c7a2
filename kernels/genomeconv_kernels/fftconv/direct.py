"""Few taps: multiply-add tap by tap in pieces that stay in cache.

Axes: B batch, H channels, L positions, K taps, V positions of a piece.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomeconv_kernels.fftconv.plan import ConvPlan
from genomeconv_kernels.fftconv.source import Source
from genomeconv_kernels.layout import pieces


def convolve(
    plan: ConvPlan, source: Source, taps: Tensor, post: Tensor | None, out: Tensor
) -> None:
    """Write the convolution into out (B, H, L); taps (H, K) as the plan cut them."""
    K = taps.shape[-1]
    for b, h, t in pieces(out.shape, plan.channels, plan.batches, plan.block):
        # With a gate the sum is made elsewhere: `out` may be the gate's own memory.
        y = out[b, h, t] if post is None else torch.empty_like(out[b, h, t])
        V = y.shape[-1]
        x = out.new_empty(*y.shape[:-1], V + K - 1)
        source.select(b, h).fill(x, t.start + plan.right - (K - 1))
        k = taps[h]
        torch.mul(x[..., K - 1 :], k[:, 0, None], out=y)
        for j in range(1, K):
            y.addcmul_(x[..., K - 1 - j :][..., :V], k[:, j, None])
        if post is not None:
            torch.mul(y, post[b, h, t], out=out[b, h, t])


def filter_grad(plan: ConvPlan, source: Source, grad: Source, out: Tensor) -> None:
    """Add up dk[j] = sum over b, t of grad[t] x[t + right - j] into out (H, K)."""
    K = out.shape[-1]
    out.zero_()
    for b, h, t in pieces(grad.u.shape, plan.channels, plan.batches, plan.block):
        g_part = grad.select(b, h)
        V = t.stop - t.start
        g = out.new_empty(*g_part.u.shape[:-1], V)
        g_part.fill(g, t.start)
        x = out.new_empty(*g.shape[:-1], V + K - 1)
        source.select(b, h).fill(x, t.start + plan.right - (K - 1))
        for j in range(K):
            out[h, j] += (g * x[..., K - 1 - j :][..., :V]).sum((0, 2))
