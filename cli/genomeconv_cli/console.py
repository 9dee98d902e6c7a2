"""Where words go: messages to stderr, data to stdout, both safe for a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from genomeconv.errors import StorageError


def escape(text: str) -> str:
    r"""Replace what a terminal could obey (ESC, newline, bidi marks) by \x1b forms."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def say(text: str) -> None:
    """Write one line, `genomeconv: TEXT`, to stderr; a closed stderr is no error."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"genomeconv: {escape(text)}\n")
        sys.stderr.flush()


class Notifier:
    """Takes the library's messages: `notify(level, text)`.

    Parameters
    ----------
    quiet
        Say nothing (errors are not messages; they always show).
    verbose
        Say "debug" messages too.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose

    def __call__(self, level: str, text: str) -> None:
        """Show a message of level "debug", "info" or "warning"."""
        if self.quiet or (level == "debug" and not self.verbose):
            return
        say(f"warning: {text}" if level == "warning" else text)


def put(text: str) -> None:
    """Write one line of data to stdout.

    Raises
    ------
    StorageError
        If stdout is closed.
    """
    if sys.stdout is None:
        raise StorageError("standard output is closed; the result has nowhere to go")
    sys.stdout.write(text + "\n")


def put_json(value: object) -> None:
    """Write a value to stdout as JSON, indented, safe for every terminal."""
    put(json.dumps(value, indent=2, default=str))


def put_fields(fields: Mapping[str, Any]) -> None:
    """Write `name  value` lines to stdout, the values in a form people read."""
    shown = {_title(key): value_text(key, value) for key, value in fields.items()}
    width = max(map(len, shown), default=0)
    for title, text in shown.items():
        put(f"{title:<{width}}  {text}".rstrip())


def put_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to stdout as a table; its columns are the keys of the first row.

    On a terminal the table fits its width, elsewhere every line is whole.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key in rows[0] if rows else ():
        number = isinstance(rows[0][key], int | float)
        table.add_column(
            _title(key), justify="right" if number else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(value_text(key, value) for key, value in row.items()))
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        put(line.rstrip())


def value_text(key: str, value: object) -> str:
    """Write a value for people; the name says whether it is bytes or seconds."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float() if "bytes" in key:
            return bytes_text(value)
        case int() | float() if "seconds" in key:
            return seconds_text(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        case Mapping():
            return ", ".join(f"{k} {value_text(str(k), v)}" for k, v in value.items())
        case list() | tuple():
            return ", ".join(value_text(key, item) for item in value)
    return escape(str(value))


def bytes_text(count: float) -> str:
    """Write a number of bytes: 999 B, 1.2 kB, 3.4 MB (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def seconds_text(seconds: float) -> str:
    """Write a duration: 0.42 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def _title(key: str) -> str:
    return key.replace("_", " ")
