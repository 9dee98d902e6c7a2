"""Unpack gzip and bgzip in pieces of bounded size, believing nothing unchecked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Literal

from genomeconv.errors import DataError

Packing = Literal["plain", "gzip", "bgzip"]

HEADER_BYTES = 18
_MAGIC = b"\x1f\x8b"
_READ_BYTES = 1 << 16  # small, because zlib copies what a member leaves over


def packing_of(head: bytes) -> Packing:
    """Tell how a file is packed from its first ``HEADER_BYTES`` bytes."""
    if not head.startswith(_MAGIC):
        return "plain"
    has_extra = len(head) >= HEADER_BYTES and head[3] & 4
    return "bgzip" if has_extra and head[12:14] == b"BC" else "gzip"


def gunzip(
    read: Callable[[int], bytes],
    label: str,
    block_bytes: int,
    truncated: Callable[[str], None] | None = None,
) -> Iterator[bytes]:
    """Yield the content of all members of gzip data in pieces of bounded size.

    Checksums and lengths are checked by zlib; that nothing but zero padding follows,
    and that bgzip data end with their end-of-file block, is checked here.

    Parameters
    ----------
    read : callable
        Returns at most so many compressed bytes, none at the end.
    label : str
        Name of the input, for messages.
    block_bytes : int
        The most bytes a piece has, however well the data are compressed.
    truncated : callable, optional
        As of `no_end_block`.

    Raises
    ------
    DataError
        The data are truncated, damaged or followed by something else.
    """
    data, at = _next_member(b"", read)
    packing, unpacked = packing_of(data), 0
    while data:
        if not data.startswith(_MAGIC):
            raise DataError(
                f"{label}: something that is not gzip follows the compressed data "
                f"at byte {at:,}; the file is damaged"
            )
        member, unpacked = zlib.decompressobj(wbits=31), 0
        while not member.eof:
            data = data or read(_READ_BYTES)
            try:
                piece = member.decompress(data, block_bytes)
            except zlib.error as error:
                reason = str(error).rpartition(": ")[2]
                raise DataError(
                    f"{label}: the compressed data are damaged near byte {at:,} "
                    f"({reason}); copy or download the file again"
                ) from None
            left = member.unused_data if member.eof else member.unconsumed_tail
            if not (data or piece or member.eof):
                raise DataError(
                    f"{label}: the compressed data stop early at byte {at:,}; the "
                    "file is truncated: copy or download it again"
                )
            at += len(data) - len(left)
            data, unpacked = left, unpacked + len(piece)
            if piece:
                yield piece
        data, padding = _next_member(data, read)
        at += padding
    if packing == "bgzip" and unpacked:
        no_end_block(label, at, truncated)


def no_end_block(label: str, at: int, truncated: Callable[[str], None] | None) -> None:
    """Tell of bgzip data that end without their end-of-file block.

    Parameters
    ----------
    label : str
        Name of the input, for messages.
    at : int
        Where the block should begin, bytes.
    truncated : callable, optional
        Gets a sentence; without it that is an error.

    Raises
    ------
    DataError
        Nobody wants the sentence.
    """
    what = f"{label}: the bgzip end-of-file block is missing at byte {at:,}"
    if truncated is None:
        raise DataError(
            f"{what}; the file is truncated: copy or download it again, or embed what "
            "is there with --allow-truncated"
        )
    truncated(f"{what}; the file may be truncated, what is there is read")


def _next_member(data: bytes, read: Callable[[int], bytes]) -> tuple[bytes, int]:
    """Skip zero padding and fetch a whole gzip header, as far as there is one."""
    padding = 0
    while True:
        padding += len(data) - len(data := data.lstrip(b"\0"))
        if len(data) >= HEADER_BYTES or not (more := read(_READ_BYTES)):
            return data, padding
        data += more


def gathered(pieces: Iterator[bytes], wanted: int) -> Iterator[bytes]:
    """Join small pieces: a member of bgzip data holds 64 KiB at most."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= wanted:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
