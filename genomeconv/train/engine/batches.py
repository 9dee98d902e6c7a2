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

from genomeconv.train.data.windows import Samples, Window
from genomeconv.train.engine.distributed import World
from genomeconv.train.objectives import (
    IGNORED,
    Example,
    Ints,
    Objective,
    Targets,
)
from genomeconv.train.schedule import Schedule

_AHEAD = 2
"""Batches a worker thread may be ahead."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one process does in one step.

    Attributes
    ----------
    parts : list of (inputs, targets), (B, L) int64 and (B, ...) each
    windows : list of Window
        Where its samples come from.
    counted : int
        Targets that count.
    bases : int
        Positions, those that do not count included.
    """

    parts: list[tuple[Ints, Targets]]
    windows: list[Window]
    counted: int
    bases: int


class Batches:
    """Makes the batch of any step; the same one whoever makes it and when.

    Parameters
    ----------
    sampler : Samples
    objective : Objective
    schedule : Schedule
    world : World
        Its team takes windows ``team * share`` to ``(team + 1) * share``, this process
        its stretch of each.
    accumulate : int
        Parts of a batch.
    """

    def __init__(
        self,
        sampler: Samples,
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
        share = windows // self._world.teams
        first = self._world.team * share
        examples, places = [], []
        size = length + self._objective.ahead
        for index in range(first, first + share):
            window, codes, rng = self._sampler.draw(step, index, size)
            places.append(window)
            example = self._objective.example(window, codes, rng)
            examples.append(stretch_of(example, self._world))
        together = share // self._accumulate
        parts = [stacked(examples[i : i + together]) for i in range(0, share, together)]
        counted = sum(int(np.count_nonzero(t != IGNORED)) for _, t in parts)
        bases = share * length // self._world.context
        return Batch(parts=parts, windows=places, counted=counted, bases=bases)

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


def stretch_of(example: Example, world: World) -> Example:
    """Return what this process has of a sample."""
    if world.context == 1:
        return example
    own = world.stretch(len(example.inputs))
    return Example(example.inputs[own], example.targets[own])


def stacked(examples: list[Example]) -> tuple[Ints, Targets]:
    """Return inputs (B, L) and targets (B, ...) of some samples."""
    columns: Any = zip(*examples, strict=True)
    inputs, targets = (np.stack(column) for column in columns)
    return inputs, targets
