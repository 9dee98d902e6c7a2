"""What the backward operators share: room for gradients, and those that were wanted.

An operator returns tensors and no None, so a gradient nobody wants is an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genomeconv_kernels.layout import empty_as


def empty_grads(inputs: Sequence[Tensor | None], needs: Sequence[bool]) -> list[Tensor]:
    """Return room for the gradients of the inputs, empty where not needed."""
    like = next(t for t in inputs if t is not None)
    return [
        like.new_empty(0) if t is None or not need else empty_as(t)
        for t, need in zip(inputs, needs, strict=True)
    ]


def only_needed(
    grads: Sequence[Tensor], needs: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Return gradients as autograd takes them, None for those not needed."""
    return tuple(g if need else None for g, need in zip(grads, needs, strict=True))
