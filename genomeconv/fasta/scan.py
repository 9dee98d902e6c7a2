"""One pass over a FASTA file: every letter judged, every record measured.

Python touches a record a handful of times and a base never: each step is one call
over a whole block of text, or one per record.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from itertools import accumulate, chain, pairwise
from typing import NoReturn

import numpy as np

from genomeconv.errors import DataError
from genomeconv.fasta import letters
from genomeconv.fasta.blocks import Block, Warn, text_blocks
from genomeconv.fasta.headers import Headers
from genomeconv.fasta.policy import ReadPolicy
from genomeconv.fasta.recognise import HEAD_BYTES, UTF8_MARK, other_format
from genomeconv.fasta.records import RecordTable
from genomeconv.inputs import Input, shown

Sink = Callable[[bytes], None]

BLANKS = b" \t\n"
_QUOTED_BYTES = 40


class Scanner:
    """Reads all of an input and keeps the table; the codes go to a sink.

    Parameters
    ----------
    source : Input
        What to read, not yet begun.
    policy : ReadPolicy
        What to do with what is doubtful.
    warn : callable
        Gets one sentence for each oddity that was put right.
    sink : callable or None
        Gets the codes (uint8, A 0 C 1 G 2 T 3 N 4) of all records, one after the
        other, as bytes.
    """

    def __init__(
        self,
        source: Input,
        policy: ReadPolicy,
        warn: Warn,
        sink: Sink | None = None,
    ) -> None:
        self.counts = letters.LetterCounts()
        self._source = source
        self._label = source.label
        self._policy = policy
        self._warn = warn
        self._sink = sink or (lambda codes: None)
        self._headers = Headers(source.label, warn, policy)
        self._reading = letters.Reading(policy)
        self._lengths = array("q")
        self._unknown = array("q")
        self._md5: list[str] = []  # of all records but the open one, the last
        self._open = _md5()
        self._head = b""  # the first bytes, for messages

    def run(self) -> RecordTable:
        """Read to the end.

        Raises
        ------
        DataError
            The first thing in the file that is not as it has to be, with its line.
        """
        if note := self._source.suffix_warning():
            self._warn(note)
        self._head, pieces = _head(self._source.blocks())
        if what := other_format(self._head):
            raise DataError(f"{self._label}: not FASTA; it looks like {what}")
        for block in text_blocks(pieces, self._label, self._warn):
            self._take(block)
        if not self._headers.names:
            raise DataError(f"no sequences in {self._label}: the file is empty")
        self._md5.append(self._open.hexdigest())
        self._judge_empty(len(self._headers.names) - 1, len(self._headers.names))
        if self.counts.u:
            self._warn(f"{self._label}: {self.counts.u:,} letters U (RNA) read as T")
        return self._table()

    def _take(self, block: Block) -> None:
        rest, *records = block.records()
        if not self._headers.names and rest.strip(BLANKS):
            self._refuse_beginning(block, rest)
        parts = [record.partition(b"\n") for record in records]
        bodies = [rest, *(body for _, _, body in parts)]
        if records:
            first = block.line + rest.count(b"\n") + 1
            steps = (record.count(b"\n") + 1 for record in records[:-1])
            self._headers.add([head for head, _, _ in parts], first, steps)
        uppers, codes = self._judged(block, bodies)
        self._measure(uppers, codes)
        closed = len(self._headers.names) - 1
        first = max(0, closed - len(records))
        self._judge_long(first)
        self._sink(codes)
        self._judge_empty(first, closed)

    def _judged(self, block: Block, bodies: list[bytes]) -> tuple[list[bytes], bytes]:
        """Return the upper-case letters of each body and the codes of all of them."""
        dropped = b"\n" + self._reading.dropped
        clean = bodies
        uppers = [body.translate(letters.UPPER, dropped) for body in clean]
        joined = b"".join(uppers)
        if b" " in joined or b"\t" in joined:
            clean = [letters.TRAILING_BLANKS.sub(b"", body) for body in bodies]
            uppers = [body.translate(letters.UPPER, dropped) for body in clean]
            joined = b"".join(uppers)
        whole = b"".join(clean)
        codes = whole.translate(self._reading.codes, dropped)
        if letters.BAD_BYTE in codes:
            self._refuse_letter(block, bodies)
        self.counts += self._reading.count(whole, joined, codes)
        return uppers, codes

    def _measure(self, uppers: list[bytes], codes: bytes) -> None:
        """Add the first piece to the open record and the others as new records."""
        unknown = _counts_in(codes, letters.UNKNOWN, [len(piece) for piece in uppers])
        rest, *new = uppers
        if self._lengths:
            self._open.update(rest)
            self._lengths[-1] += len(rest)
            self._unknown[-1] += unknown[0]
        if not new:
            return
        if self._lengths:
            self._md5.append(self._open.hexdigest())
        self._md5.extend([_md5(piece).hexdigest() for piece in new[:-1]])
        self._open = _md5(new[-1])
        self._lengths.extend([len(piece) for piece in new])
        self._unknown.extend(unknown[1:])

    def _judge_long(self, first: int) -> None:
        most = self._policy.max_length
        if most is None or max(self._lengths[first:], default=0) <= most:
            return
        record = next(i for i, n in enumerate(self._lengths[first:], first) if n > most)
        raise DataError(
            f"{self._label}:{self._headers.lines[record]}: record "
            f"{shown(self._headers.names[record])} has more than {most:,} bases; "
            "raise --max-length if that is right"
        )

    def _judge_empty(self, first: int, stop: int) -> None:
        if self._policy.empty == "skip" or 0 not in self._lengths[first:stop]:
            return
        record = self._lengths.index(0, first)
        last = record == len(self._headers.names) - 1
        hint = (
            "may be truncated here; else pass" if last else "may be damaged; else pass"
        )
        raise DataError(
            f"{self._label}:{self._headers.lines[record]}: record "
            f"{shown(self._headers.names[record])} has no bases; the file {hint} over "
            "such records with --empty skip"
        )

    def _refuse_beginning(self, block: Block, rest: bytes) -> NoReturn:
        line, _ = block.place(len(rest) - len(rest.lstrip(BLANKS)))
        text = self._head.removeprefix(UTF8_MARK).strip()
        quoted = text.replace(b"\r", b"\n").partition(b"\n")[0][:_QUOTED_BYTES]
        raise DataError(
            f"{self._label}:{line}: text before the first '>': {shown(quoted)}; "
            "give a FASTA file"
        )

    def _refuse_letter(self, block: Block, bodies: list[bytes]) -> NoReturn:
        end, bad = 0, None
        for i, piece in enumerate(block.records()):
            end += len(piece) + 2 * (i > 0)
            if bad := self._reading.refused.search(bodies[i]):
                break
        assert bad is not None
        line, column = block.place(end - len(bodies[i]) + bad.start())
        name = self._headers.names[len(self._headers.names) - len(bodies) + i]
        complaint = letters.complaint(bodies[i], bad.start())
        raise DataError(
            f"{self._label}:{line}:{column}: record {shown(name)} {complaint}"
        )

    def _table(self) -> RecordTable:
        lengths = np.frombuffer(self._lengths, np.int64)
        called = lengths - np.frombuffer(self._unknown, np.int64)
        table = RecordTable(
            names=self._headers.names,
            descriptions=self._headers.descriptions,
            lengths=lengths,
            md5=self._md5,
            called=called,
        )
        empty = len(table) - np.count_nonzero(lengths)
        if not empty:
            return table
        self._warn(f"{self._label}: {empty:,} records without bases skipped")
        if empty == len(table):
            raise DataError(f"no sequences in {self._label}, only empty records")
        return table.take(np.flatnonzero(lengths))


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)  # a checksum, as SAM defines it


def _counts_in(codes: bytes, code: bytes, lengths: list[int]) -> list[int]:
    """Count one code in consecutive pieces of the given lengths."""
    if code not in codes:
        return [0] * len(lengths)
    ends = accumulate(lengths, initial=0)
    return [codes.count(code, start, stop) for start, stop in pairwise(ends)]


def _head(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Look at the beginning of a stream; return it and the whole stream."""
    taken: list[bytes] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= HEAD_BYTES:
            break
    return b"".join(taken), chain(taken, pieces)
