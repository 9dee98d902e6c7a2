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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from genomeconv.store.disk import read_at, write_at


class DiskFile(io.RawIOBase):
    """A new file, in the form in which h5py takes Python objects for files.

    Parameters
    ----------
    path : Path
        Must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._at = 0
        self._error: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self._error is not None:
            raise self._error

    def sync(self) -> None:
        """Return when all is on the disk; raise the first failure."""
        self.check()
        os.fsync(self._fd)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place in the file."""
        base = (0, self._at, os.fstat(self._fd).st_size)[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read at the place, and go on behind it."""
        view = memoryview(buffer).cast("B")
        start, stop = self._at, self._at + len(view)
        view[:] = read_at(self._fd, len(view), start)
        for at, data in self._kept:
            p, q = max(at, start), min(at + len(data), stop)
            if p < q:
                view[p - start : q - start] = data[p - at : q - at]
        self._at = stop
        return len(view)

    def write(self, data: Any, /) -> int:
        """Write all of `data` at the place, to memory once the disk has failed."""
        size = memoryview(data).nbytes
        self._try(write_at, data, self._at)
        if self._error is not None:
            self._kept.append((self._at, bytes(data)))
        self._at += size
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """Give the file its length."""
        size = self._at if size is None else size
        self._try(os.ftruncate, size)
        return size

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._fd)
        super().close()

    def _try(self, call: Callable[..., None], *args: Any) -> None:
        if self._error is None:
            try:
                call(self._fd, *args)
            except OSError as error:
                self._error = error


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
