"""Progress in bases: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from genomeconv_cli.console import escape, say, seconds_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LOG_SECONDS = 30.0  # a log line at least so often ...
LOG_PERCENT = 5  # ... and at each such step,
LOG_PAUSE_SECONDS = 1.0  # but never more often than this


class Progress:
    """What the library calls while it works; this one shows nothing."""

    def start(self, total: int, description: str) -> None:
        """Begin; `total` bases are to be done."""

    def advance(self, bases: int) -> None:
        """Count `bases` more as done."""

    def finish(self) -> None:
        """End: nothing more is shown."""

    def __enter__(self) -> Self:
        """Enter the block within which progress is shown."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End, also after an exception."""
        self.finish()


def choose_progress(*, quiet: bool) -> Progress:
    """Return the progress display that suits stderr: bar, log lines, or nothing."""
    if quiet or sys.stderr is None:
        return Progress()
    return BarProgress() if is_terminal() else LogProgress()


def is_terminal() -> bool:
    """Whether stderr is a terminal that a bar can be drawn on."""
    terminal = os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return sys.stderr.isatty() and terminal


class BarProgress(Progress):
    """A bar on the terminal that disappears when the work is done."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, total: int, description: str) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        # Where the terminal is narrow, the description gives way to the numbers.
        room = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False, table_column=room),
            BarColumn(bar_width=20, table_column=Column(no_wrap=True)),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f} bases"),
            TextColumn("{task.fields[rate]}"),
            console=Console(stderr=True, markup=False, emoji=False, highlight=False),
            transient=True,
            expand=True,
        )
        self._pace = Pace(total)
        self._task = self._bar.add_task(escape(description), total=total, rate="")
        self._bar.start()

    def advance(self, bases: int) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            return
        self._pace.advance(bases)
        self._bar.update(self._task, advance=bases, rate=self._pace.text())

    def finish(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class LogProgress(Progress):
    """A line in the log every 30 s and at every 5 %, at most one a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace: Pace | None = None

    def start(self, total: int, description: str) -> None:
        """Begin to count."""
        self._pace = Pace(total, self._clock)
        self._description = description
        self._said_at = self._clock()
        self._said_step = self._step()

    def advance(self, bases: int) -> None:
        """Count, and say so when it is time."""
        if self._pace is None:
            return
        self._pace.advance(bases)
        waited = self._clock() - self._said_at
        stepped = self._step() > self._said_step and waited >= LOG_PAUSE_SECONDS
        if stepped or waited >= LOG_SECONDS:
            self._said_at, self._said_step = self._clock(), self._step()
            pace = self._pace
            done = f"{pace.done:,} of {pace.total:,} bases ({pace.percent} %)"
            say(f"{self._description}: " + ", ".join(filter(None, (done, pace.text()))))

    def finish(self) -> None:
        """Stop counting."""
        self._pace = None

    def _step(self) -> int:
        return self._pace.percent // LOG_PERCENT if self._pace else 0


class Pace:
    """Bases done, bases a second and time left of one job.

    The first report starts the clock: it tells what an earlier run had done.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self._clock = clock
        self._began: tuple[float, int] | None = None

    def advance(self, bases: int) -> None:
        """Count bases."""
        self.done += bases
        if self._began is None:
            self._began = self._clock(), self.done

    @property
    def percent(self) -> int:
        """Whole per cent done."""
        return 100 * self.done // self.total if self.total else 100

    @property
    def rate(self) -> float:
        """Bases a second, 0 where it is not known yet."""
        if self._began is None:
            return 0.0
        began, before = self._began
        elapsed = self._clock() - began
        return (self.done - before) / elapsed if elapsed > 0 else 0.0

    def text(self) -> str:
        """`84,000 bases/s, 12 s left`, or nothing before there is a rate."""
        if not (rate := self.rate):
            return ""
        left = max(self.total - self.done, 0) / rate
        return f"{rate:,.0f} bases/s, {seconds_text(left)} left"
