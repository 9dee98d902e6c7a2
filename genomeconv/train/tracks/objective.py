"""Tracks along a genome, in bins: the objective.

Output t of a bin is the log of the mean the track has there, lambda = exp(z), z from
the mean of the bin's vectors. With y the track's mean in a bin, m its mean over the
training text, and sums over the bins i of a window that have a value:

    poisson      sum_i (lambda_i - y_i log lambda_i) / m
    multinomial  - sum_i y_i log(lambda_i / sum lambda) / m
                 + SUM_WEIGHT (sum lambda - sum y log sum lambda) / m

The two terms of the second one, with weight 1, are the first (a Poisson sample is a
Poisson sum and a multinomial shape; Avsec et al. 2021, "BPNet"); a smaller weight makes
shape count more (Linder et al. 2025, "Borzoi", which has the same fifth).

Axes: B windows, L positions, I bins of a window, D channels, T tracks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from genomeconv.alphabet import Codes
from genomeconv.config import ModelConfig
from genomeconv.errors import DataError, ModelError
from genomeconv.model import Model
from genomeconv.tokens import token_table
from genomeconv.train.data.windows import Window
from genomeconv.train.objectives import IGNORED, Example, output_logits
from genomeconv.train.tracks.bigwig import Floats

SUM_WEIGHT = 0.2
_LARGEST = 15.0
"""Largest log of a prediction in units of the track's mean: exp stays finite."""


class TrackBins:
    """Means of tracks over bins of the genome.

    Parameters
    ----------
    model : ModelConfig
    values : sequence of arrays (I, T)
        Of each record; NaN is missing, see
        :func:`genomeconv.train.tracks.bigwig.read_tracks`.
    means : array (T,)
        Of the training text.
    size : int
        Bases of a bin; windows start and end at multiples of it.
    loss : "poisson" or "multinomial"
    """

    ahead = 0
    padded = False

    def __init__(
        self,
        model: ModelConfig,
        values: Sequence[Floats],
        means: npt.NDArray[np.float64],
        size: int,
        loss: Literal["poisson", "multinomial"],
    ) -> None:
        self._rows = token_table(model)
        self._values = values
        self._means = torch.tensor(means, dtype=torch.float32)
        self._size = size
        self._loss = loss

    def example(
        self, window: Window, codes: Codes, rng: np.random.Generator
    ) -> Example:
        """Look the bins up; those without a value, or beyond the end, do not count."""
        first, last = window.start // self._size, window.stop // self._size
        found = self._values[window.record][first:last]
        found = found[::-1] if window.reverse else found
        bins = len(codes) // self._size
        targets = np.full((bins, found.shape[1]), IGNORED, np.float32)
        targets[: len(found)] = np.nan_to_num(found, nan=IGNORED)
        return Example(self._rows[codes], targets)

    def loss(self, model: Model, x: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, summed over windows, tracks and the bins that count."""
        z = output_logits(model, binned(x, self._size))
        log_means = self._means.to(z.device).log()
        # In units of the tracks' means, so that no track drowns another.
        z = (z - log_means).clamp(max=_LARGEST)
        counted = targets != IGNORED
        y = torch.where(counted, targets, 0.0) / log_means.exp()
        predicted = torch.where(counted, z.exp(), 0.0)
        poisson = predicted - y * z
        if self._loss == "poisson":
            return poisson.sum()
        total = predicted.sum(1).clamp(min=torch.finfo(z.dtype).tiny)
        whole = total - y.sum(1) * total.log()
        # Where no bin counts both are 0, but for the smallest number there is.
        return (poisson.sum(1) - (1 - SUM_WEIGHT) * whole).sum()

    def metrics(self, loss: float) -> dict[str, float]:
        """Return the loss a bin and track."""
        return {"loss": loss}


def binned(x: Tensor, size: int) -> Tensor:
    """Return the mean of each bin's vectors, (B, L, D) -> (B, I, D)."""
    rows, length, width = x.shape
    return x.reshape(rows, length // size, size, width).mean(2)


def snapped(
    stretches: Iterable[tuple[int, int, int]], size: int
) -> list[tuple[int, int, int]]:
    """Return record, first bin and the bin behind the last of whole bins inside."""
    found = [(r, -(-a // size), b // size) for r, a, b in stretches]
    return [(r, a, b) for r, a, b in found if a < b]


def track_means(
    values: Sequence[Floats], stretches: Iterable[tuple[int, int, int]], size: int
) -> npt.NDArray[np.float64]:
    """Return the mean of each track over the bins of stretches, (T,); NaN: none."""
    parts = [values[r][a:b] for r, a, b in snapped(stretches, size)]
    found = np.concatenate([*parts, np.empty((0, values[0].shape[1]), np.float32)])
    there = ~np.isnan(found)
    totals = np.where(there, found, 0.0).sum(0, dtype=np.float64)
    return np.where(there.any(0), totals / np.maximum(there.sum(0), 1), np.nan)


def check_means(means: npt.NDArray[np.float64], paths: Sequence[str]) -> None:
    """Refuse tracks that say nothing of the training text.

    Raises
    ------
    DataError
        The file has no value above 0 there.
    """
    for mean, path in zip(means, paths, strict=True):
        if not mean > 0:
            raise DataError(
                f"{path}: has no value above 0 in the training text; choose another "
                "split, or leave the track out"
            )


@torch.no_grad()
def start_from_means(model: Model, means: npt.NDArray[np.float64]) -> None:
    """Let the outputs of a fresh model start at the tracks' means."""
    if not isinstance(model.outputs, nn.Linear):
        raise ModelError("the model has no outputs: it predicts no tracks")
    model.outputs.bias.copy_(torch.from_numpy(np.log(means)))
