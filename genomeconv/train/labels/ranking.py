"""Average precision, precision, recall and F1 of a label, in memory that never grows.

Scores are counted in steps of 1/512 (about 0.2 % of the odds, where they are logits)
from -64 to 64; for scores rounded down to a step everything here is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEPS = 512
"""Steps of a unit of the score."""
LIMIT = 64
"""Scores beyond are counted as if they were there."""
_HALF = STEPS * LIMIT


@dataclass(frozen=True)
class Confusion:
    """What a threshold calls right and wrong."""

    tp: int
    fp: int
    fn: int

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Share of what was called that is right; 0 where nothing was called."""
        return self.tp / max(1, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of what is right that was called; 0 where there is nothing."""
        return self.tp / max(1, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.tp / max(1, 2 * self.tp + self.fp + self.fn)

    def row(self) -> dict[str, float]:
        """Return the three numbers, rounded, for JSON."""
        return {
            "f1": round(self.f1, 4),
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
        }


def compared(called: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_]) -> Confusion:
    """Count agreement of two masks of equal shape."""
    tp = int(np.count_nonzero(called & right))
    return Confusion(
        tp, int(np.count_nonzero(called)) - tp, int(np.count_nonzero(right)) - tp
    )


class Ranking:
    """How often each score was given to a yes and to a no."""

    def __init__(self) -> None:
        self._counts = np.zeros((2, 2 * _HALF + 1), np.int64)

    def __add__(self, other: Ranking) -> Ranking:
        out = Ranking()
        out._counts = self._counts + other._counts
        return out

    @property
    def positives(self) -> int:
        """Number of yes."""
        return int(self._counts[1].sum())

    def add(
        self, scores: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_]
    ) -> None:
        """Count scores and labels of equal shape."""
        # Cut before it is an integer: infinity has no whole number.
        steps = np.floor(np.clip(scores.astype(np.float64), -LIMIT, LIMIT) * STEPS)
        place = steps.astype(np.int64) + _HALF
        for kind in (0, 1):
            found = place[labels == bool(kind)]
            self._counts[kind] += np.bincount(found, minlength=2 * _HALF + 1)

    def average_precision(self) -> float | None:
        """Return sum_t (R_t - R_{t+}) P_t over the thresholds t; None without a yes.

        Equal scores are one threshold; nothing is interpolated.
        """
        no, yes = np.cumsum(self._counts[:, ::-1], axis=1)
        if not yes[-1]:
            return None
        gained = self._counts[1, ::-1]
        precision = yes / np.maximum(yes + no, 1)
        return float((gained * precision).sum() / yes[-1])

    def at(self, threshold: float) -> Confusion:
        """Return what calling every score of at least a threshold gives."""
        first = int(np.ceil(np.clip(threshold, -LIMIT, LIMIT) * STEPS)) + _HALF
        fp, tp = (int(n) for n in self._counts[:, first:].sum(axis=1))
        return Confusion(tp, fp, self.positives - tp)

    def best_threshold(self) -> float:
        """Return the threshold of the greatest F1."""
        no, yes = np.cumsum(self._counts[:, ::-1], axis=1)
        f1 = 2 * yes / np.maximum(yes + no + yes[-1], 1)
        return float(_HALF - int(np.argmax(f1))) / STEPS
