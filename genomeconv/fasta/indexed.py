"""Bases of regions, read at random through pyfaidx and a verified index."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyfaidx

from genomeconv.alphabet import Codes
from genomeconv.errors import DataError, UsageError
from genomeconv.fasta import faidx, letters
from genomeconv.fasta.blocks import Warn
from genomeconv.fasta.handle import open_handle
from genomeconv.fasta.policy import ReadPolicy
from genomeconv.fasta.randomly import BgzipBytes, PlainBytes, RandomBytes
from genomeconv.fasta.recognise import HEAD_BYTES, other_format
from genomeconv.fasta.records import RecordTable
from genomeconv.fasta.spool import check_unchanged
from genomeconv.inputs import BLOCK_BYTES, Input, shown

_SLICE_BASES = {"plain": 1 << 24, "bgzip": 1 << 20}  # pyfaidx is quadratic on bgzip


class IndexedGenome:
    """Chosen records of a FASTA file, read in place.

    `lengths` knows every record of the file; `select` judges and measures those that
    are asked for, after which `records` and `codes` count them from 0. Each process
    opens its own handle, so that a fork does no harm.

    Attributes
    ----------
    lengths : dict
        Bases of every record, by name, in the order of the file.
    records : RecordTable
        The chosen records; none before `select`.
    counts : LetterCounts
        Letters of the chosen records read as something else.
    fingerprint : dict
        What tells the chosen sequences from any others, ready for JSON.
    """

    def __init__(
        self,
        source: Input,
        policy: ReadPolicy,
        index: faidx.Index,
        content: RandomBytes,
    ) -> None:
        assert source.path is not None
        self.lengths = {name: entry.length for name, entry in index.items()}
        self.counts = letters.LetterCounts()
        self._path, self._identity = source.path, source.identity
        self._slice_bases = _SLICE_BASES[source.packing]
        self._policy, self._reading = policy, letters.Reading(policy)
        self._index, self._content = index, content
        self._handle: pyfaidx.Faidx | None = None
        self._owner = 0
        self._set([], [])

    def __enter__(self) -> IndexedGenome:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._content.close()
        if self._handle is not None and self._owner == os.getpid():
            self._handle.close()
        self._handle = None

    def select(self, names: Iterable[str], *, warn: Warn) -> None:
        """Choose records, each once, in this order, and judge all of their letters.

        Parameters
        ----------
        names : iterable of str
            Names in `lengths`.
        warn : callable
            Gets a sentence where letters U were read as T.

        Raises
        ------
        DataError
            A record has a refused letter, lines that its index does not fit, or more
            bases than the policy allows.
        """
        chosen = list(dict.fromkeys(names))
        self.counts = letters.LetterCounts()
        measured = [self._measure(name) for name in chosen]
        if self.counts.u:
            warn(f"{self._path}: {self.counts.u:,} letters U (RNA) read as T")
        self._set(chosen, measured)

    def codes(self, record: int, start: int, stop: int) -> Codes:
        """Return bases start to stop (0-based, half-open) of one chosen record.

        Returns
        -------
        (stop - start,) uint8
            Codes of ``genomeconv.alphabet``.

        Raises
        ------
        ValueError
            The range is not within the record.
        DataError
            The file is no longer what it was.
        """
        self.records.check_range(record, start, stop)
        codes = np.empty(stop - start, np.uint8)
        for a in range(start, stop, self._slice_bases):
            b = min(a + self._slice_bases, stop)
            codes[a - start : b - start] = self._fetch(record, a, b)
        return codes

    def check_unchanged(self) -> None:
        """Raise DataError where the file is no longer the one that was opened."""
        check_unchanged(self._path, self._identity)

    def _set(self, names: list[str], measured: list[tuple[str, int]]) -> None:
        self.records = RecordTable(
            names=names,
            descriptions=[""] * len(names),
            lengths=np.array([self.lengths[name] for name in names], np.int64),
            md5=[md5 for md5, _ in measured],
            called=np.array([called for _, called in measured], np.int64),
        )
        self.fingerprint = self.records.fingerprint()
        self._handle = None

    def _measure(self, name: str) -> tuple[str, int]:
        """Read a whole record past pyfaidx; return md5 and called bases."""
        entry = self._index[name]
        self._judge_long(name, entry.length)
        md5, unknown = hashlib.md5(usedforsecurity=False), 0
        for start in range(0, entry.length, BLOCK_BYTES):
            stop = min(start + BLOCK_BYTES, entry.length)
            raw = self._content.read(entry.at(start), entry.at(stop - 1) + 1)
            body = self._without_line_ends(raw, name, entry, start)
            upper = body.translate(letters.UPPER)
            codes = body.translate(self._reading.codes)
            if (bad := codes.find(letters.BAD)) >= 0:
                raise DataError(
                    f"{self._path}: record {shown(name)}, base {start + bad + 1:,}, "
                    f"{letters.complaint(body, bad)}"
                )
            md5.update(upper)
            unknown += codes.count(letters.UNKNOWN)
            self.counts += self._reading.count(body, upper, codes)
        return md5.hexdigest(), entry.length - unknown

    def _judge_long(self, name: str, length: int) -> None:
        most = self._policy.max_length
        if most is not None and length > most:
            raise DataError(
                f"{self._path}: record {shown(name)} has {length:,} bases, more than "
                f"{most:,}; raise --max-length if that is right"
            )

    def _without_line_ends(
        self, raw: bytes, name: str, entry: faidx.Entry, start: int
    ) -> bytes:
        """Drop line ends where the index has them; one anywhere else is an error."""
        width, step = entry.line_bases, max(1, entry.line_bytes)
        first = width - start % width
        line_end = b"\r\n"[-(step - width) :] if step > width else b""
        body = raw.translate(None, b"\r\n")
        fits = len(body) == min(BLOCK_BYTES, entry.length - start)
        for i, byte in enumerate(line_end):
            ends = raw[first + i :: step]
            fits &= ends.count(byte) == len(ends)
        if not fits:
            raise faidx.uneven(str(self._path), name)
        return body

    def _fetch(self, record: int, start: int, stop: int) -> Codes:
        try:
            text = self._faidx().fetch(str(record), start + 1, stop)
            codes = text.encode("ascii").translate(self._reading.codes)
        except (ValueError, OSError, zlib.error, pyfaidx.FetchError):
            codes = b""
        if len(codes) != stop - start or letters.BAD_BYTE in codes:
            self.check_unchanged()
            raise DataError(
                f"{self._path}: bases {start + 1:,}-{stop:,} of "
                f"{shown(self.records.names[record])} could not be read back; the file "
                "is damaged or changed while it was used"
            )
        return np.frombuffer(codes, np.uint8)

    def _faidx(self) -> pyfaidx.Faidx:
        """Return this process's own handle: a fork must not share offsets."""
        if self._handle is None or self._owner != os.getpid():
            self.check_unchanged()
            # pyfaidx believes what an index says of the end of an only line.
            entries = [self._index[name].on_one_line() for name in self.records.names]
            self._handle = open_handle(self._path, entries, self._content)
            self._owner = os.getpid()
        return self._handle


