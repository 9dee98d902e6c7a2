"""One class a sequence: the objective.

The logits z are the outputs of the sequence's vector: the mean over its bases, or the
last of them. Rare classes weigh more, and as with labels of bases the weight is undone
inside, so that probabilities stay what they are:

    loss = - w_y log softmax(z + log w)_y,   w_c = sqrt(f_max / f_c), at most 10,

with f_c the share of class c of the training sequences. Where P(y = c) = p_c, the loss
is least at softmax(z) = p.

Axes: B sequences, L positions, D channels, C classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from genomeconv.alphabet import Codes
from genomeconv.config import ModelConfig
from genomeconv.model import Model
from genomeconv.tokens import token_table
from genomeconv.train.data.windows import Window
from genomeconv.train.objectives import (
    IGNORED,
    LARGEST_WEIGHT,
    Example,
    inside_of,
    output_logits,
)

Pooling = Literal["mean", "last"]


class SequenceClasses:
    """The class of a whole sequence.

    Parameters
    ----------
    model : ModelConfig
    weights : array (C,)
        Of the classes, see :func:`class_weights`.
    pooling : "mean" or "last"
    """

    ahead = 0
    padded = True

    def __init__(
        self,
        model: ModelConfig,
        weights: npt.NDArray[np.float64],
        pooling: Pooling,
    ) -> None:
        self._rows = token_table(model)
        self._weights = torch.tensor(weights, dtype=torch.float32)
        self._pooling = pooling

    def example(
        self, window: Window, codes: Codes, rng: np.random.Generator
    ) -> Example:
        """Put the class at the last base; what follows is padding."""
        targets = np.full(len(codes), IGNORED, dtype=np.int64)
        targets[window.stop - window.start - 1] = window.label
        return Example(self._rows[codes], targets)

    def loss(self, model: Model, x: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats, summed over the sequences."""
        inside = inside_of(targets, self)
        assert inside is not None
        z = output_logits(model, pooled(x, inside, self._pooling))
        w = self._weights.to(z)
        y = targets[targets != IGNORED]
        return F.cross_entropy(z + w.log(), y, weight=w, reduction="sum")

    def metrics(self, loss: float) -> dict[str, float]:
        """Return the loss in nats a sequence."""
        return {"loss": loss}


def pooled(x: Tensor, inside: Tensor, pooling: Pooling) -> Tensor:
    """Return the vector of each sequence, (B, L, D) -> (B, D).

    Parameters
    ----------
    x : Tensor
    inside : Tensor
        (B, L) bool: False for the padding at the end.
    pooling : "mean" or "last"
    """
    sizes = inside.sum(1)
    if pooling == "last":
        return x[torch.arange(len(x), device=x.device), sizes - 1]
    total = torch.where(inside[..., None], x, 0.0).sum(1)
    return total / sizes[:, None]


def class_weights(
    counts: npt.NDArray[np.int64], balance: bool
) -> npt.NDArray[np.float64]:
    """Return the weight of each class, (C,); all 1 where there is nothing to balance.

    Parameters
    ----------
    counts : array (C,)
        Training sequences of each class.
    balance : bool
    """
    if not balance:
        return np.ones(len(counts))
    shares = np.maximum(counts, 1) / counts.max()
    out: npt.NDArray[np.float64] = np.minimum(np.sqrt(1 / shares), LARGEST_WEIGHT)
    return out
