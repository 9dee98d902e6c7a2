"""Which blocks are written: one line a block, each with its own checksum.

The first line holds the identity of the run, the others a block of one table: first
row, last row + 1, crc32 of every part stored. A line that does not verify, as one cut
by a crash, counts for nothing. Of two lines for a block the later one holds.

What was written survives the end of the process at once, that of the machine from the
next wait for the disk on, once a second. Until then a line may be there and its block
not: so a block is believed only if its bytes agree with its line.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genomeconv.errors import StorageError
from genomeconv.store.disk import append, storage_errors, sync_folder

JOURNAL_VERSION = 1
SYNC_SECONDS = 1.0
"""Least time between two waits for the disk: these, not the writing, are what costs."""


class Journal:
    """An open journal.

    Parameters
    ----------
    path : Path
    identity : mapping
        What an unfinished file must have been made with to be continued.
    entries : dict
        (table, first row) -> (last row + 1, checksums).

    Notes
    -----
    Made by `create` and `load`.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        entries: dict[tuple[str, int], tuple[int, list[int]]],
    ) -> None:
        self.path = path
        self.identity = identity
        self.entries = entries
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._unsynced: dict[int, Path] = {}
        self._safe_bytes = os.fstat(self._fd).st_size
        self._synced = time.monotonic()

    @classmethod
    def create(cls, path: Path, identity: Mapping[str, Any]) -> Journal:
        """Start a new journal; it is durable when this returns."""
        with storage_errors(path, "creating the journal"):
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            try:
                header = {"journal": JOURNAL_VERSION, "identity": identity}
                append(fd, _line(header))
                os.fsync(fd)
            finally:
                os.close(fd)
            sync_folder(path.parent)
            return cls(path, identity, {})

    @classmethod
    def load(cls, path: Path) -> Journal | None:
        """Continue a journal; None if there is none or its first line is not whole."""
        with storage_errors(path, "reading the journal"):
            try:
                lines = path.read_bytes().splitlines(keepends=True) or [b""]
            except FileNotFoundError:
                return None
            header = _parse(lines[0])
            if header is None or header.get("journal") != JOURNAL_VERSION:
                return None
            entries = {}
            for record in map(_parse, lines[1:]):
                if record is not None:
                    key = record["table"], record["start"]
                    entries[key] = record["stop"], record["crc32"]
            journal = cls(path, header["identity"], entries)
            journal._safe_bytes = len(lines[0])
            if not lines[-1].endswith(b"\n"):
                append(journal._fd, b"\n")
            return journal

    def touched(self, fd: int, path: Path) -> None:
        """Note that a file may hold blocks that the disk does not."""
        self._unsynced[fd] = path

    def commit(
        self, table: str, blocks: Sequence[tuple[int, int, Sequence[int]]]
    ) -> None:
        """Note blocks of `table` as written; now and then wait for the disk.

        Parameters
        ----------
        table : str
        blocks : sequence of (first row, last row + 1, checksums)
        """
        self._append(table, blocks)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Wait until all that was committed is safe: blocks first, then their lines.

        Raises
        ------
        StorageError
            The disk failed. The lines since the last wait are taken back then: the
            blocks may be gone, though they can still be read.
        """
        files, self._unsynced = self._unsynced, {}
        if not files:
            return
        try:
            for fd, path in files.items():
                with storage_errors(path, "writing"):
                    os.fsync(fd)
        except StorageError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._safe_bytes)
            raise
        with storage_errors(self.path, "writing the journal"):
            os.fsync(self._fd)
            self._safe_bytes = os.fstat(self._fd).st_size
        self._synced = time.monotonic()

    def note_finished(self, file: Path) -> None:
        """Note that `file` is whole and is about to get its final name."""
        self._append("finished", [(file.stat().st_ino, 0, ())])
        with storage_errors(self.path, "writing the journal"):
            os.fsync(self._fd)

    def _append(
        self, table: str, blocks: Sequence[tuple[int, int, Sequence[int]]]
    ) -> None:
        lines = [
            _line({"table": table, "start": a, "stop": b, "crc32": list(crc)})
            for a, b, crc in blocks
        ]
        with storage_errors(self.path, "writing the journal"):
            append(self._fd, b"".join(lines))
        for a, b, crc in blocks:
            self.entries[table, a] = b, list(crc)

    def has_finished(self, file: Path) -> bool:
        """Whether `file` is the very one that was noted as finished."""
        return ("finished", file.lstat().st_ino) in self.entries

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _line(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parse(line: bytes) -> dict[str, Any] | None:
    crc, _, body = line.rstrip(b"\n").partition(b" ")
    if crc != b"%08x" % zlib.crc32(body):
        return None
    try:
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Up to three fields in which two identities differ, with both values, or ""."""
    absent = object()
    fields = [
        key for key in {**new, **old} if old.get(key, absent) != new.get(key, absent)
    ]
    parts = [f"{key} was {_value(old, key)}, is {_value(new, key)}" for key in fields]
    more = len(parts) - 3
    return "; ".join(parts[:3]) + (f"; and {more} more" if more > 0 else "")


def _value(identity: Mapping[str, Any], key: str) -> str:
    if key not in identity:
        return "absent"
    text = json.dumps(identity[key], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
