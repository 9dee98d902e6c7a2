"""What every objective is: from the codes of a window to inputs, targets and a loss.

Axes: B windows, L positions, D channels. An objective makes the numbers of one sample
and judges the trunk's output; everything else of a run is the same for all.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from genomeconv.alphabet import Codes
from genomeconv.errors import ModelError
from genomeconv.model import Model
from genomeconv.train.data.windows import Window

Ints = npt.NDArray[np.int64]
Targets = npt.NDArray[np.int64] | npt.NDArray[np.float32]

IGNORED = -100
"""Target of a position that counts for nothing."""
LARGEST_WEIGHT = 10.0
"""Most that the loss of what is rare may weigh, by its rarity."""


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


def output_logits(model: Model, x: Tensor) -> Tensor:
    """Return the logits of the outputs from the trunk's vectors, (..., C)."""
    if model.outputs is None:
        raise ModelError("the model has no outputs: it predicts no labels")
    out: Tensor = model.outputs(x)
    return out
