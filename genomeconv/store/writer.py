"""The writer: an output that appears under its name when it is whole, and only then."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomeconv.errors import (
    CannotCreateError,
    GenomeconvError,
    LockedError,
)
from genomeconv.store import disk, layout, schema
from genomeconv.store.beside import beside, clear_finished, discard, sweep
from genomeconv.store.blocks import BlockTable, Part
from genomeconv.store.finalise import check_compression, complete, pack
from genomeconv.store.finite import stored
from genomeconv.store.journal import Journal, difference
from genomeconv.store.lock import Lock
from genomeconv.store.plan import OutputPlan, predicted_bytes
from genomeconv.store.scratch import RowScratch

Warn = Callable[[str], None]


def check_target(
    path: str | Path, *, overwrite: bool = False, compress: str = "none"
) -> None:
    """Refuse an impossible output before any work; `OutputWriter.open` checks again.

    Raises
    ------
    UsageError
        `compress` is unknown, or its library is not installed.
    CannotCreateError
        The output exists and may not be replaced, or can never be made there.
    PermissionDeniedError
        Its folder is not writable.
    """
    path = Path(path)
    check_compression(compress)
    disk.check_folder(path)
    if os.path.lexists(path) and not overwrite:
        sweep(path)
    disk.check_absent(path, overwrite)


class OutputWriter:
    """Writes one output, and continues an unfinished one.

    While it works there are, beside the output: OUT.partial (the file), OUT.journal
    (which blocks of it are safe), OUT.lock (who is writing) and perhaps OUT.scratch.
    A context manager: leaving it gives the lock back and keeps an unfinished file for
    the next run. Made by `open`.

    Attributes
    ----------
    path : Path
        The output.
    plan : OutputPlan
    scratch : RowScratch or None
        Private table of float32 rows, if the plan asks for one.
    resumed : bool
        Whether an unfinished file is being continued.
    """

    def __init__(self, path: Path, plan: OutputPlan, compress: str) -> None:
        self.path = path
        self.plan = plan
        self.scratch: RowScratch | None = None
        self.resumed = False
        self._compress = compress
        self._partial = beside(path, "partial")
        self._packed = beside(path, "packed")
        self._journal_path = beside(path, "journal")
        self._scratch_path = beside(path, "scratch")
        self._lock = Lock(beside(path, "lock"), path)
        self._journal: Journal | None = None
        self._table: BlockTable | None = None
        self._places: layout.Places | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        plan: OutputPlan,
        *,
        overwrite: bool = False,
        compress: str = "none",
        break_lock: bool = False,
        warn: Warn = warnings.warn,
    ) -> OutputWriter:
        """Begin an output, or continue the unfinished one of the same fingerprint.

        Parameters
        ----------
        path : path
            The output; its folder must exist.
        plan : OutputPlan
        overwrite : bool
            Replace a finished output (once the new one is whole), and discard an
            unfinished one of another fingerprint.
        compress : str
            "none", "gzip" or "zstd", done when all rows are there.
        break_lock : bool
            Take the lock also from a run on another machine.
        warn : callable
            Takes one line when a damaged unfinished file has to be started over.

        Raises
        ------
        CannotCreateError, PermissionDeniedError, StorageError, LockedError, UsageError
        """
        check_compression(compress)
        path = Path(path)
        disk.check_folder(path)
        writer = cls(path, plan, compress)
        writer._lock.acquire(break_lock=break_lock)
        try:
            writer._prepare(overwrite, warn)
        except BaseException:
            writer.close()
            raise
        return writer

    @property
    def commit_rows(self) -> int:
        """Rows of a commit; `write` takes any number of whole ones."""
        return self.plan.commit_rows

    def done(self, a: int = 0, b: int | None = None) -> list[tuple[int, int]]:
        """Ranges of rows within `a` to `b` that are written, joined."""
        return self._open_table().done(a, b)

    def missing(self, a: int = 0, b: int | None = None) -> list[tuple[int, int]]:
        """Ranges of rows within `a` to `b` still to be written, whole commits."""
        return self._open_table().missing(a, b)

    def write(self, a: int, X: NDArray[np.float32], n_bases: NDArray[Any]) -> None:  # noqa: N803
        """Store rows `a` and on.

        When this returns they survive the end of the process, and within about a
        second of writing that of the machine. They may come in any order and again.

        Parameters
        ----------
        a : int
            First row, a multiple of `commit_rows`.
        X : (R, columns) float32
            Rows, a multiple of `commit_rows` of them but at the end of the output.
        n_bases : (R,) int
            Called bases of every row.

        Raises
        ------
        NonFiniteError
            A value is not finite in the stored type; nothing is written then.
        StorageError
            The disk is full or fails.
        """
        if X.shape != (len(n_bases), len(self.plan.columns)):
            raise ValueError(
                f"X: wanted shape {(len(n_bases), len(self.plan.columns))}, "
                f"got {X.shape}"
            )
        rows = stored(self.plan, a, X)
        self._open_table().write(a, (rows, np.asarray(n_bases, "<i8")))

    def finish(self) -> None:
        """Verify every block and give the output its name.

        Raises
        ------
        RuntimeError
            Rows are missing.
        StorageError
            The disk fails, or a block is no longer what was written.
        LockedError
            Somebody took the lock away.
        """
        table, places = self._open_table(), self._places
        assert places is not None
        assert self._journal is not None
        if missing := table.missing():
            raise RuntimeError(f"{self.path}: rows {missing[0]} were never written")
        self._journal.sync()
        complete(table, places, self._journal)
        whole = self._partial
        if self._compress != "none":
            pack(self._partial, self._packed, self._compress)
            whole = self._packed
        if not self._lock.held():
            raise LockedError(
                f"{self.path}: the lock {self._lock.path} was taken away while this "
                "run was writing: run again when no other run is"
            )
        with disk.storage_errors(self.path, "finishing"):
            self._journal.note_finished(whole)
            os.replace(whole, self.path)  # noqa: PTH105 - fault injection
            disk.sync_folder(self.path.parent)
        discard(self.path)
        self.close()

    def close(self) -> None:
        """Give the lock back; what is written stays for the next run."""
        journal, self._journal = self._journal, None
        if journal is not None:
            with contextlib.suppress(GenomeconvError):
                journal.sync()
        table, self._table = self._table, None
        for part in (journal, table, self.scratch):
            if part is not None:
                part.close()
        if self._lock.held():
            if journal is not None and not journal.entries:
                with contextlib.suppress(GenomeconvError):
                    discard(self.path)
            self._lock.release()

    def __enter__(self) -> OutputWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(self, overwrite: bool, warn: Warn) -> None:
        clear_finished(self.path)
        disk.check_absent(self.path, overwrite)
        disk.remove(self._packed)
        self._check_space()
        if not self._continue(overwrite, warn):
            self._start()
        assert self._journal is not None
        assert self._places is not None
        size, rows = self.plan.commit_rows, self.plan.rows.n_rows
        starts = np.arange(0, rows, size, dtype=np.int64)
        row_bytes = len(self.plan.columns) * schema.DTYPES[self.plan.dtype].itemsize
        block, within = np.divmod(starts, self.plan.block_rows)
        parts = (
            Part(self._places.x[block] + within * row_bytes, row_bytes),
            Part(self._places.n_bases + 8 * starts, 8),
        )
        self._table = BlockTable("X", self._partial, self._journal, rows, size, parts)
        tables = [self._table]
        if self.plan.scratch:
            self.scratch = RowScratch(self._scratch_path, self.plan, self._journal)
            tables.append(self.scratch.table)
        for table in tables:
            if damaged := table.recover():
                warn(
                    f"{table.path}: {len(damaged)} damaged blocks of rows, the first "
                    f"{damaged[0][0]} to {damaged[0][1]}, are computed again"
                )

    def _check_space(self) -> None:
        held = sum(
            file.stat().st_blocks * 512
            for file in (self._partial, self._scratch_path)
            if file.exists()
        )
        needed = predicted_bytes(self.plan, self._compress)
        disk.check_space(self.path.parent, self.path, needed, held)

    def _continue(self, overwrite: bool, warn: Warn) -> bool:
        """Take up an unfinished file; False if there is none that can be used."""
        if not self._partial.exists():
            return False
        journal = Journal.load(self._journal_path)
        if journal is None:
            if self._journal_path.exists() and b"\n" in self._journal_path.read_bytes():
                warn(f"{self._journal_path} is damaged: the output is started over")
            return False
        self._journal = journal
        if differs := difference(journal.identity, self.plan.identity):
            if overwrite:
                return self._give_up()
            raise CannotCreateError(
                f"{self.path}: an unfinished run with other options is in the way "
                f"({differs}): give the same options to continue it, or --overwrite "
                "to discard it"
            )
        try:
            self._places = layout.locate(self._partial, self.plan)
        except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            warn(
                f"{self._partial} is damaged ({disk.reason(error)}): the output is "
                "started over"
            )
            return self._give_up()
        self.resumed = True
        return True

    def _give_up(self) -> bool:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        return False

    def _start(self) -> None:
        """Make a new unfinished file; the journal comes last and makes it count."""
        discard(self.path)
        try:
            self._create()
        except BaseException:
            with contextlib.suppress(GenomeconvError):
                discard(self.path)
            raise

    def _create(self) -> None:
        with disk.storage_errors(self._partial, "creating"):
            layout.create(self._partial, self.plan)
        with disk.storage_errors(self._partial, "creating"):
            fd = os.open(self._partial, os.O_RDWR)
            try:
                disk.reserve(fd, os.fstat(fd).st_size)
                os.fsync(fd)
            finally:
                os.close(fd)
            disk.sync_folder(self.path.parent)
            self._places = layout.locate(self._partial, self.plan)
        self._journal = Journal.create(self._journal_path, self.plan.identity)

    def _open_table(self) -> BlockTable:
        if self._table is None:
            raise ValueError(f"{self.path}: the writer is closed")
        return self._table
