"""A whole genome as codes in a file without a name, for reading at random."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from genomeconv.alphabet import Codes
from genomeconv.errors import (
    CannotCreateError,
    DataError,
    PermissionDeniedError,
    StorageError,
)
from genomeconv.fasta.blocks import Warn
from genomeconv.fasta.letters import LetterCounts
from genomeconv.fasta.policy import ReadPolicy
from genomeconv.fasta.records import RecordTable
from genomeconv.fasta.scan import Scanner
from genomeconv.inputs import BLOCK_BYTES, Identity, Input

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spool:
    """Bytes kept on disk under no name, so that nothing is left behind by a kill."""

    def __init__(self, folder: Path, wanted: int | None = None) -> None:
        self._folder = folder
        self._wanted = wanted
        self.size = 0
        if wanted is not None and (free := self._free()) < wanted:
            raise StorageError(self._full(free, wanted))
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except PermissionError:
            raise PermissionDeniedError(
                f"{folder}: no permission to make a temporary file in it"
            ) from None
        except OSError as error:
            raise CannotCreateError(
                f"{folder}: cannot make a temporary file in it: {error.strerror}"
            ) from None

    def write(self, data: bytes) -> None:
        """Append; raise StorageError where the disk is full or fails."""
        view = memoryview(data)
        try:
            while view:
                written = self._file.write(view)
                self.size += written
                view = view[written:]
        except OSError as error:
            if error.errno in _DISK_FULL:
                need = self.size + len(view)
                raise StorageError(self._full(self._free(), need)) from None
            raise StorageError(
                f"{self._folder}: writing a temporary file failed: {error.strerror}"
            ) from None

    def read(self, start: int, stop: int) -> Codes:
        """Return the bytes from start to stop, all of them."""
        codes = np.empty(stop - start, np.uint8)
        view = codes.data
        while view:
            got = os.preadv(self._file.fileno(), [view], stop - len(view))
            if not got:
                raise StorageError(f"{self._folder}: a temporary file became shorter")
            view = view[got:]
        return codes

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._folder).free
        except FileNotFoundError:
            raise CannotCreateError(f"{self._folder}: no such folder") from None

    def _full(self, free: int, need: int) -> str:
        wanted = self._wanted or need
        more = "" if self._wanted else " or more"
        return (
            f"{self._folder}: the bases need {wanted:,} bytes{more} of temporary "
            f"space, {free:,} are free; make room or choose an output elsewhere"
        )


class SpooledGenome:
    """A genome read once, validated, and kept as codes on disk.

    Safe to read from several processes after a fork: reads carry their own offset.

    Attributes
    ----------
    records : RecordTable
        The records, in the order of the file.
    counts : LetterCounts
        Letters read as something else.
    fingerprint : dict
        What tells these sequences from any others, ready for JSON.
    """

    def __init__(
        self, records: RecordTable, counts: LetterCounts, spool: Spool, source: Input
    ) -> None:
        self.records = records
        self.counts = counts
        self.fingerprint = records.fingerprint()
        self._spool = spool
        self._starts = np.concatenate(([0], np.cumsum(records.lengths)))
        self._path, self._identity = source.path, source.identity

    def __enter__(self) -> SpooledGenome:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the temporary space back."""
        self._spool.close()

    def codes(self, record: int, start: int, stop: int) -> Codes:
        """Return bases start to stop (0-based, half-open) of one record.

        Returns
        -------
        (stop - start,) uint8
            Codes of ``genomeconv.alphabet``.

        Raises
        ------
        ValueError
            The range is not within the record.
        """
        self.records.check_range(record, start, stop)
        offset = int(self._starts[record])
        return self._spool.read(offset + start, offset + stop)

    def check_unchanged(self) -> None:
        """Raise DataError where the file is no longer the one that was read."""
        check_unchanged(self._path, self._identity)


def check_unchanged(path: Path | None, identity: Identity | None) -> None:
    """Compare a file with what it was; streams cannot change and pass.

    Raises
    ------
    DataError
        Size, time of change or inode differ, or the file is gone.
    """
    if path is None or identity is None:
        return
    try:
        now = Identity.of(path.stat())
    except OSError as error:
        raise DataError(
            f"{path}: gone while it was used ({error.strerror}); start again"
        ) from None
    if now != identity:
        raise DataError(
            f"{path}: changed while it was used ({identity.size:,} bytes at first, "
            f"{now.size:,} now); start again when it is whole"
        )


def read_genome(
    path: Path | str,
    spool_dir: Path,
    policy: ReadPolicy | None = None,
    *,
    warn: Warn,
    block_bytes: int = BLOCK_BYTES,
) -> SpooledGenome:
    """Read, judge and measure a FASTA file and keep its bases for reading at random.

    Parameters
    ----------
    path : path or "-"
        The file: plain, gzip or bgzip; ``-`` is standard input.
    spool_dir : path
        Folder for the temporary file: 1 byte a base.
    policy : ReadPolicy, optional
        What to do with what is doubtful.
    warn : callable
        Gets one sentence for each oddity that was put right.
    block_bytes : int
        Bytes handled at a time.

    Raises
    ------
    DataError
        The file is not what it has to be; the message names line and record.
    InputMissingError, PermissionDeniedError
        It cannot be opened.
    CannotCreateError, StorageError
        The temporary file cannot be made, or the disk is full.
    """
    policy = policy or ReadPolicy()
    with Input(path, block_bytes, warn if policy.allow_truncated else None) as source:
        known = source.identity if source.packing == "plain" else None
        spool = Spool(spool_dir, known.size if known else None)
        try:
            scanner = Scanner(source, policy, warn, spool.write)
            records = scanner.run()
            genome = SpooledGenome(records, scanner.counts, spool, source)
            genome.check_unchanged()
        except BaseException:
            spool.close()
            raise
    return genome


def read_records(
    path: Path | str, policy: ReadPolicy | None = None, *, warn: Warn
) -> tuple[RecordTable, LetterCounts]:
    """Judge and measure a FASTA file as `read_genome` does, keeping no bases."""
    policy = policy or ReadPolicy()
    with Input(path, BLOCK_BYTES, warn if policy.allow_truncated else None) as source:
        scanner = Scanner(source, policy, warn)
        records = scanner.run()
        check_unchanged(source.path, source.identity)
    return records, scanner.counts
