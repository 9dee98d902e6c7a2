"""BigWig files to means over bins, read once, a few bytes a bin.

Bin i of a sequence is its bases from i bin to (i + 1) bin, whatever window looks at
it; a last bin that is not whole is left out.

Axes: I bins of a sequence, T tracks.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from genomeconv.errors import DataError, UsageError
from genomeconv.inputs import open_binary, shown
from genomeconv.intervals import unknown_name
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.notify import Notify

Floats = npt.NDArray[np.float32]
_PIECE = 1 << 20
"""Bases that are read at a time."""


def read_tracks(
    paths: Sequence[str],
    corpus: Corpus,
    size: int,
    missing: Literal["skip", "zero"],
    notify: Notify,
) -> list[Floats]:
    """Return the means over the bins of each sequence of a corpus, (I, T).

    NaN where no base of a bin has a value; with ``missing`` "zero" such bases count
    as 0, in sequences that the file has.

    Parameters
    ----------
    paths : sequence of str
        BigWig files, one a track.
    corpus : Corpus
    size : int
        Bases of a bin.
    missing : "skip" or "zero"
    notify : callable
        Told of sequences that a file does not have.

    Raises
    ------
    UsageError
        pyBigWig is not installed.
    DataError
        A file is not BigWig, is of another genome, or holds a value below 0.
    InputMissingError, PermissionDeniedError
        A file cannot be read.
    """
    out = [np.empty((n // size, len(paths)), np.float32) for n in corpus.lengths]
    for column, path in enumerate(paths):
        with _opened(path) as file:
            lengths = _lengths(file, path, corpus, notify)
            for record, name in enumerate(corpus.names):
                bins = out[record][:, column]
                if name not in lengths:
                    bins[:] = np.nan
                    continue
                for first, values in _values(file, path, name, len(bins) * size, size):
                    if missing == "zero":
                        np.nan_to_num(values, copy=False)
                    bins[first : first + len(values)] = _means(values)
    return out


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a BigWig file, which pyBigWig itself tells little about when it cannot."""
    try:
        import pyBigWig
    except ImportError:
        raise UsageError(
            f"{path}: BigWig files need pyBigWig; pip install 'genomeconv[bigwig]'"
        ) from None
    open_binary(Path(path)).close()
    try:
        file = pyBigWig.open(path)
        whole = file is not None and file.isBigWig()
    except RuntimeError:
        whole = False
    if not whole:
        raise DataError(f"{path}: is not a BigWig file, or is damaged")
    with contextlib.closing(file):
        yield file


def _lengths(file: Any, path: str, corpus: Corpus, notify: Notify) -> dict[str, int]:
    """Return the lengths of the sequences that file and corpus share."""
    there: dict[str, int] = file.chroms() or {}
    shared = {name: n for name, n in there.items() if name in corpus.length_of}
    if not shared:
        first = next(iter(there), "")
        raise DataError(
            f"{path}: {unknown_name(first, corpus.length_of, corpus.label)}"
        )
    for name, length in shared.items():
        if length != corpus.length_of[name]:
            raise DataError(
                f"{path}: {shown(name)} has {length:,} bases, in {corpus.label} "
                f"{corpus.length_of[name]:,}; give the track of this assembly"
            )
    if len(shared) < len(corpus.names):
        lacks = [shown(name) for name in corpus.names if name not in shared]
        more = f" and {len(lacks) - 3:,} more" if len(lacks) > 3 else ""
        notify(
            "warning", f"{path}: has no {', '.join(lacks[:3])}{more}; not learned from"
        )
    return shared


def _values(
    file: Any, path: str, name: str, length: int, size: int
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield the number of a bin, and values (bins, size) from there; NaN is missing."""
    step = max(1, _PIECE // size) * size
    for start in range(0, length, step):
        stop = min(start + step, length)
        try:
            values = np.asarray(file.values(name, start, stop, numpy=True), np.float32)
        except RuntimeError as error:
            raise DataError(f"{path}: {shown(name)} cannot be read: {error}") from None
        if (wrong := (values < 0) | np.isinf(values)).any():
            at = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{path}: {name}:{start + at + 1:,} holds {values[at]:g}; values of 0 "
                "or more are wanted, as of counts or coverage"
            )
        yield start // size, values.reshape(-1, size)


def _means(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean of the values there are in each row, NaN where there is none."""
    there = ~np.isnan(values)
    counts = there.sum(1)
    totals = np.where(there, values, 0.0).sum(1, dtype=np.float64)
    out = np.full(len(values), np.nan, np.float32)
    out[counts > 0] = totals[counts > 0] / counts[counts > 0]
    return out


def track_fingerprint(path: str) -> dict[str, Any]:
    """Return what tells a file from any other: its bytes, and what is in it."""
    digest = hashlib.sha256()
    with open_binary(Path(path)) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    with _opened(path) as opened:
        return {
            "file": path,
            "records": len(opened.chroms()),
            "bases": int(opened.header()["nBasesCovered"]),
            "sha256": digest.hexdigest(),
        }
