"""The ``.fai`` index: made from the file, and never believed without a look at it.

A line is name, length, offset of the first base, bases a line and bytes a line, as
``samtools faidx`` writes them. An index that lies gives wrong bases without a word,
so each entry is held against the bytes around its record: headers must stand exactly
between the end of one record and the beginning of the next.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from genomeconv.errors import DataError
from genomeconv.fasta.blocks import LONGEST_HEADER, Warn, whole_headers
from genomeconv.fasta.headers import Headers
from genomeconv.fasta.randomly import RandomBytes
from genomeconv.inputs import shown

_LINE_ENDS = (b"\n", b"\r\n")
_LOOKED_AT = 1 << 16
"""Bytes of a line that are looked through for a line end that should not be there."""


class Entry(NamedTuple):
    """Where one record lies in the content of the file."""

    length: int
    """Bases."""
    offset: int
    """Of the first base, bytes."""
    line_bases: int
    """Bases of every line but the last."""
    line_bytes: int
    """The same with the line end."""

    def at(self, base: int) -> int:
        """Return the offset of one base, counting from 0."""
        if not self.line_bases:
            return self.offset
        full, rest = divmod(base, self.line_bases)
        return self.offset + full * self.line_bytes + rest

    def on_one_line(self) -> Entry:
        """Return the entry without a word on line ends, where it has none inside."""
        if self.length > self.line_bases:
            return self
        return Entry(self.length, self.offset, self.length, self.length + 1)

    @property
    def end(self) -> int:
        """Offset behind the last base."""
        return self.at(self.length - 1) + 1 if self.length else self.offset


Index = dict[str, Entry]


class IndexMismatchError(Exception):
    """An index file is not the index of this FASTA file."""


def parse(text: bytes) -> Index:
    """Read an index file.

    Raises
    ------
    IndexMismatchError
        It is empty, or not of the form it should have.
    """
    index: Index = {}
    for number, line in enumerate(text.removesuffix(b"\n").split(b"\n"), 1):
        try:
            name, *numbers = line.decode().split("\t")
            entry = Entry(*map(int, numbers))
        except (ValueError, TypeError):
            what = f"line {number} is not an index line" if text else "it is empty"
            raise IndexMismatchError(what) from None
        if name in index or min(entry) < 0:
            raise IndexMismatchError(f"line {number} cannot be right")
        index[name] = entry
    return index


def verify(index: Index, content: RandomBytes) -> None:
    """Hold every entry against the file.

    Raises
    ------
    IndexMismatchError
        A header is not where the entries leave room for it, a line does not end where
        it should, or the file has more or less than the index says.
    """
    end, in_line = 0, False
    for name, entry in index.items():
        header_bytes = entry.offset - end
        if not 0 < header_bytes <= LONGEST_HEADER or entry.end > content.size:
            raise IndexMismatchError(f"record {shown(name)} is not where it says")
        header = content.read(end, entry.offset)
        is_its_own = _is_header(header.lstrip(b"\r\n"), name, entry)
        if not is_its_own or (in_line and header[:1] not in (b"\r", b"\n")):
            raise IndexMismatchError(f"the header of record {shown(name)} is not there")
        _verify_lines(name, entry, content)
        end, in_line = entry.end, entry.length > 0
    rest = content.size - end
    if rest > LONGEST_HEADER or content.read(end, content.size).strip():
        raise IndexMismatchError("the file has more than it lists")


def _is_header(text: bytes, name: str, entry: Entry) -> bool:
    end = text.find(b"\n")
    whole = end == len(text) - 1 or (end < 0 and not entry.length)
    named = text[1:].split(None, 1)[:1] == [name.encode()]
    one_line = b"\r" not in text.rstrip(b"\r\n")
    return text.startswith(b">") and whole and named and one_line


def _verify_lines(name: str, entry: Entry, content: RandomBytes) -> None:
    length, _, width, step = entry
    if not 0 <= step - width <= max(map(len, _LINE_ENDS)):
        raise IndexMismatchError(f"the lines of record {shown(name)} differ")
    last = (length - 1) // width * width if length and width else 0
    for base in {0, last}:  # of the first line and of the last
        start, bases = entry.at(base), min(width, length - base, _LOOKED_AT)
        if b"\n" in content.read(start, start + bases):
            raise IndexMismatchError(f"the lines of record {shown(name)} differ")
    if length <= width:
        return
    for base in {width, last}:
        end = entry.at(base)
        if not width or content.read(end - (step - width), end) not in _LINE_ENDS:
            raise IndexMismatchError(f"the lines of record {shown(name)} differ")


def build(pieces: Iterable[bytes], label: str, warn: Warn) -> Index:
    """Measure every record of a file.

    Parameters
    ----------
    pieces : iterable of bytes
        The content of the file, cut anywhere.
    label : str
        Name of the input, for messages.
    warn : callable
        Gets a sentence for oddities of names.

    Raises
    ------
    DataError
        Names are not usable, a CR ends a header among lines that end with LF, or a
        record has lines of different lengths.
    """
    headers = Headers(label, warn)
    index: Index = {}
    lines = _Lines("", 0, label)
    ended = b"\n"  # of the last header, once it came
    at = -1  # of the text; the LF before it is not in the file
    for block in whole_headers(pieces, label):
        rest, *records = block.records()
        line = block.line
        if not headers.names and rest.strip(b"\r\n"):
            raise DataError(f"{label}: text before the first '>'; not FASTA?")
        body = rest
        if block.text and not ended:
            before, ended, body = rest.partition(b"\n")
            lines = _Lines(headers.names[-1], at + len(before) + 1, label)
        lines.add(body.removesuffix(b"\r"))
        line += rest.count(b"\n")
        place = at + len(rest)
        for record in records:
            head, ended, body = record.partition(b"\n")
            if headers.names:
                index[headers.names[-1]] = lines.entry()
            if b"\r" in head.removesuffix(b"\r"):
                raise _cut_header(label, line + 1)
            headers.add([head], line + 1, ())
            start = place + len(b"\n>") + len(head) + len(ended)
            lines = _Lines(headers.names[-1], start, label)
            lines.add(body.removesuffix(b"\r"))
            place += len(b"\n>") + len(record)
            line += record.count(b"\n") + 1
        at += len(block.text)
    if not headers.names:
        raise DataError(f"no sequences in {label}: the file is empty")
    index[headers.names[-1]] = lines.entry()
    return index


class _Lines:
    """Measures the lines of one record, given in pieces that never split CRLF."""

    def __init__(self, name: str, offset: int, label: str) -> None:
        self._name, self._offset, self._label = name, offset, label
        self._width = 0  # bases of the first line
        self._end = b""  # its line end, once it came
        self._full = 0  # lines of that width
        self._column = 0  # bases of the line that has not ended yet
        self._short: int | None = None  # bases of an ended line that was shorter

    def add(self, piece: bytes) -> None:
        if not self._end:
            piece = self._first_line(piece)
        if not piece:
            return
        step = self._width + len(self._end)
        ends = piece[step - 1 - self._column :: step]
        regular = ends.count(b"\n") == len(ends) == piece.count(b"\n")
        returns = len(ends) * (len(self._end) - 1)
        if regular and self._short is None and piece.count(b"\r") == returns:
            self._full += len(ends)
            self._column += len(piece) - len(ends) * step
        else:
            self._irregular(piece)
        if self._column > self._width or (self._column and self._short is not None):
            raise uneven(self._label, self._name)

    def _first_line(self, piece: bytes) -> bytes:
        line, self._end, rest = piece.partition(b"\n")
        if self._end and line.endswith(b"\r"):
            line, self._end = line[:-1], b"\r\n"
        self._column += len(line)
        if self._end:
            self._width, self._full, self._column = self._column, 1, 0
            self._short = None if self._width else 0
        return rest

    def _irregular(self, piece: bytes) -> None:
        """Take lines one by one; the first that is short must be the last."""
        *lines, rest = piece.split(b"\n")
        for line in lines:
            bases = self._column + len(line.removesuffix(b"\r"))
            same_end = line.endswith(b"\r") == (self._end == b"\r\n")
            if bases and (self._short is not None or bases > self._width):
                raise uneven(self._label, self._name)
            if bases == self._width and bases and same_end:
                self._full += 1
            elif self._short is None:
                self._short = bases
            self._column = 0
        self._column += len(rest)

    def entry(self) -> Entry:
        if not self._end:
            return Entry(self._column, self._offset, self._column, self._column + 1)
        length = self._full * self._width + (self._short or 0) + self._column
        return Entry(length, self._offset, self._width, self._width + len(self._end))


def _cut_header(label: str, line: int) -> DataError:
    """Return the error for a header that goes on for readers that know LF only."""
    return DataError(
        f"{label}:{line}: a CR inside a header line; regions need every line to end "
        "with LF or CRLF: run 'mac2unix' on the file or embed whole records"
    )


def uneven(label: str, name: str) -> DataError:
    """Return the error for a record that no index can describe."""
    return DataError(
        f"{label}: line lengths differ in record {shown(name)}, regions need them "
        "equal; rewrap it with 'seqkit seq -w 60' or embed whole records"
    )


def publish(index: Index, path: Path) -> bool:
    """Put an index file in its place, whole or not at all.

    Returns
    -------
    bool
        False where the folder does not allow it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.writelines(
                "\t".join([name, *map(str, entry)]).encode() + b"\n"
                for name, entry in index.items()
            )
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        return False
    return True
