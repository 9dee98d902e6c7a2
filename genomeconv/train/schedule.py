"""Rates and window lengths as pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from genomeconv.train.config import TrainConfig

PASSES = 2
FEWEST_STEPS, MOST_STEPS = 200, 5000


def automatic_steps(bases: int, bases_a_step: int) -> int:
    """Return the steps of two passes over the text, within bounds."""
    return min(MOST_STEPS, max(FEWEST_STEPS, PASSES * bases // bases_a_step))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What changes from step to step."""

    steps: int
    warmup: float
    final: float
    window: int
    windows: int
    first_window: int
    growth: float

    @classmethod
    def of(cls, config: TrainConfig) -> Schedule:
        """Return the schedule of a config whose number of steps is known."""
        schedule = config.schedule
        return cls(
            steps=schedule.steps,
            warmup=schedule.warmup,
            final=schedule.final_lr,
            window=config.data.window,
            windows=config.data.windows,
            first_window=schedule.first_window,
            growth=schedule.growth,
        )

    def rate(self, step: int) -> float:
        """Return the rate of a step (0-based) in units of the highest.

        A straight line up, then half a cosine down to ``final``.
        """
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return (step + 1) / rising
        share = (step - rising) / max(1, self.steps - rising)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * share))

    def batch(self, step: int) -> tuple[int, int]:
        """Return windows of a step and bases of each; their product never changes.

        Windows grow by doubling, each length for as many steps, in the first
        ``growth`` of the run.
        """
        if not self.first_window or self.first_window == self.window:
            return self.windows, self.window
        doublings = (self.window // self.first_window).bit_length() - 1
        stage = max(1, round(self.growth * self.steps / doublings))
        left = max(0, doublings - step // stage)
        return self.windows << left, self.window >> left
