"""Encoded genomes on disk, mapped into memory and shared by runs and processes.

A file is the codes of all records back to back (one byte a base), a table of the
records in JSON, and a trailer that says how long the table is. It is made under a
private name and renamed when it is on disk: there is never half a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from genomeconv.alphabet import Codes
from genomeconv.errors import (
    CannotCreateError,
    PermissionDeniedError,
    StorageError,
    UsageError,
)
from genomeconv.fasta import ReadPolicy, RecordTable
from genomeconv.fasta.scan import Scanner
from genomeconv.fasta.spool import check_unchanged
from genomeconv.inputs import Identity, Input, open_binary
from genomeconv.store.disk import sync_folder
from genomeconv.train.notify import Notify

CACHE_VARIABLE = "GENOMECONV_CACHE"
_MAGIC = b"gcgenome"
_VERSION = 1
_TRAILER = 8 + len(_MAGIC)
_ABANDONED_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedGenome:
    """The records of one FASTA file, their bases in memory that is mapped."""

    path: Path
    names: tuple[str, ...]
    lengths: tuple[int, ...]
    called: int
    """Bases that are A, C, G or T."""
    sha256: str
    """Of names, lengths and bases: what tells this genome from any other."""
    _offsets: tuple[int, ...]
    _codes: Codes

    def codes(self, record: int, start: int, stop: int) -> Codes:
        """Return bases start to stop (0-based, half-open) of a record, read-only."""
        offset = self._offsets[record]
        return self._codes[offset + start : offset + stop]

    def fingerprint(self) -> dict[str, Any]:
        """Return what a run notes of its data, ready for JSON."""
        return {
            "file": str(self.path),
            "records": len(self.names),
            "bases": sum(self.lengths),
            "called": self.called,
            "sha256": self.sha256,
        }


def cache_folder(given: str) -> Path:
    """Return the folder for encoded genomes."""
    if folder := given or os.environ.get(CACHE_VARIABLE, ""):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "genomeconv"


def open_cached(
    path: Path, folder: Path, policy: ReadPolicy, notify: Notify
) -> CachedGenome:
    """Return a genome, encoded now unless that was done before.

    Parameters
    ----------
    path : Path
        The FASTA file; a pipe cannot be read twice and is refused.
    folder : Path
        Where encoded genomes are kept; made if it is missing.
    policy : ReadPolicy
        How doubtful letters are read; each policy has its own file.
    notify : callable
        Gets a level and a sentence.

    Raises
    ------
    DataError, InputMissingError, PermissionDeniedError
        The FASTA file is not as it has to be.
    CannotCreateError, StorageError
        The cache cannot be written.
    """
    source = _source(path, policy)
    target = folder / _name(path, source)
    if (genome := _load(path, target, source)) is None:
        _encode(path, target, source, policy, notify)
        genome = _load(path, target, source)
    if genome is None:
        raise StorageError(f"{target}: changed while it was used; start again")
    return genome


def _source(path: Path, policy: ReadPolicy) -> dict[str, Any]:
    """Return what an encoded genome must have been made from to be used."""
    with open_binary(path) as file:
        status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(
            f"{path}: training reads a file more than once; save the stream first"
        )
    return {
        "path": str(path.resolve()),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "policy": asdict(policy),
    }


def _name(path: Path, source: Mapping[str, Any]) -> str:
    """Return a file name: one for each input and policy, whatever its content."""
    text = json.dumps([source["path"], source["policy"]], sort_keys=True)
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in path.name)
    return f"{plain[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.codes"


def _load(path: Path, target: Path, source: Mapping[str, Any]) -> CachedGenome | None:
    """Map an encoded genome; None where it is missing, outdated or damaged."""
    try:
        with target.open("rb") as file:
            facts = _footer(file)
            if facts is None or facts["source"] != source:
                return None
            codes: Codes = (
                np.memmap(file, np.uint8, "r", shape=(facts["bases"],))
                if facts["bases"]
                else np.empty(0, np.uint8)
            )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if zlib.crc32(codes.data) != facts["crc32"]:
        return None
    offsets = np.concatenate(([0], np.cumsum(facts["lengths"]))).tolist()
    return CachedGenome(
        path=path,
        names=tuple(facts["names"]),
        lengths=tuple(facts["lengths"]),
        called=facts["called"],
        sha256=facts["sha256"],
        _offsets=tuple(offsets),
        _codes=codes,
    )


def _footer(file: BinaryIO) -> dict[str, Any] | None:
    """Return the table at the end of a file, or None where it has none."""
    size = file.seek(0, os.SEEK_END)
    if size < _TRAILER:
        return None
    file.seek(size - _TRAILER)
    trailer = file.read(_TRAILER)
    length = int.from_bytes(trailer[:8], "little")
    if trailer[8:] != _MAGIC or length > size - _TRAILER:
        return None
    file.seek(size - _TRAILER - length)
    facts = json.loads(file.read(length))
    whole = isinstance(facts, dict) and facts.get("version") == _VERSION
    return facts if whole and facts["bases"] == size - _TRAILER - length else None


def _encode(
    path: Path,
    target: Path,
    source: Mapping[str, Any],
    policy: ReadPolicy,
    notify: Notify,
) -> None:
    notify("info", f"{path}: encoding into {target}")
    with _partial(target) as file:
        crc = 0

        def keep(codes: bytes) -> None:
            nonlocal crc
            crc = zlib.crc32(codes, crc)
            file.write(codes)

        with Input(path) as opened:
            scanner = Scanner(opened, policy, lambda t: notify("warning", t), keep)
            records = scanner.run()
            identity: Identity | None = opened.identity
            check_unchanged(path, identity)
        table = json.dumps(_facts(records, source, crc)).encode()
        file.write(table + len(table).to_bytes(8, "little") + _MAGIC)


def _facts(records: RecordTable, source: Mapping[str, Any], crc: int) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "source": source,
        "names": records.names,
        "lengths": records.lengths.tolist(),
        "called": int(records.called.sum()),
        "bases": records.bases,
        "sha256": records.fingerprint()["sha256"],
        "crc32": crc,
    }


@contextlib.contextmanager
def _partial(target: Path) -> Iterator[BinaryIO]:
    """Open a private file that takes the place of ``target`` when all went well."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        private = f".{target.name}.{socket.gethostname()}.{os.getpid()}.partial"
        partial = target.with_name(private)
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(target.parent)
    except PermissionError as error:
        raise PermissionDeniedError(_refusal(target, error)) from None
    except (FileExistsError, NotADirectoryError) as error:
        raise CannotCreateError(_refusal(target, error)) from None
    except OSError as error:
        raise StorageError(_refusal(target, error)) from None


def _refusal(target: Path, error: OSError) -> str:
    return (
        f"{target}: cannot be written: {error.strerror}; choose another folder with "
        f"data.cache or {CACHE_VARIABLE}"
    )


def _sweep(target: Path) -> None:
    """Remove what a killed process left behind, once nobody can be writing it."""
    for left in target.parent.glob(f".{target.name}.*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()
