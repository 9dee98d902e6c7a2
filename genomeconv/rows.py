"""Which rows an output has, and which bases each of them stands for.

Rows belong to stretches: a whole record, a region, a line of a BED file. A stretch
gives one row for each ``bin`` bases, the last one shorter, or a single row. All is
kept as arrays, since an assembly can have a million records, and rows are worked
out when asked for, since there can be as many as bases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import SIZE, N
from genomeconv.fasta import Genome, RecordTable
from genomeconv.intervals import Interval
from genomeconv.store import RowSlice

Ints = npt.NDArray[np.int64]
_COUNT_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class RowPlan:
    """Rows of an output, by stretch.

    Attributes
    ----------
    sequence_names : list of str
        Names of the records.
    record : (S,) int64
        Record of each stretch.
    start, stop : (S,) int64
        Bases of each stretch in its record, 0-based half-open, never empty.
    bin : int or None
        Bases of a row; None: one row a stretch.
    whole : bool
        Whether stretches are whole records.
    labels : list of str, optional
        Names of the stretches, from a BED file.
    """

    sequence_names: Sequence[str]
    record: Ints
    start: Ints
    stop: Ints
    bin: int | None
    whole: bool
    labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        sizes = self.stop - self.start
        rows = np.ones_like(sizes) if self.bin is None else -(-sizes // self.bin)
        offsets = np.concatenate([[0], np.cumsum(rows)])
        object.__setattr__(self, "offsets", offsets)

    offsets: Ints = None  # type: ignore[assignment]
    """(S + 1,) First row of each stretch, and the number of rows."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.offsets[-1])

    @property
    def bases(self) -> int:
        """Bases in all stretches together."""
        return int((self.stop - self.start).sum())

    def __len__(self) -> int:
        return len(self.record)

    def edges(self, stretch: int, first: int, last: int) -> Ints:
        """Return where rows ``first`` to ``last`` of a stretch begin, and the end.

        Positions are those of the record; rows are counted inside the stretch;
        ``last - first + 1`` values.
        """
        start, stop = int(self.start[stretch]), int(self.stop[stretch])
        if self.bin is None:
            return np.array([start, stop])[first : last + 1]
        return np.minimum(start + np.arange(first, last + 1) * self.bin, stop)

    def stretch_of(self, rows: int | Ints) -> Ints:
        """Return the stretch of each row."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def slice(self, a: int, b: int, /) -> RowSlice:
        """Describe rows ``a`` to ``b``."""
        rows = np.arange(a, b)
        stretch = self.stretch_of(rows)
        start, end = self.start[stretch], self.stop[stretch]
        if self.bin is not None:
            start = start + (rows - self.offsets[stretch]) * self.bin
            end = np.minimum(start + self.bin, end)
        name = None
        if self.labels is not None:
            name = [self.labels[s] for s in stretch.tolist()]
        record = self.record[stretch].astype(np.int32)
        return RowSlice(sequence=record, start=start, end=end, name=name)

    def called(self, genome: Genome, a: int, b: int) -> Ints:
        """Count the called bases (A, C, G, T) of rows ``a`` to ``b``."""
        out = np.zeros(b - a, dtype=np.int64)
        rows = self.slice(a, b)
        apart = (rows.sequence[1:] != rows.sequence[:-1]) | (
            rows.start[1:] != rows.end[:-1]
        )
        for low, high in pairwise([0, *(np.flatnonzero(apart) + 1).tolist(), b - a]):
            at = low
            while at < high:
                # As many rows, side by side in one record, as fit one read.
                reach = rows.start[at] + _COUNT_AT_ONCE
                fits = int(np.searchsorted(rows.end[at:high], reach, side="right"))
                run = at + max(1, fits)
                out[at:run] = _called(
                    genome,
                    int(rows.sequence[at]),
                    rows.start[at:run],
                    int(rows.end[run - 1]),
                )
                at = run
        return out


def _called(
    genome: Genome, record: int, starts: npt.NDArray[np.integer[Any]], stop: int
) -> Ints:
    total = np.zeros(len(starts), dtype=np.int64)
    begin = int(starts[0])
    for low in range(begin, stop, _COUNT_AT_ONCE):
        high = min(low + _COUNT_AT_ONCE, stop)
        known = genome.codes(record, low, high) < N
        if len(starts) == 1:
            total[0] += np.count_nonzero(known)
        else:
            total += np.add.reduceat(known.astype(np.int64), starts - begin)
    return total


def plan_records(records: RecordTable, bin: int | None) -> RowPlan:
    """Return the rows of whole records; records without bases have none."""
    kept = np.flatnonzero(records.lengths > 0)
    return RowPlan(
        sequence_names=records.names,
        record=kept,
        start=np.zeros(len(kept), dtype=np.int64),
        stop=records.lengths[kept],
        bin=bin,
        whole=True,
    )


def plan_intervals(
    records: RecordTable, intervals: Sequence[Interval], bin: int | None, *, named: bool
) -> RowPlan:
    """Return the rows of regions, in the order they were given."""
    number = {name: i for i, name in enumerate(records.names)}
    return RowPlan(
        sequence_names=records.names,
        record=np.array([number[i.name] for i in intervals], dtype=np.int64),
        start=np.array([i.start for i in intervals], dtype=np.int64),
        stop=np.array([i.end for i in intervals], dtype=np.int64),
        bin=bin,
        whole=False,
        labels=[i.label for i in intervals] if named else None,
    )


assert N == SIZE - 1, "called bases are the codes below N"
