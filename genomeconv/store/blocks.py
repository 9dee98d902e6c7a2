"""Rows in blocks on a fixed grid, each whole and in the journal, or not there."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomeconv.errors import StorageError
from genomeconv.store.disk import read_at, storage_errors, write_at
from genomeconv.store.journal import Journal


@dataclass(frozen=True)
class Part:
    """One column of data of a table.

    Attributes
    ----------
    offsets : (blocks,) int64
        Where in the file every block begins.
    row_bytes : int
        Bytes of one row.
    """

    offsets: NDArray[np.int64]
    row_bytes: int


class BlockTable:
    """A table of rows inside a file, written and recovered block by block.

    Parameters
    ----------
    name : str
        Name in the journal.
    path : Path
        The file, which exists.
    journal : Journal
    rows, block_rows : int
        The grid: block i holds rows i * block_rows and on, the last one may be shorter.
    parts : sequence of Part
        What a row consists of.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        journal: Journal,
        rows: int,
        block_rows: int,
        parts: Sequence[Part],
    ) -> None:
        self.name = name
        self.path = path
        self.rows = rows
        self.block_rows = block_rows
        self._journal = journal
        self._parts = parts
        self._done = np.zeros(-(-rows // block_rows), np.bool_)
        self._failed = False
        with storage_errors(path, "opening"):
            self.fd = os.open(path, os.O_RDWR)

    def recover(self) -> list[tuple[int, int]]:
        """Believe the blocks of the journal whose bytes verify; returns the others."""
        self._journal.touched(self.fd, self.path)
        damaged = []
        for (table, a), (b, crc) in sorted(self._journal.entries.items()):
            if table != self.name:
                continue
            if (a, b) in self._grid(a, b) and self.agrees(self.parts(a, b), crc):
                self._done[a // self.block_rows] = True
            else:
                damaged.append((a, b))
        return damaged

    def write(self, a: int, parts: Sequence[NDArray[Any]]) -> None:
        """Store whole blocks from row `a` on; they survive the end of the process.

        Parameters
        ----------
        a : int
            First row, on the grid.
        parts : sequence of (R, ...) arrays
            Rows of every part, in the stored type.

        Raises
        ------
        StorageError
            Writing failed, now or earlier: the table takes no more rows then.
        """
        b = a + len(parts[0])
        spans = self._grid(a, b)
        if not spans:
            raise ValueError(
                f"rows {a} to {b} are not whole blocks of {self.block_rows} rows"
            )
        if self._failed:
            raise StorageError(f"{self.path}: an earlier write failed, run again")
        self._failed = True  # until all of it has gone well
        self._journal.touched(self.fd, self.path)
        with storage_errors(self.path, "writing"):
            blocks = [(p, q, self._store(p, q, a, parts)) for p, q in spans]
        self._journal.commit(self.name, blocks)
        self._failed = False
        self._done[a // self.block_rows : -(-b // self.block_rows)] = True

    def _store(
        self, p: int, q: int, first: int, parts: Sequence[NDArray[Any]]
    ) -> list[int]:
        crc = []
        for part, data in zip(self._parts, parts, strict=True):
            block = np.ascontiguousarray(data[p - first : q - first]).data
            write_at(self.fd, block, int(part.offsets[p // self.block_rows]))
            crc.append(zlib.crc32(block))
        return crc

    def read(self, a: int, b: int, part: int) -> bytearray:
        """Read the bytes of rows `a` to `b`, which lie in one block."""
        where, shift = self._parts[part], a % self.block_rows
        offset = int(where.offsets[a // self.block_rows]) + shift * where.row_bytes
        with storage_errors(self.path, "reading"):
            return read_at(self.fd, (b - a) * where.row_bytes, offset)

    def parts(self, a: int, b: int) -> list[bytearray]:
        """Bytes of every part of rows `a` to `b`, which lie in one block."""
        return [self.read(a, b, part) for part in range(len(self._parts))]

    @staticmethod
    def agrees(parts: Sequence[bytearray], checksums: Sequence[int]) -> bool:
        """Whether the parts of a block are those of which the journal tells."""
        return [zlib.crc32(part) for part in parts] == list(checksums)

    def done(self, a: int = 0, b: int | None = None) -> list[tuple[int, int]]:
        """Ranges of rows within `a` to `b` that are safe, in order, joined."""
        return list(self._ranges(self._done, a, self.rows if b is None else b))

    def missing(self, a: int = 0, b: int | None = None) -> list[tuple[int, int]]:
        """Ranges of rows within `a` to `b` still to be written."""
        return list(self._ranges(~self._done, a, self.rows if b is None else b))

    def spans(self) -> Iterator[tuple[int, int]]:
        """First row and last row + 1 of every block."""
        for a in range(0, self.rows, self.block_rows):
            yield a, min(a + self.block_rows, self.rows)

    def _grid(self, a: int, b: int) -> list[tuple[int, int]]:
        """Blocks that make up rows `a` to `b`; none if these are not whole blocks."""
        size = self.block_rows
        if not 0 <= a < b <= self.rows or a % size or (b % size and b != self.rows):
            return []
        return [(p, min(p + size, b)) for p in range(a, b, size)]

    def _ranges(
        self, chosen: NDArray[np.bool_], a: int, b: int
    ) -> Iterator[tuple[int, int]]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen, [0]])))
        for first, last in (edges.reshape(-1, 2) * self.block_rows).tolist():
            p, q = max(first, a), min(last, b, self.rows)
            if p < q:
                yield p, q

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
