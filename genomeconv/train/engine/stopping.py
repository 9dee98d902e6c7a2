"""Signals that ask a run to save and leave."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_ECHO_SECONDS = 0.5
"""A launcher passes on what the terminal has sent to all: one wish, two signals."""


class StopRequest:
    """Remembers the first of SIGINT, SIGTERM, SIGUSR1 while the block lasts.

    A second Ctrl-C ends the process at once; schedulers repeat SIGTERM, which asks for
    nothing new. A signal that the parent process ignores (nohup) stays ignored.

    Attributes
    ----------
    signal : int
        The signal that came, 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._since = 0.0
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __bool__(self) -> bool:
        return bool(self.signal)

    def __enter__(self) -> StopRequest:
        for number in STOPPING:
            before = signal.getsignal(number)
            if before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = number == signal.SIGINT and now - self._since > _ECHO_SECONDS
        if self.signal and again:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif not self.signal:
            self.signal, self._since = number, now
