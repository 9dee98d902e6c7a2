"""Per-base labels of genes, both strands at once: the objective.

Each of the C outputs is a yes or no of its own, z the logit of yes. Donors and
acceptors are a few in ten thousand bases, so the loss weighs their yes by w:

    loss = - w y log s(z + log w) - (1 - y) log(1 - s(z + log w)),
    w = sqrt((1 - f) / f), between 1 and LARGEST_WEIGHT,

with f the label's share of the training bases and s the logistic function. Adding
log w inside undoes what the weight would do to the optimum: where P(y = 1) = p the
loss is least at s(z) = p, so outputs are probabilities as they are.

Where windows are drawn around exons more often than elsewhere, labels have a share g
of the bases that are learned from, and z is moved by their odds, g / (1 - g) over
f / (1 - f), inside the loss as well: so outputs go on being probabilities of the text,
as far as the odds of a label change alike wherever it may be (King and Zeng 2001).

Axes: B windows, L positions, D channels, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genomeconv.alphabet import Codes, N
from genomeconv.config import ModelConfig
from genomeconv.errors import ModelError
from genomeconv.model import Model
from genomeconv.tokens import token_table
from genomeconv.train.data.windows import Window
from genomeconv.train.labels.annotation import (
    CLASSES,
    OUTPUTS,
    Annotation,
    other_strand,
)
from genomeconv.train.objectives import (
    IGNORED,
    LARGEST_WEIGHT,
    Example,
    output_logits,
)

Floats = npt.NDArray[np.float64]

NEAR_N = 32
"""Bases within so many of an N count for nothing."""
NO_EMPHASIS = (1.0,) * len(CLASSES)
_RAREST = 1e-6
"""Frequency that outputs never seen start from."""


class GeneLabels:
    """Labels of genes at every base, from both sides of it.

    Parameters
    ----------
    model : ModelConfig
        Its outputs are OUTPUTS.
    annotation : Annotation
        Records numbered as those of the corpus.
    frequencies : array (C,)
        Share of the training bases that have each label.
    drawn : array (C,), optional
        The same among the bases of the windows; None: windows fall anywhere.
    emphasis : sequence of float
        Factor of the loss of each of CLASSES.
    """

    ahead = 0
    padded = False

    def __init__(
        self,
        model: ModelConfig,
        annotation: Annotation,
        frequencies: Floats,
        drawn: Floats | None = None,
        emphasis: Sequence[float] = NO_EMPHASIS,
    ) -> None:
        self._rows = token_table(model)
        self._annotation = annotation
        drawn = frequencies if drawn is None else drawn
        w = weights(drawn)
        self._weights = torch.tensor(w, dtype=torch.float32)
        self._shift = torch.tensor(
            np.log(w) + log_odds(drawn) - log_odds(frequencies), dtype=torch.float32
        )
        self._emphasis = torch.tensor([*emphasis, *emphasis], dtype=torch.float32)

    def example(
        self, window: Window, codes: Codes, rng: np.random.Generator
    ) -> Example:
        """Look the labels up, a bit an output; none near N."""
        masks = self._annotation.masks(window.record, window.start, window.stop)
        if window.reverse:
            masks = other_strand(masks)
        targets = np.full(len(codes), IGNORED, dtype=np.int64)
        targets[: len(masks)] = masks
        targets[near_n(codes)] = IGNORED
        return Example(self._rows[codes], targets)

    def loss(self, model: Model, x: Tensor, targets: Tensor) -> Tensor:
        """Return the loss in nats, summed over outputs and the bases that count.

        Windows that are judged fall anywhere: then z is not moved by the odds.
        """
        counted = targets != IGNORED
        z = output_logits(model, x[counted])
        w = self._weights.to(z.device)
        bits = torch.arange(len(OUTPUTS), device=z.device)
        y = ((targets[counted, None] >> bits) & 1).to(z.dtype)
        shift = self._shift.to(z.device) if model.training else w.log()
        return F.binary_cross_entropy_with_logits(
            z + shift, y, self._emphasis.to(z.device), pos_weight=w, reduction="sum"
        )

    def metrics(self, loss: float) -> dict[str, float]:
        """Return the loss in nats a base, all outputs together."""
        return {"loss": loss}


def weights(frequencies: Floats) -> Floats:
    """Return the weight of a yes of each output, (C,); 1 for labels never seen."""
    f = np.where(frequencies > 0, frequencies, 1.0)
    out: Floats = np.clip(np.sqrt((1 - f) / f), 1.0, LARGEST_WEIGHT)
    return out


def log_odds(frequencies: Floats) -> Floats:
    """Return log f / (1 - f) of each output, (C,), f no less than 1e-6."""
    f = np.clip(frequencies, _RAREST, 1 - _RAREST)
    out: Floats = np.log(f / (1 - f))
    return out


def near_n(codes: Codes) -> npt.NDArray[np.bool_]:
    """Return which bases lie within NEAR_N of an N, or are one, (L,)."""
    seen = np.concatenate([np.zeros(NEAR_N + 1, np.int64), codes == N, [0] * NEAR_N])
    total = np.cumsum(seen)
    size = len(codes)
    near: npt.NDArray[np.bool_] = total[2 * NEAR_N + 1 :] > total[:size]
    return near


@torch.no_grad()
def start_from(model: Model, frequencies: Floats) -> None:
    """Let the outputs of a fresh model start at the frequencies of the labels.

    A rare label would else spend the first steps unlearning one half (Lin et al. 2017,
    section 4.1).
    """
    if not isinstance(model.outputs, nn.Linear):
        raise ModelError("the model has no outputs: it predicts no labels")
    model.outputs.bias.copy_(torch.from_numpy(log_odds(frequencies)))
