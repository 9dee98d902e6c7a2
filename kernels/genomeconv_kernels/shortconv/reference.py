"""The short convolution as one reads it; never optimised.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

import torch
from torch import Tensor


def short_conv_reference(
    u: Tensor, w: Tensor, bias: Tensor | None = None, state: Tensor | None = None
) -> Tensor:
    """Sum y[t] = bias + sum_j w[K-1-j] u[t-j]; u (B, H, L), w (H, K) -> (B, H, L)."""
    K, L = w.shape[-1], u.shape[-1]
    before = u.new_zeros(*u.shape[:-1], K - 1) if state is None else state
    padded = torch.cat([before, u], dim=-1)
    y = torch.zeros_like(u)
    for i in range(K):
        y = y + w[:, i, None] * padded[..., i : i + L]
    return y if bias is None else y + bias[:, None]
