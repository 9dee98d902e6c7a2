"""The bytes of an input file, whatever it is packed in.

A name, ``-`` for standard input, a pipe; plain, gzip or bgzip, told apart by their
first bytes and never by the suffix. Everything that can be wrong with a file before
one looks at what it says is found here.
"""

from __future__ import annotations

import difflib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from genomeconv.errors import (
    InputMissingError,
    PermissionDeniedError,
    StorageError,
)
from genomeconv.gunzip import HEADER_BYTES, Packing, gathered, gunzip, packing_of

BLOCK_BYTES = 1 << 18  # stays in the cache through all the steps of a pass
_ZIPPED_SUFFIXES = (".gz", ".bgz", ".bgzf")
_SHOWN_CHARACTERS = 60


def shown(text: str | bytes) -> str:
    """Return a name fit for a message: quoted, shortened, nothing a terminal obeys."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )
    return f"'{escaped}'"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the file system says of one version of one file.

    Attributes
    ----------
    size : int
        Bytes.
    mtime_ns : int
        Time of the last change, nanoseconds.
    inode, device : int
        Which file it is, so that a replaced file is seen.
    """

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return the identity a call of ``stat`` describes."""
        return cls(
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            inode=status.st_ino,
            device=status.st_dev,
        )


class Input:
    """One input, read once from its beginning in blocks of bounded size.

    Parameters
    ----------
    path : path or "-"
        What to read; ``-`` is standard input.
    block_bytes : int
        The most bytes a block of plain or unpacked content has.
    truncated : callable, optional
        Gets a sentence where bgzip data lack their end-of-file block; without it that
        is an error.

    Attributes
    ----------
    label : str
        How messages call it.
    packing : "plain", "gzip" or "bgzip"
        Judged by the first bytes.
    identity : Identity or None
        None for anything that is not a regular file.

    Raises
    ------
    InputMissingError
        There is no such file, or it is a directory.
    PermissionDeniedError
        It may not be read.
    """

    def __init__(
        self,
        path: Path | str,
        block_bytes: int = BLOCK_BYTES,
        truncated: Callable[[str], None] | None = None,
    ) -> None:
        self.path = None if str(path) == "-" else Path(path)
        self.label = "standard input" if self.path is None else str(path)
        self.block_bytes = block_bytes
        self.truncated = truncated
        self._file = _standard_input() if self.path is None else open_binary(self.path)
        self.identity = _identity(self._file)
        self._head = self._read(HEADER_BYTES)
        self.packing: Packing = packing_of(self._head)

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self.path is not None:
            self._file.close()

    def suffix_warning(self) -> str | None:
        """Return a sentence where the name promises another packing."""
        zipped = self.label.lower().endswith(_ZIPPED_SUFFIXES)
        if self.path is None or zipped == (self.packing != "plain"):
            return None
        if zipped:
            return f"{self.label}: not compressed in spite of its name; read as text"
        return f"{self.label}: compressed ({self.packing}) though its name hides it"

    def blocks(self) -> Iterator[bytes]:
        """Yield the content, unpacked, in blocks that are never empty.

        Raises
        ------
        DataError
            The compressed data are truncated or damaged.
        StorageError
            The device fails to deliver.
        """
        if self.packing == "plain":
            return self._plain()
        pieces = gunzip(
            self._after_head(), self.label, self.block_bytes, self.truncated
        )
        return gathered(pieces, self.block_bytes // 2)

    def _plain(self) -> Iterator[bytes]:
        read = self._after_head()
        while block := read(self.block_bytes):
            yield block

    def _after_head(self) -> Callable[[int], bytes]:
        def read(size: int) -> bytes:
            if not self._head:
                return self._read(size)
            taken, self._head = self._head[:size], self._head[size:]
            return taken

        return read

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise StorageError(
                f"{self.label}: reading failed: {error.strerror}"
            ) from error


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputMissingError("standard input is closed; give a file")
    return sys.stdin.buffer


def _identity(file: BinaryIO) -> Identity | None:
    try:
        status = os.fstat(file.fileno())
    except (OSError, io.UnsupportedOperation):  # standard input may be a test's
        return None
    return Identity.of(status) if stat.S_ISREG(status.st_mode) else None


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, or say in the user's words why that cannot be.

    Raises
    ------
    InputMissingError, PermissionDeniedError
        As the classes say.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputMissingError(_why_missing(path)) from None
    except IsADirectoryError:
        raise InputMissingError(
            f"{path}: is a directory; give the file in it that you mean"
        ) from None
    except PermissionError:
        raise PermissionDeniedError(f"{path}: no permission to read it") from None
    except OSError as error:
        raise InputMissingError(f"{path}: cannot open: {error.strerror}") from None


def _why_missing(path: Path) -> str:
    if path.is_symlink():
        target = path.readlink()
        return f"{path}: is a symbolic link to {target}, which does not exist"
    if not path.parent.is_dir():
        return f"{path}: no such file; the folder {path.parent} does not exist"
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, beside, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"{path}: no such file{hint}"


def line_feeds(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Turn CRLF and lone CR into LF in text that is cut anywhere."""
    held = b""
    for piece in pieces:
        if not held and b"\r" not in piece:
            yield piece
            continue
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        text = text[: len(text) - len(held)]
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if text:
            yield text
    if held:
        yield b"\n"
