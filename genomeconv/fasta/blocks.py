r"""Cut a stream of bytes into blocks of text that never split a header line.

Every block handed on begins either inside the sequence of the record before it or
with the line feed that ends the line before it. So splitting it at LF and '>' gives
what is left of the old record, then the new ones, each whole but perhaps the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from genomeconv.errors import DataError
from genomeconv.fasta.recognise import UTF8_MARK
from genomeconv.inputs import line_feeds

LONGEST_HEADER = 1 << 20
_CTRL_Z_AT_END = re.compile(rb"\x1a(\r\n?|\n)?\Z")


class Block(NamedTuple):
    """Text with LF line ends only, and where in the file its first byte stands."""

    text: bytes
    line: int
    """Line number, counting from 1; the LF before a line belongs to the line before."""
    column: int
    """Bytes of that line that came in blocks before."""

    def records(self) -> list[bytes]:
        """Return the rest of the old record and the new records, without '>'."""
        if b">" not in self.text:  # the usual case in a chromosome, and much faster
            return [self.text]
        return self.text.split(b"\n>")

    def place(self, at: int) -> tuple[int, int]:
        """Return line and column, both from 1, of one byte of the text."""
        last = self.text.rfind(b"\n", 0, at)
        if last < 0:
            return self.line, self.column + at + 1
        return self.line + self.text.count(b"\n", 0, at), at - last


Warn = Callable[[str], None]


def text_blocks(pieces: Iterable[bytes], label: str, warn: Warn) -> Iterator[Block]:
    """Yield the text of a FASTA file in blocks of about the size of the pieces.

    Parameters
    ----------
    pieces : iterable of bytes
        The file, cut anywhere.
    label : str
        Name of the input, for messages.
    warn : callable
        Gets a sentence for a byte order mark or a final Ctrl-Z, which are dropped.

    Raises
    ------
    DataError
        A header line is longer than ``LONGEST_HEADER`` bytes.
    """
    return whole_headers(line_feeds(_without_marks(pieces, label, warn)), label)


def whole_headers(pieces: Iterable[bytes], label: str) -> Iterator[Block]:
    """Yield blocks as `text_blocks` does, but every byte as it is; CRLF stays whole.

    A CR is the last byte of a block only where the LF of a new header comes next, or
    the end.
    """
    held, line, column = b"\n", 0, 0
    for piece in pieces:
        text = held + piece
        cut = _safe_end(text)
        if len(text) - cut > LONGEST_HEADER:
            what = "header line" if text.startswith(b"\n>", cut) else "run of blanks"
            at = line + text.count(b"\n", 0, cut + 1)
            raise DataError(
                f"{label}:{at}: a {what} is longer than {LONGEST_HEADER:,} bytes; "
                "shorten it"
            )
        block, held = text[:cut], text[cut:]
        if block:
            yield Block(block, line, column)
            line, column = _advanced(block, line, column)
    yield Block(held, line, column)


def _advanced(text: bytes, line: int, column: int) -> tuple[int, int]:
    last = text.rfind(b"\n")
    if last < 0:
        return line, column + len(text)
    return line + text.count(b"\n"), len(text) - last - 1


def _safe_end(text: bytes) -> int:
    """Return where a tail begins whose meaning depends on what comes next."""
    newline = text.rfind(b"\n")
    if newline >= 0 and text.startswith(b">", newline + 1):
        return newline
    end = len(text.rstrip(b" \t\r"))
    if text.endswith(b"\n", 0, end):
        end -= 2 if text.endswith(b"\r\n", 0, end) else 1
    return end


def _without_marks(pieces: Iterable[bytes], label: str, warn: Warn) -> Iterator[bytes]:
    """Drop a UTF-8 byte order mark at the beginning and one Ctrl-Z at the end."""
    held, first = b"", True
    for piece in pieces:
        held += piece
        if first:
            if len(held) < len(UTF8_MARK) and UTF8_MARK.startswith(held):
                continue
            if held.startswith(UTF8_MARK):
                warn(f"{label}: begins with a UTF-8 byte order mark; ignored")
            held, first = held.removeprefix(UTF8_MARK), False
        cut = len(held)
        if found := _CTRL_Z_AT_END.search(held, max(0, cut - 3)):
            cut = found.start()
        if cut:
            yield held[:cut]
        held = held[cut:]
    if _CTRL_Z_AT_END.fullmatch(held):
        warn(f"{label}: ends with a Ctrl-Z, an old end-of-file mark; ignored")
    elif held:
        yield held