def open_indexed(
    path: Path | str, policy: ReadPolicy | None = None, *, warn: Warn
) -> IndexedGenome:
    """Open a FASTA file for regions, with a verified index, made where there is none.

    Parameters
    ----------
    path : path
        Plain or bgzip; it has to be a file, not a pipe.
    policy : ReadPolicy, optional
        What to do with what is doubtful.
    warn : callable
        Gets a sentence where an index was wrong, or could not be put beside the file.

    Raises
    ------
    UsageError
        The input is a stream, or the policy is for whole files only.
    DataError
        It is gzip but not bgzip, not FASTA, or has lines no index can describe.
    InputMissingError, PermissionDeniedError
        It cannot be opened.
    """
    policy = policy or ReadPolicy()
    for option in policy.whole_files_only:
        raise UsageError(f"{option} is for whole files, not for regions")
    truncated = warn if policy.allow_truncated else None
    told_once = truncated and (lambda text: None)  # BgzipBytes tells it
    with Input(path, BLOCK_BYTES, told_once) as source:
        if source.path is None or source.identity is None:
            raise UsageError(
                f"{source.label}: regions need a seekable file; save it to a file first"
            )
        if source.packing == "gzip":
            raise DataError(
                f"{source.label}: regions need bgzip, this is plain gzip; run "
                f"'gunzip' and 'bgzip' on it or embed whole records"
            )
        content: RandomBytes
        if source.packing == "bgzip":
            content = BgzipBytes(source.path, truncated)
        else:
            content = PlainBytes(source.path)
        try:
            _look_at(content.read(0, min(HEAD_BYTES, content.size)), source.label)
            index = _index(source, content, warn)
            return IndexedGenome(source, policy, index, content)
        except BaseException:
            content.close()
            raise


def _look_at(head: bytes, label: str) -> None:
    if what := other_format(head):
        raise DataError(f"{label}: not FASTA; it looks like {what}")
    if b"\r" in head and b"\n" not in head:
        raise DataError(
            f"{label}: lines end with CR only, regions need LF; run 'mac2unix' on it "
            "or embed whole records"
        )


def _index(source: Input, content: RandomBytes, warn: Warn) -> faidx.Index:
    """Believe the index beside the file if it is right, else make it anew."""
    beside = Path(f"{source.path}.fai")
    try:
        index = faidx.parse(beside.read_bytes())
        faidx.verify(index, content)
        return index
    except OSError:
        pass
    except faidx.IndexMismatchError as error:
        warn(f"{beside}: does not match the FASTA file ({error}); made anew")
    index = faidx.build(source.blocks(), source.label, warn)
    if not faidx.publish(index, beside):
        warn(f"{beside}: cannot be written; the index is kept in memory")
    return index
