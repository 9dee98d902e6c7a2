"""Batches of this process, prepared ahead by threads.

Axes: B windows of a part, L positions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from genomeconv.train.distributed import World
from genomeconv.train.objectives import IGNORED, Example, Ints, Objective
from genomeconv.train.schedule import Schedule
from genomeconv.train.windows import Sampler, Window

_AHEAD = 2
"""Batches a worker thread may be ahead."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one process does in one step.

    Attributes
    ----------
    parts : list of (inputs, targets), (B, L) int64 each
    windows : list of Window
        Where its samples come from.
    counted : int
        Targets that count.
    bases : int
        Positions, those that do not count included.
    """

    parts: list[tuple[Ints, Ints]]
    windows: list[Window]
    counted: int
    bases: int


class Batches:
    """Makes the batch of any step; the same one whoever makes it and when.

    Parameters
    ----------
    sampler : Sampler
    objective : Objective
    schedule : Schedule
    world : World
        This process takes windows ``rank * share`` to ``(rank + 1) * share``.
    accumulate : int
        Parts of a batch.
    """

    def __init__(
        self,
        sampler: Sampler,
        objective: Objective,
        schedule: Schedule,
        world: World,
        accumulate: int,
    ) -> None:
        self._sampler = sampler
        self._objective = objective
        self._schedule = schedule
        self._world = world
        self._accumulate = accumulate

    def batch(self, step: int) -> Batch:
        """Make the batch of a step."""
        windows, length = self._schedule.batch(step)
        share = windows // self._world.size
        first = self._world.rank * share
        examples, places = [], []
        size = length + self._objective.ahead
        for index in range(first, first + share):
            window, codes, rng = self._sampler.draw(step, index, size)
            places.append(window)
            examples.append(self._objective.example(window, codes, rng))
        together = share // self._accumulate
        parts = [stacked(examples[i : i + together]) for i in range(0, share, together)]
        counted = sum(int(np.count_nonzero(t != IGNORED)) for _, t in parts)
        return Batch(parts=parts, windows=places, counted=counted, bases=share * length)

    def run(self, start: int, stop: int, workers: int) -> Generator[Batch, None, None]:
        """Yield the batches of steps ``start`` to ``stop``, some made ahead."""
        if not workers:
            yield from map(self.batch, range(start, stop))
            return
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(workers, "genomeconv-batches") as pool:
            try:
                for step in range(start, stop):
                    waiting.append(pool.submit(self.batch, step))
                    if len(waiting) > _AHEAD * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def stacked(examples: list[Example]) -> tuple[Ints, Ints]:
    """Return inputs and targets of some samples, (B, L) each."""
    columns: Any = zip(*examples, strict=True)
    inputs, targets = (np.stack(column) for column in columns)
    return inputs, targets
