"""Next and masked bases: the objectives that need nothing but sequence.

Axes: B windows, L positions, D channels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genomeconv.alphabet import SIZE, Codes, N
from genomeconv.config import ModelConfig
from genomeconv.model import Model
from genomeconv.tokens import token_table
from genomeconv.train.config import ObjectiveConfig
from genomeconv.train.data.windows import Window
from genomeconv.train.objectives import IGNORED, Example, Objective

BASES = SIZE - 1
_HIDDEN, _RANDOM = 0.8, 0.1
"""Of the chosen bases so many are hidden, so many replaced; the rest stay (BERT)."""


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
