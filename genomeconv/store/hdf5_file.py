"""Lets HDF5 write a file without ever seeing the disk fail.

After a failed write HDF5 is not safe: an error while an object is freed is printed and
forgotten, a row written again on the same handle can be lost, and the process may crash
when it ends. So the writes are ours: from the first failure on they stay in memory,
HDF5 closes in peace, and then the failure is raised.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py

from genomeconv.store.disk import read_at, write_at

GATHERED_BYTES = 1 << 20
NEAR_BYTES = 1 << 12
"""What lies between two pieces is written with them, if it is no more than that."""


class DiskFile(io.RawIOBase):
    """A new file, in the form in which h5py takes Python objects for files.

    HDF5 writes its header in hundreds of small pieces: they are gathered, for each
    would be a call to the disk, and on a network one to its server.

    Parameters
    ----------
    path : Path
        Must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._at = 0
        self._error: OSError | None = None
        self._gathered: list[tuple[int, bytes]] = []
        self._gathered_bytes = 0

    def check(self) -> None:
        """Write what is gathered; raise the first failure, if there was one."""
        self._put()
        if self._error is not None:
            raise self._error

    def sync(self) -> None:
        """Return when all is on the disk; raise the first failure."""
        self.check()
        os.fsync(self._fd)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place in the file."""
        if whence == os.SEEK_END:
            self._put()
        base = (0, self._at, os.fstat(self._fd).st_size)[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read at the place, and go on behind it."""
        view = memoryview(buffer).cast("B")
        view[:] = self._look(self._at, self._at + len(view))
        self._at += len(view)
        return len(view)

    def write(self, data: Any, /) -> int:
        """Take all of `data` for the place; it stays in memory if the disk fails."""
        piece = bytes(data)
        self._gathered.append((self._at, piece))
        self._gathered_bytes += len(piece)
        if self._gathered_bytes >= GATHERED_BYTES:
            self._put()
        self._at += len(piece)
        return len(piece)

    def truncate(self, size: int | None = None, /) -> int:
        """Give the file its length."""
        self._put()
        size = self._at if size is None else size
        self._try(os.ftruncate, size)
        return size

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._put()
            os.close(self._fd)
        super().close()

    def _look(self, start: int, stop: int) -> bytearray:
        """Return what is at a place, in the file or still in memory."""
        data = read_at(self._fd, stop - start, start)
        for at, piece in self._gathered:
            p, q = max(at, start), min(at + len(piece), stop)
            if p < q:
                data[p - start : q - start] = piece[p - at : q - at]
        return data

    def _put(self) -> None:
        for start, stop in spans([(at, at + len(p)) for at, p in self._gathered]):
            self._try(write_at, self._look(start, stop), start)
        if self._error is None:
            self._gathered = []
        self._gathered_bytes = 0

    def _try(self, call: Callable[..., None], *args: Any) -> None:
        if self._error is None:
            try:
                call(self._fd, *args)
            except OSError as error:
                self._error = error


def spans(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return stretches that cover the pieces, of which none are near to each other."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(pieces):
        if found and start <= found[-1][1] + NEAR_BYTES:
            start, stop = found[-1][0], max(found.pop()[1], stop)
        found.append((start, stop))
    return found


@contextlib.contextmanager
def create_hdf5(path: Path) -> Iterator[tuple[Any, DiskFile]]:
    """Make an HDF5 file to be filled; it is on the disk when the block is left.

    Yields
    ------
    file : h5py.File
    disk : DiskFile
        What it is written to; a long job asks it now and then by `check`.

    Raises
    ------
    OSError
        The disk is full or fails: the number tells which, whatever HDF5 made of it.
    """
    with contextlib.closing(DiskFile(path)) as disk:
        try:
            with h5py.File(disk, "w") as file:
                yield file, disk
        except (OSError, RuntimeError):
            disk.check()
            raise
        disk.sync()
