"""metrics.jsonl: a line of JSON for each thing measured, in the order of the steps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genomeconv.train.folder.events import EventLog
from genomeconv.train.folder.files import replace_text, writing


class MetricsLog:
    """The log of one run, durable up to the last :meth:`sync`.

    Parameters
    ----------
    path : Path
    step : int
        Steps done so far; lines of later steps, which a killed run has left, and a
        line that was cut off are dropped.
    events : EventLog, optional
        Where the numbers of each line are also written.
    """

    def __init__(self, path: Path, step: int, events: EventLog | None = None) -> None:
        self.path = path
        self._events = events
        kept = [line for line in read_log(path) if line["step"] <= step]
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        with writing(path):
            self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line; it has to have a step."""
        with writing(self.path):
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
        if self._events is not None:
            self._events.write(values)

    def sync(self) -> None:
        """Make what was written durable."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; one that is cut off is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines
