"""Classes of sequences judged: a model beside the majority and k-mers.

Axes: I sequences, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genomeconv.alphabet import Codes
from genomeconv.model import Model
from genomeconv.stream import TrunkStream
from genomeconv.train.classes.kmers import KmerRegression, best_fit
from genomeconv.train.classes.objective import Pooling
from genomeconv.train.objectives import output_logits

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_TOGETHER = 1 << 16
"""Bases that are run at a time."""


@torch.no_grad()
def probabilities(model: Model, sequences: Sequence[Codes], pooling: Pooling) -> Floats:
    """Return the probability of each class, (I, C), of sequences of any length."""
    engine = TrunkStream(model.trunk)
    vectors = np.empty((len(sequences), engine.width), np.float32)
    for numbers in _groups([len(codes) for codes in sequences]):
        for number, vector in zip(
            numbers,
            _vectors(engine, [sequences[i] for i in numbers], pooling),
            strict=True,
        ):
            vectors[number] = vector
    device = next(model.parameters()).device
    z = output_logits(model, torch.from_numpy(vectors).to(device))
    found: Floats = z.double().softmax(1).cpu().numpy()
    return found


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield numbers of sequences of one length, as many as are run at a time."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    group: list[int] = []
    for number in order:
        full = (len(group) + 1) * lengths[number] > _TOGETHER
        if group and (full or lengths[group[0]] != lengths[number]):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _vectors(
    engine: TrunkStream, sequences: Sequence[Codes], pooling: Pooling
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the pooled vector of each sequence; all are of one length."""
    if len(sequences[0]) <= engine.plan.batch_limit:
        for x in engine.run_together(list(sequences)):
            pooled = x[-1].double() if pooling == "last" else x.double().mean(0)
            yield pooled.cpu().numpy()
        return
    for codes in sequences:
        yield _streamed(engine, codes, pooling)


def _streamed(
    engine: TrunkStream, codes: Codes, pooling: Pooling
) -> npt.NDArray[np.float64]:
    """Return the pooled vector of a sequence that takes several tiles."""
    size = len(codes)
    total = np.zeros(engine.width)
    start = size - 1 if pooling == "last" else 0
    for first, x in engine.run(lambda a, b: codes[a:b], size, start):
        low, high = max(first, start), min(first + len(x), size)
        if low < high:
            total += x[low - first : high - first].double().sum(0).cpu().numpy()
    return total / (size - start)


def metrics(found: Floats, right: Ints) -> dict[str, Any]:
    """Return the metrics of probabilities (I, C) for classes (I,), for JSON.

    Accuracy; F1, the plain mean over the classes there are; Matthews correlation
    (Gorodkin 2004 for more than two classes); the area under the ROC curve where
    there are two.
    """
    size = found.shape[1]
    called = found.argmax(1)
    table = np.zeros((size, size), np.int64)
    np.add.at(table, (right, called), 1)
    out: dict[str, Any] = {
        "accuracy": round(float(np.diag(table).sum() / len(right)), 4),
        "macro_f1": round(_macro_f1(table), 4),
        "matthews": round(matthews(table), 4),
    }
    if size == 2:
        out["auroc"] = _rounded(auroc(found[:, 1], right == 1))
    return out


def _macro_f1(table: Ints) -> float:
    both = table.sum(0) + table.sum(1)
    there = both > 0
    return float((2 * np.diag(table)[there] / both[there]).mean())


def matthews(table: Ints) -> float:
    """Return the correlation of right and called classes; 0 where one is constant.

    Parameters
    ----------
    table : array (C, C)
        Sequences by right class (row) and called class (column).
    """
    n, hits = int(table.sum()), int(np.trace(table))
    right, called = (table.sum(axis).astype(object) for axis in (1, 0))
    covariance = hits * n - int((right * called).sum())
    spread = (n * n - int((right**2).sum())) * (n * n - int((called**2).sum()))
    return float(covariance / spread**0.5) if spread else 0.0


def auroc(scores: Floats, yes: npt.NDArray[np.bool_]) -> float | None:
    """Return the probability that a yes scores above a no, ties half; None: neither."""
    order = np.argsort(scores, kind="stable")
    first = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    counts = np.diff(first, append=len(scores))
    ranks = np.repeat(first + (counts + 1) / 2, counts)
    positives, negatives = int(yes.sum()), int((~yes).sum())
    if not positives or not negatives:
        return None
    above = ranks[yes[order]].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def majority(classes: Sequence[int], size: int, count: int) -> Floats:
    """Return the shares of the classes as probabilities of ``count`` sequences."""
    shares = np.bincount(classes, minlength=size) / len(classes)
    return np.tile(shares, (count, 1))


def judged(
    found: Floats, sequences: Sequence[Codes], right: Ints, baselines: Baselines
) -> dict[str, Any]:
    """Return the metrics of a model and of the baselines on the same sequences."""
    return {
        "sequences": len(sequences),
        "bases": sum(map(len, sequences)),
        "by_class": np.bincount(right, minlength=found.shape[1]).tolist(),
        **metrics(found, right),
        "baselines": baselines.metrics(sequences, right),
    }


class Baselines:
    """What needs no network: the most frequent class, and k-mers.

    Parameters
    ----------
    train, watched : pairs of sequences and classes
        What is learned from; what size and penalty of the k-mers are chosen on.
    size : int
        Classes.
    """

    def __init__(
        self,
        train: tuple[Sequence[Codes], Sequence[int]],
        watched: tuple[Sequence[Codes], Sequence[int]],
        size: int,
    ) -> None:
        self._classes = train[1]
        self._size = size
        self._kmers: KmerRegression = best_fit(*train, *watched, size)

    def probabilities(self, sequences: Sequence[Codes]) -> dict[str, Floats]:
        """Return what each gives the classes, (I, C)."""
        return {
            "kmers": self._kmers.probabilities(sequences),
            "majority": majority(self._classes, self._size, len(sequences)),
        }

    def metrics(self, sequences: Sequence[Codes], right: Ints) -> dict[str, Any]:
        """Return the metrics of both, for JSON."""
        found = self.probabilities(sequences)
        out = {who: metrics(values, right) for who, values in found.items()}
        out["kmers"] |= {"k": self._kmers.k, "strength": self._kmers.strength}
        return out


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
