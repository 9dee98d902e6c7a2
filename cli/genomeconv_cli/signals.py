"""Clean stops: SIGINT and SIGTERM become exceptions that close what is open."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

IMPORT_PATIENCE_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.02


class Terminated(BaseException):
    """SIGTERM came.  Like KeyboardInterrupt no `except Exception` swallows it."""


class Interrupted(KeyboardInterrupt):
    """SIGINT came.

    A class of its own, because `python -m` ends by the signal, whatever code it is
    given, once a KeyboardInterrupt as such has passed through `exec`.
    """


@contextmanager
def clean_stop() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM raise, and the second end the process at once.

    Modules that are being imported are finished first, for some take an exception for
    the lack of a library, and go on without it or fail in words of their own.

    A signal that the parent process had ignored (`nohup`, a background job of a
    script) stays ignored.

    Raises
    ------
    Interrupted
        At SIGINT.
    Terminated
        At SIGTERM.
    """
    stops: list[tuple[type[BaseException], float]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not stops:
            for caught in before:
                signal.signal(caught, signal.SIG_DFL)
            first = Interrupted if number == signal.SIGINT else Terminated
            stops.append((first, time.monotonic() + IMPORT_PATIENCE_SECONDS))
        kind, latest = stops[0]
        if time.monotonic() > latest or not _is_importing(frame):
            raise kind
        signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN_SECONDS)

    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    alarm = signal.signal(signal.SIGALRM, stop)
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in (*before.items(), (signal.SIGALRM, alarm)):
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
