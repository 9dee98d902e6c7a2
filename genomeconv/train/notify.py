"""How the library speaks while it trains: sentences, and the state of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

Notify = Callable[[str, str], None]
"""Called with a level ("debug", "info", "warning") and one line of text."""


class Progress(Protocol):
    """What is told how far a run is."""

    def start(self, steps: int, done: int) -> None:
        """Begin: so many steps in all, ``done`` of them are done."""
        ...

    def advance(self, step: int, bases: int, metrics: Mapping[str, float]) -> None:
        """Tell of a step: its number, its bases, what was measured."""
        ...

    def finish(self) -> None:
        """End."""
        ...


class Silent:
    """A progress that shows nothing."""

    def start(self, steps: int, done: int) -> None:
        """Begin."""

    def advance(self, step: int, bases: int, metrics: Mapping[str, float]) -> None:
        """Count."""

    def finish(self) -> None:
        """End."""
