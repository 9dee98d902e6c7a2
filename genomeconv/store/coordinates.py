"""Writes what is known of the rows beforehand: /obs but n_bases, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomeconv.store import encode, schema
from genomeconv.store.checksums import coordinate_crc, label_crc
from genomeconv.store.plan import OutputPlan, RowSlice, check_text, labels


def write_obs(
    file: Any, plan: OutputPlan, crc: Mapping[str, Any], check: Callable[[], None]
) -> tuple[NDArray[np.int64], bool]:
    """Write all of obs but n_bases, which is allocated only.

    Parameters
    ----------
    file : h5py.File
    plan : OutputPlan
    crc : mapping to h5py.Dataset
        Its "coordinates" and "labels" take the checksums of these, one a block.
    check : callable
        Called between slices; raises where the disk has failed.

    Returns
    -------
    ranges : (2, S) int64
        First row and last row + 1 of every sequence.
    ordered : bool
        Rows of a sequence are neighbours, in order of start and of end.
    """
    rows, names = plan.rows.n_rows, plan.rows.sequence_names
    named = plan.rows.slice(0, 1).name is not None
    order = ["sequence", "start", "end", "strand", *["name"] * named, "n_bases"]
    obs = encode.dataframe(file, "obs", schema.INDEX, order)
    index = encode.empty_strings(obs, schema.INDEX, rows)
    codes, code_type = encode.categorical(obs, "sequence", names, rows)
    start = encode.empty_array(obs, "start", rows, "<i8")
    end = encode.empty_array(obs, "end", rows, "<i8")
    strand, _ = encode.categorical(obs, "strand", schema.STRANDS, rows)
    name = encode.empty_strings(obs, "name", rows) if named else None
    encode.empty_array(obs, "n_bases", rows, "<i8")

    sign = schema.STRANDS.index("." if plan.strand == "both" else plan.strand)
    unique = _UniqueLabels(plan)
    survey = _Survey(len(names))
    coordinates = _Checksums(crc["coordinates"], plan.block_rows, coordinate_crc)
    texts = _Checksums(crc["labels"], plan.block_rows, label_crc)
    for a, part in plan.slices():
        span = slice(a, a + len(part.start))
        numbers = (
            np.ascontiguousarray(part.sequence, code_type),
            np.ascontiguousarray(part.start, "<i8"),
            np.ascontiguousarray(part.end, "<i8"),
        )
        codes[span], start[span], end[span] = numbers
        signs = np.full(len(part.start), sign, np.int8)
        strand[span] = signs
        written = [_encoded(unique(a, part))]
        index[span] = written[0]
        if name is not None:
            written.append(_encoded(_checked(a, part.name or ())))
            name[span] = written[1]
        survey.add(a, part)
        coordinates.add(*numbers)
        texts.add(signs, *written)
        check()
    coordinates.close()
    texts.close()
    return survey.ranges, survey.ordered


def _checked(first: int, texts: Sequence[str]) -> list[str]:
    for row, text in enumerate(texts, first):
        check_text(f"row {row}", text)
    return list(texts)


def _encoded(texts: Sequence[str]) -> NDArray[Any]:
    return np.array([text.encode() for text in texts], dtype=object)


class _Checksums:
    """crc32 of some columns of every block, whatever slices these come in."""

    def __init__(self, to: Any, block_rows: int, crc: Callable[..., int]) -> None:
        self._to = to
        self._rows = block_rows
        self._crc = crc
        self._pending: list[NDArray[Any]] = []
        self._block = 0

    def add(self, *columns: NDArray[Any]) -> None:
        if self._pending:
            pairs = zip(self._pending, columns, strict=True)
            columns = tuple(map(np.concatenate, pairs))
        whole = len(columns[0]) // self._rows * self._rows
        self._write(whole, columns)
        self._pending = [column[whole:] for column in columns]

    def close(self) -> None:
        if self._pending and len(self._pending[0]):
            self._write(len(self._pending[0]), tuple(self._pending))

    def _write(self, stop: int, columns: tuple[NDArray[Any], ...]) -> None:
        found = [
            self._crc(*(column[a : min(a + self._rows, stop)] for column in columns))
            for a in range(0, stop, self._rows)
        ]
        if found:
            span = slice(self._block, self._block + len(found))
            self._to[span] = np.array(found, "<u4")
            self._block += len(found)


class _Survey:
    """Range of rows of every sequence, and whether the rows are in order."""

    def __init__(self, sequences: int) -> None:
        self.ordered = True
        self._first = np.full(sequences, np.iinfo(np.int64).max)
        self._stop = np.zeros(sequences, np.int64)
        self._last: tuple[int, int, int] | None = None

    @property
    def ranges(self) -> NDArray[np.int64]:
        absent = self._stop == 0
        return np.stack([np.where(absent, 0, self._first), self._stop])

    def add(self, a: int, part: RowSlice) -> None:
        code = np.asarray(part.sequence, np.int64)
        start, end = np.asarray(part.start), np.asarray(part.end)
        row = np.arange(a, a + len(code), dtype=np.int64)
        if self._last is not None:
            last = self._last
            code_, start_, end_ = (
                np.concatenate([[x], y])
                for x, y in zip(last, (code, start, end), strict=True)
            )
        else:
            code_, start_, end_ = code, start, end
        new = code_[1:] != code_[:-1]
        # A sequence that comes back after another is not in order.
        entered = code_[1:][new]
        if self._last is None:
            entered = np.append(entered, code[0])
        again = (self._stop[entered] > 0).any() or len(np.unique(entered)) < len(
            entered
        )
        falls = (~new & ((np.diff(start_) < 0) | (np.diff(end_) < 0))).any()
        self.ordered = self.ordered and not again and not bool(falls)
        np.minimum.at(self._first, code, row)
        np.maximum.at(self._stop, code, row + 1)
        self._last = int(code[-1]), int(start[-1]), int(end[-1])


class _UniqueLabels:
    """Labels of rows, the second "x" made "x-1", the third "x-2".

    As long as rows come in strictly rising order none can repeat and nothing is kept;
    the first one out of order has the earlier ones read again and remembered.
    """

    def __init__(self, plan: OutputPlan) -> None:
        self._plan = plan
        self._last: tuple[int, int, int] = (-1, -1, -1)
        self._seen: dict[str, int] | None = None

    def __call__(self, a: int, part: RowSlice) -> list[str]:
        own = labels(self._plan.rows.sequence_names, part)
        if self._seen is None and self._rises(part):
            return own
        if self._seen is None:
            self._seen = {}
            for b, earlier in self._plan.slices():
                if b >= a:
                    break
                names = labels(self._plan.rows.sequence_names, earlier)
                self._seen.update(dict.fromkeys(names, 0))
        return [self._differ(label) for label in own]

    def _rises(self, part: RowSlice) -> bool:
        code, start, end = (
            np.concatenate([[last], np.asarray(column, np.int64)])
            for last, column in zip(
                self._last, (part.sequence, part.start, part.end), strict=True
            )
        )
        self._last = int(code[-1]), int(start[-1]), int(end[-1])
        d_code, d_start, d_end = np.diff(code), np.diff(start), np.diff(end)
        later = (d_start > 0) | ((d_start == 0) & (d_end > 0))
        return bool(((d_code > 0) | ((d_code == 0) & later)).all())

    def _differ(self, label: str) -> str:
        assert self._seen is not None
        if label not in self._seen:
            self._seen[label] = 0
            return label
        while True:
            self._seen[label] += 1
            other = f"{label}-{self._seen[label]}"
            if other not in self._seen:
                self._seen[other] = 0
                return other
