"""A private table of float32 rows, for jobs that pass over the sequence twice."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomeconv.store import disk
from genomeconv.store.blocks import BlockTable, Part
from genomeconv.store.finite import check_finite
from genomeconv.store.journal import Journal
from genomeconv.store.plan import OutputPlan


class RowScratch:
    """Private float32 rows of the shape of X, kept as safely as the output itself.

    For jobs of two passes: the first writes here, the second reads and writes the
    output. Removed when the output is finished.

    Parameters
    ----------
    path : Path
        The file, made if it is not there.
    plan : OutputPlan
    journal : Journal
        Shared with the output.
    """

    def __init__(self, path: Path, plan: OutputPlan, journal: Journal) -> None:
        self._plan = plan
        rows, columns = plan.shape
        with disk.storage_errors(path, "creating"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if os.fstat(fd).st_size != rows * columns * 4:
                    os.ftruncate(fd, rows * columns * 4)
                disk.reserve(fd, rows * columns * 4)
            finally:
                os.close(fd)
            disk.sync_folder(path.parent)
        size = plan.commit_rows
        starts = np.arange(0, rows, size, dtype=np.int64)
        part = Part(starts * columns * 4, columns * 4)
        self.table = BlockTable("scratch", path, journal, rows, size, (part,))

    def done(self, a: int = 0, b: int | None = None) -> list[tuple[int, int]]:
        """Ranges of rows within `a` to `b` that are safely written, joined."""
        return self.table.done(a, b)

    def missing(self, a: int = 0, b: int | None = None) -> list[tuple[int, int]]:
        """Ranges of rows within `a` to `b` still to be written, whole blocks."""
        return self.table.missing(a, b)

    def write(self, a: int, X: NDArray[np.float32]) -> None:  # noqa: N803
        """Store whole blocks of rows from `a` on, (R, columns) float32."""
        if X.ndim != 2 or X.shape[1] != len(self._plan.columns):
            raise ValueError(
                f"X: wanted {len(self._plan.columns)} columns, got {X.shape}"
            )
        check_finite(self._plan, a, X, X)
        self.table.write(a, (np.asarray(X, "<f4"),))

    def read(self, a: int, b: int) -> NDArray[np.float32]:
        """Rows `a` to `b`, (R, columns) float32; they must have been written."""
        if self.table.done(a, b) != [(a, b)]:
            raise ValueError(f"rows {a} to {b} are not all written yet")
        size = self.table.block_rows
        edges = [a, *range((a // size + 1) * size, b, size), b]
        data = bytearray().join(
            self.table.read(p, q, 0) for p, q in itertools.pairwise(edges)
        )
        rows = np.frombuffer(data, "<f4").reshape(b - a, -1)
        return rows.astype(np.float32, copy=False)

    def close(self) -> None:
        """Close the file."""
        self.table.close()
