"""Tracks judged: a model beside the mean of the training text and a regression on GC.

Axes: I bins, T tracks, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genomeconv.alphabet import C, G
from genomeconv.model import Model
from genomeconv.stream import TrunkStream
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.objectives import output_logits
from genomeconv.train.tracks.bigwig import Floats
from genomeconv.train.tracks.objective import snapped

Doubles = npt.NDArray[np.float64]
Part = tuple[int, int, int]
_SMALLEST = 1e-3
"""Least prediction of the regression, as a share of the mean: a Poisson needs some."""


@torch.no_grad()
def predictions(
    model: Model, corpus: Corpus, parts: Sequence[Part], size: int
) -> Doubles:
    """Return the predicted mean of every whole bin of some stretches, (I, T).

    Every base sees the whole sequence around it, as far as the model reaches.
    """
    engine = TrunkStream(model.trunk)
    rows = []
    for record, first, last in snapped(parts, size):
        totals = _totals(engine, corpus, record, (first * size, last * size), size)
        x = torch.from_numpy((totals / size).astype(np.float32))
        z = output_logits(model, x.to(next(model.parameters()).device))
        rows.append(np.exp(z.double().cpu().numpy()))
    return np.concatenate([*rows, np.empty((0, len(model.config.outputs)))])


def _totals(
    engine: TrunkStream, corpus: Corpus, record: int, span: tuple[int, int], size: int
) -> Doubles:
    """Return the sum of the vectors of each bin of a stretch, (I, D)."""
    start, stop = span
    out = np.zeros(((stop - start) // size, engine.width))
    read, length = partial(corpus.codes, record), corpus.lengths[record]
    for first, x in engine.run(read, length, start, stop):
        low, high = max(start, first), min(stop, first + len(x))
        if low >= high:
            continue
        rows = x[low - first : high - first].double().cpu().numpy()
        bins = (np.arange(low, high) - start) // size
        edges = np.flatnonzero(np.diff(bins, prepend=-1))
        out[bins[edges]] += np.add.reduceat(rows, edges, axis=0)
    return out


def gc_content(corpus: Corpus, parts: Sequence[Part], size: int) -> Doubles:
    """Return the share of C and G of each whole bin of some stretches, (I,)."""
    out = [np.empty(0)]
    for record, first, last in snapped(parts, size):
        codes = np.asarray(corpus.codes(record, first * size, last * size))
        strong = (codes == C) | (codes == G)
        out.append(strong.reshape(-1, size).mean(1))
    return np.concatenate(out)


class TrackBaselines:
    """The mean of the training text, and least squares on GC and its square.

    Parameters
    ----------
    corpus : Corpus
    values : sequence of arrays (I, T)
    train : sequence of (record, start, stop)
    size : int
        Bases of a bin.
    """

    def __init__(
        self, corpus: Corpus, values: Sequence[Floats], train: Sequence[Part], size: int
    ) -> None:
        found = bins_of(values, train, size)
        features = _features(gc_content(corpus, train, size))
        self.means = np.empty(found.shape[1])
        self._lines = np.empty((3, found.shape[1]))
        for t, y in enumerate(found.T):
            there = ~np.isnan(y)
            self.means[t] = y[there].mean() if there.any() else np.nan
            solved = np.linalg.lstsq(features[there], y[there], rcond=None)
            self._lines[:, t] = solved[0]

    def predictions(self, gc: Doubles) -> dict[str, Doubles]:
        """Return what each baseline predicts for bins of some GC content, (I, T)."""
        lines = np.maximum(_features(gc) @ self._lines, _SMALLEST * self.means)
        return {"mean": np.tile(self.means, (len(gc), 1)), "gc": lines}


def _features(gc: Doubles) -> Doubles:
    return np.stack([np.ones_like(gc), gc, gc**2], axis=1)


def bins_of(values: Sequence[Floats], parts: Sequence[Part], size: int) -> Doubles:
    """Return the values of every whole bin of some stretches, (I, T)."""
    found = [values[r][a:b] for r, a, b in snapped(parts, size)]
    empty = np.empty((0, values[0].shape[1]))
    return np.concatenate([empty, *found], dtype=np.float64)


def judge_tracks(
    model: Model,
    corpus: Corpus,
    values: Sequence[Floats],
    parts: Sequence[Part],
    size: int,
    baselines: TrackBaselines,
) -> dict[str, Any]:
    """Return the metrics of a model and the baselines on some stretches, for JSON."""
    right = bins_of(values, parts, size)
    found = {"model": predictions(model, corpus, parts, size)}
    found |= baselines.predictions(gc_content(corpus, parts, size))
    tracks = {}
    for t, name in enumerate(model.config.outputs):
        there = ~np.isnan(right[:, t])
        rows = {
            who: track_metrics(values_[there, t], right[there, t])
            for who, values_ in found.items()
        }
        tracks[name] = {
            "bins": int(there.sum()),
            **rows.pop("model"),
            "baselines": rows,
        }
    return {"bases": sum(b - a for _, a, b in parts), "bin": size, "tracks": tracks}


def track_metrics(found: Doubles, right: Doubles) -> dict[str, float | None]:
    """Return correlation and mean Poisson deviance of predictions, (I,) each.

    Pearson's r is None where one of the two is constant. The deviance is
    2 mean(y log(y / lambda) - y + lambda), 0 at best (McCullagh and Nelder 1989).
    """
    if not len(right):
        return {"pearson": None, "deviance": None}
    logs = np.where(right > 0, right * np.log(np.where(right > 0, right, 1) / found), 0)
    deviance = 2 * float((logs - right + found).mean())
    return {"pearson": _pearson(found, right), "deviance": round(deviance, 4)}


def _pearson(a: Doubles, b: Doubles) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    # What is constant but for rounding has no direction.
    level = 1e-12 * len(a) ** 0.5
    flat = float(np.sqrt(a @ a)) <= level or float(np.sqrt(b @ b)) <= level
    return None if flat else round(float(a @ b) / scale, 4)
