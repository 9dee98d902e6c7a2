"""Progress in steps: loss, bits per base, bases/s and time left; a bar or log lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from genomeconv_cli.console import say, seconds_text
from genomeconv_cli.progress import (
    LOG_PAUSE_SECONDS,
    LOG_PERCENT,
    LOG_SECONDS,
    is_terminal,
)

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SMOOTHING = 0.9
"""Weight of what was shown before in what is shown of the loss."""


class TrainProgress:
    """What the library calls while it trains; this one shows nothing."""

    def start(self, steps: int, done: int) -> None:
        """Begin: so many steps in all, `done` of them are done."""

    def advance(self, step: int, bases: int, metrics: Mapping[str, float]) -> None:
        """Tell of a step."""

    def finish(self) -> None:
        """End: nothing more is shown."""


def choose_train_progress(*, quiet: bool) -> TrainProgress:
    """Return the display that suits stderr: bar, log lines, or nothing."""
    if quiet or sys.stderr is None:
        return TrainProgress()
    return BarTrainProgress() if is_terminal() else LogTrainProgress()


class _Course:
    """Steps done, what was measured, bases a second and time left.

    The first step starts the clock: it may have had to compile.
    """

    def __init__(self, steps: int, done: int, clock: Callable[[], float]) -> None:
        self.steps = steps
        self.step = done
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._bases = 0
        self._shown: dict[str, float] = {}

    def advance(self, step: int, bases: int, metrics: Mapping[str, float]) -> None:
        """Take in a step; numbers are shown as a running mean."""
        self.step = step
        if self._began is None:
            self._began = self._clock(), step
        else:
            self._bases += bases
        for name, value in metrics.items():
            if value == value:  # a step that was skipped has NaN
                before = self._shown.get(name, value)
                self._shown[name] = SMOOTHING * before + (1 - SMOOTHING) * value

    @property
    def percent(self) -> int:
        """Whole per cent done."""
        return 100 * self.step // self.steps if self.steps else 100

    def numbers(self) -> str:
        """`loss 1.31, 1.892 bits per base`."""
        words = []
        for name, value in self._shown.items():
            title = name.replace("_", " ")
            words.append(
                f"{value:.3f} {title}" if " " in title else f"{title} {value:.3f}"
            )
        return ", ".join(words)

    def pace(self) -> str:
        """`21,000 bases/s, 12 s left`, or nothing before there is a rate."""
        if self._began is None:
            return ""
        elapsed, done = self._clock() - self._began[0], self.step - self._began[1]
        if not done or elapsed <= 0:
            return ""
        left = (self.steps - self.step) * elapsed / done
        return f"{self._bases / elapsed:,.0f} bases/s, {seconds_text(left)} left"


class BarTrainProgress(TrainProgress):
    """A bar on the terminal that disappears when the steps are done."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, steps: int, done: int) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        whole = Column(no_wrap=True)
        self._course = _Course(steps, done, time.monotonic)
        self._bar = RichProgress(
            TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
            BarColumn(bar_width=20, table_column=whole),
            TextColumn("{task.fields[numbers]}", markup=False, table_column=whole),
            TextColumn("{task.fields[pace]}", markup=False, table_column=whole),
            console=Console(stderr=True, markup=False, emoji=False, highlight=False),
            transient=True,
        )
        self._task = self._bar.add_task(
            "train", total=steps, completed=done, numbers="", pace=""
        )
        self._bar.start()

    def advance(self, step: int, bases: int, metrics: Mapping[str, float]) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            return
        course = self._course
        course.advance(step, bases, metrics)
        self._bar.update(
            self._task, completed=step, numbers=course.numbers(), pace=course.pace()
        )

    def finish(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class LogTrainProgress(TrainProgress):
    """A line in the log every 30 s and at every 5 % of the steps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def start(self, steps: int, done: int) -> None:
        """Begin to count."""
        self._course = _Course(steps, done, self._clock)
        self._said_at = self._clock()
        self._said = self._course.percent // LOG_PERCENT

    def advance(self, step: int, bases: int, metrics: Mapping[str, float]) -> None:
        """Count, and say so when it is time."""
        course = self._course
        course.advance(step, bases, metrics)
        part = course.percent // LOG_PERCENT
        waited = self._clock() - self._said_at
        stepped = part > self._said and waited >= LOG_PAUSE_SECONDS
        if stepped or waited >= LOG_SECONDS:
            self._said_at, self._said = self._clock(), part
            done = f"step {course.step:,} of {course.steps:,}"
            say(", ".join(filter(None, (done, course.numbers(), course.pace()))))
