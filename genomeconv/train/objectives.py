"""What is predicted: from the codes of a window to inputs, targets and a loss.

Axes: B windows, L positions, D channels. An objective makes the numbers of one sample
and judges the trunk's output; everything else of a run is the same for all.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from genomeconv.alphabet import SIZE, Codes, N
from genomeconv.config import ModelConfig
from genomeconv.model import Model
from genomeconv.tokens import token_table
from genomeconv.train.config import ObjectiveConfig
from genomeconv.train.windows import Window

Ints = npt.NDArray[np.int64]
Targets = npt.NDArray[np.int64] | npt.NDArray[np.float32]

IGNORED = -100
"""Target of a position that counts for nothing."""
BASES = SIZE - 1
_HIDDEN, _RANDOM = 0.8, 0.1
"""Of the chosen bases so many are hidden, so many replaced; the rest stay (BERT)."""


class Example(NamedTuple):
    """One sample as numbers."""

    inputs: Ints
    """Rows of the embedding table (L,)."""
    targets: Targets
    """What is to be predicted, or IGNORED: a base or label (L,), or tracks (I, T)."""


class Objective(Protocol):
    """Interface of the objectives.

    Attributes
    ----------
    ahead : int
        Bases a sample needs behind its window.
    padded : bool
        Whether what follows the last target that counts is padding.
    """

    ahead: int
    padded: bool

    def example(
        self, window: Window, codes: Codes, rng: np.random.Generator
    ) -> Example:
        """Return a sample of ``codes``, (L + ahead,), of a window.

        The window says where the codes come from, for objectives that look up
        annotation; ``rng`` is the sample's own generator.
        """
        ...

    def loss(self, model: Model, x: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss in nats of the trunk's output (B, L, D), float32."""
        ...

    def metrics(self, loss: float) -> dict[str, float]:
        """Return what people read, from the mean loss in nats."""
        ...


def inside_of(targets: Tensor, objective: Objective) -> Tensor | None:
    """Return which positions are no padding, (B, L) bool; None where all are."""
    if not objective.padded:
        return None
    counted = (targets != IGNORED).int()
    return counted.flip(1).cumsum(1).flip(1) > 0


def base_logits(model: Model, x: Tensor) -> Tensor:
    """Return logits of A, C, G and T, (..., 4): they are one distribution."""
    weight = model.trunk.embedding.weight if model.head is None else model.head.weight
    rows = torch.tensor(model.config.token_ids[:BASES], device=weight.device)
    return F.linear(x, weight[rows])


def _cross_entropy(model: Model, x: Tensor, targets: Tensor) -> Tensor:
    logits = base_logits(model, x).flatten(0, -2)
    return F.cross_entropy(
        logits, targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _bits(loss: float) -> dict[str, float]:
    return {"loss": loss, "bits_per_base": loss / math.log(2)}


class NextBase:
    """Each base from those before it; N is no target."""

    ahead = 1
    padded = False

    def __init__(self, model: ModelConfig) -> None:
        self._rows = token_table(model)

    def example(
        self, window: Window, codes: Codes, rng: np.random.Generator
    ) -> Example:
        """Shift by one: position i is to tell base i + 1."""
        targets = codes[1:].astype(np.int64)
        targets[targets == N] = IGNORED
        return Example(self._rows[codes[:-1]], targets)

    def loss(self, model: Model, x: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats, summed over the bases that count."""
        return _cross_entropy(model, x, targets)

    def metrics(self, loss: float) -> dict[str, float]:
        """Return loss and bits per base."""
        return _bits(loss)


class MaskedBase:
    """Some bases, chosen by chance, from all others on both sides."""

    ahead = 0
    padded = False

    def __init__(self, model: ModelConfig, share: float, mask_id: int) -> None:
        self._rows = token_table(model)
        self._share = share
        self._mask_id = mask_id

    def example(
        self, window: Window, codes: Codes, rng: np.random.Generator
    ) -> Example:
        """Choose a share of the called bases: 80 % hidden, 10 % another, 10 % seen."""
        chosen = (rng.random(len(codes)) < self._share) & (codes != N)
        fate = rng.random(len(codes))
        other = rng.integers(0, BASES, len(codes))
        targets = np.where(chosen, codes.astype(np.int64), IGNORED)
        inputs = self._rows[codes]
        replaced = chosen & (fate >= _HIDDEN) & (fate < _HIDDEN + _RANDOM)
        inputs = np.where(replaced, self._rows[other], inputs)
        inputs = np.where(chosen & (fate < _HIDDEN), self._mask_id, inputs)
        return Example(inputs, targets)

    def loss(self, model: Model, x: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats, summed over the bases that count."""
        return _cross_entropy(model, x, targets)

    def metrics(self, loss: float) -> dict[str, float]:
        """Return loss and bits a hidden base."""
        return _bits(loss)


def build_objective(config: ObjectiveConfig, model: ModelConfig) -> Objective:
    """Return the objective of a config."""
    if config.kind == "mask":
        return MaskedBase(model, config.share, config.mask_id)
    return NextBase(model)
