"""Bytes of a file from any place, plain or bgzip, by reads that share no offset."""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from genomeconv.errors import DataError, StorageError
from genomeconv.gunzip import no_end_block
from genomeconv.inputs import open_binary

_HEADER_BYTES = 18
_SIZE_BYTES = 4
_SMALLEST_BLOCK = _HEADER_BYTES + 2 * _SIZE_BYTES  # crc32 and size end a block


class RandomBytes(Protocol):
    """The content of a file, unpacked, readable from any place.

    Attributes
    ----------
    size : int
        Bytes of content.
    """

    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from start to stop, all of them."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class PlainBytes:
    """A file that is its own content."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_binary(path)
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from start to stop, all of them."""
        pieces = []
        while start < stop:
            try:
                piece = os.pread(self._file.fileno(), stop - start, start)
            except OSError as error:
                raise StorageError(
                    f"{self._path}: reading failed: {error.strerror}"
                ) from None
            if not piece:
                raise DataError(f"{self._path}: ends early, at byte {start:,}")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class BgzipBytes:
    """A file in blocks of gzip, each telling its own size (SAM specification 4.1).

    The table of blocks is read from the file itself, which takes one small read a
    block, so that no ``.gzi`` beside it has to be believed.

    Parameters
    ----------
    path : Path
    truncated : callable, optional
        Gets a sentence where the end-of-file block is missing; without it that is an
        error.

    Attributes
    ----------
    size : int
        Bytes of content.
    packed_starts, starts : list of int
        Where each block begins in the file, and in the content.
    """

    def __init__(
        self, path: Path, truncated: Callable[[str], None] | None = None
    ) -> None:
        self._path = path
        self._file = PlainBytes(path)
        self._truncated = truncated
        self.packed_starts, self.starts = [0], [0]
        self._held: tuple[int, bytes] = (-1, b"")
        try:
            self._list_blocks()
        except BaseException:
            self._file.close()
            raise
        self.size = self.starts[-1]

    def _list_blocks(self) -> None:
        content = -1
        header = self._file.read(0, min(_HEADER_BYTES, self._file.size))
        while header:
            content, header = self._add_block(header)
        if content:
            no_end_block(str(self._path), self._file.size, self._truncated)

    def _add_block(self, header: bytes) -> tuple[int, bytes]:
        """Append the block with this header; return its content size, next header."""
        at = self.packed_starts[-1]
        end = at
        if header[:4] == b"\x1f\x8b\x08\x04" and header[12:14] == b"BC":
            end += int.from_bytes(header[16:], "little") + 1
        if end - at < _SMALLEST_BLOCK:
            raise DataError(f"{self._path}: no bgzip block at byte {at:,}; damaged?")
        if end > self._file.size:
            raise DataError(
                f"{self._path}: the bgzip block at byte {at:,} is cut off; the file is "
                "truncated: copy or download it again"
            )
        after = min(end + _HEADER_BYTES, self._file.size)
        tail = self._file.read(end - _SIZE_BYTES, after)
        content = int.from_bytes(tail[:_SIZE_BYTES], "little")
        self.packed_starts.append(end)
        self.starts.append(self.starts[-1] + content)
        return content, tail[_SIZE_BYTES:]

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from start to stop, all of them."""
        if start >= stop:
            return b""
        if stop > self.size:
            raise DataError(f"{self._path}: ends early, at byte {self.size:,}")
        pieces = []
        block = bisect_right(self.starts, start) - 1
        while start < stop:
            first = self.starts[block]
            piece = self._block(block)[start - first : stop - first]
            pieces.append(piece)
            start += len(piece)
            block += 1
        return b"".join(pieces)

    def _block(self, block: int) -> bytes:
        held, content = self._held
        if held == block:
            return content
        at = self.packed_starts[block]
        packed = self._file.read(at, self.packed_starts[block + 1])
        try:
            content = zlib.decompress(packed, wbits=31)
        except zlib.error:
            content = b""
        if len(content) != self.starts[block + 1] - self.starts[block]:
            raise DataError(
                f"{self._path}: the bgzip block at byte {at:,} is damaged; copy or "
                "download the file again"
            )
        self._held = (block, content)
        return content

    def close(self) -> None:
        """Close the file."""
        self._file.close()
