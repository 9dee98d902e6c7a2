"""What lies beside an output while it is made, and how it is cleared away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from genomeconv.errors import GenomeconvError
from genomeconv.store import disk
from genomeconv.store.journal import Journal
from genomeconv.store.lock import Lock

WORK = ("scratch", "packed", "partial", "journal")
"""Endings of the files of a run, in the order in which they are removed: the journal
comes last, for it tells of the others."""


def beside(path: Path, suffix: str) -> Path:
    """Return the name of a file beside an output."""
    return path.with_name(f"{path.name}.{suffix}")


def found_beside(path: Path) -> list[Path]:
    """Return what of a run lies beside an output, its lock too."""
    names = (beside(path, suffix) for suffix in (*WORK, "lock"))
    return [name for name in names if os.path.lexists(name)]


def discard(path: Path) -> None:
    """Remove the files of a run."""
    with disk.storage_errors(path, "cleaning up"):
        for suffix in WORK:
            disk.remove(beside(path, suffix))


def clear_finished(path: Path) -> None:
    """Remove what a run that was killed at its very end left beside its output.

    The lock is held. Without a whole journal an unfinished file is of no use.
    """
    if not os.path.lexists(path):
        return
    journal = Journal.load(beside(path, "journal"))
    if journal is None or journal.has_finished(path):
        discard(path)
    if journal is not None:
        journal.close()


def sweep(path: Path) -> None:
    """Tidy up beside a finished output, if nobody is at work there."""
    if not found_beside(path):
        return
    lock = Lock(beside(path, "lock"), path)
    with contextlib.suppress(GenomeconvError):
        lock.acquire()
        try:
            clear_finished(path)
        finally:
            lock.release()
