"""How tensors lie in memory, and the pieces they are gone through in.

Axes: B batch, H channels, L positions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def empty_as(t: Tensor) -> Tensor:
    """Return room of the shape and type of ``t``, its last axis with stride 1.

    The other axes keep their order: where a matrix product made (H, B, L), the next
    one then finds its operand in rows and nothing is copied.
    """
    if t.stride(-1) == 1:
        return torch.empty_like(t)
    return torch.empty_like(t, memory_format=torch.contiguous_format)


def pieces(
    shape: torch.Size, channels: int, batches: int, step: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Yield (batch, channel, position) slices of (B, H, L), channels outermost."""
    B, H, L = shape
    for h in range(0, H, channels):
        for b in range(0, B, batches):
            for t in range(0, L, step):
                yield (
                    slice(b, min(b + batches, B)),
                    slice(h, min(h + channels, H)),
                    slice(t, min(t + step, L)),
                )
