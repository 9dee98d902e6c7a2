"""Sums over the steps since the last line of the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass
class Counters:
    """How far a run is; goes into every checkpoint, to the last bit.

    Attributes
    ----------
    step, bases : int
        Steps and positions done.
    skipped : int
        Steps without a finite loss and gradient, which moved nothing.
    bad : int
        How many of them were the last steps, in a row.
    loss_sum, counted : float
        Sum of the loss in nats, and targets, since the last line of the log.
    best_step, best_loss : int, float
        Checkpoint of the lowest validation loss; -1 where there is none.
    seconds : float
        Time spent, stops left out.
    """

    step: int = 0
    bases: int = 0
    skipped: int = 0
    bad: int = 0
    loss_sum: float = 0.0
    counted: float = 0.0
    best_step: int = -1
    best_loss: float = 0.0
    seconds: float = 0.0

    def state(self) -> dict[str, float]:
        """Return the values for JSON."""
        return asdict(self)

    def take_mean(self) -> float:
        """Return the mean loss since the last call, NaN where nothing was counted."""
        mean = self.loss_sum / self.counted if self.counted else float("nan")
        self.loss_sum = self.counted = 0.0
        return mean


class Clock:
    """Time of this process, and how much of it went into waiting for batches."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._began = self._lap = now()
        self._bases = 0
        self._waited = 0.0

    def waited(self, since: float) -> None:
        """Count the time since ``since`` as waiting."""
        self._waited += self._now() - since

    def now(self) -> float:
        """Return the time in seconds from somewhere."""
        return self._now()

    def total(self) -> float:
        """Return the seconds since the beginning."""
        return self._now() - self._began

    def lap(self, bases: int) -> dict[str, float]:
        """Return bases a second and the share of waiting since the last call.

        Parameters
        ----------
        bases : int
            Bases done in all.
        """
        now = self._now()
        spent = max(now - self._lap, 1e-9)
        out = {
            "bases_per_second": round((bases - self._bases) / spent, 1),
            "waiting_share": round(self._waited / spent, 5),
        }
        self._lap, self._bases, self._waited = now, bases, 0.0
        return out
