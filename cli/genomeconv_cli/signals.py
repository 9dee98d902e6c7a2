"""Clean stops: SIGINT and SIGTERM become exceptions that close what is open."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM came.  Like KeyboardInterrupt no `except Exception` swallows it."""


@contextmanager
def clean_stop() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM raise, and the second end the process at once.

    A signal that the parent process had ignored (`nohup`, a background job of a
    script) stays ignored.

    Raises
    ------
    KeyboardInterrupt
        At SIGINT.
    Terminated
        At SIGTERM.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for caught in before:
            signal.signal(caught, signal.SIG_DFL)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
