"""The operation as one reads it; never optimised.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fft_conv_reference(
    u: Tensor,
    k: Tensor,
    pre: Tensor | None = None,
    post: Tensor | None = None,
    skip: Tensor | None = None,
    state: Tensor | None = None,
    *,
    right: int = 0,
) -> Tensor:
    """Sum tap by tap: y[t] = post[t] (sum_j k[j] x[t + right - j] + skip x[t]).

    u, pre, post (B, H, L); k (H, K); skip (H,); state (B, H, K-1) -> (B, H, L), with
    x = pre u, zero outside of 0..L but for the state in front.
    """
    x = u if pre is None else pre * u
    K, L = k.shape[-1], u.shape[-1]
    before = x.new_zeros(*x.shape[:-1], K - 1) if state is None else state
    padded = torch.cat([before, x, x.new_zeros(*x.shape[:-1], right)], dim=-1)
    y = torch.zeros_like(x)
    for j in range(K):
        first = K - 1 + right - j
        y = y + k[:, j, None] * padded[..., first : first + L]
    if skip is not None:
        y = y + skip[:, None] * x
    return y if post is None else post * y
