"""One pass over a genome along one strand: rows of embeddings, in order.

Going forward, rows come in ascending order; along the reverse strand a record is
read from its end, so records and rows come in descending order. Either way the
rows a pass gives in a row are neighbours, which is what the writer's blocks want.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomeconv.alphabet import Codes, reverse_complement
from genomeconv.fasta import Genome
from genomeconv.pool import RowMeans
from genomeconv.rows import Ints, RowPlan
from genomeconv.stream import TrunkStream
from genomeconv.transfer import fetch_late

Floats = npt.NDArray[np.float32]
Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Pass:
    """Rows of a plan along one strand.

    Attributes
    ----------
    engine : TrunkStream
    genome : Genome
    rows : RowPlan
    reverse : bool
        Read the reverse complement.
    chunk : int
        Bases read at a time.
    """

    engine: TrunkStream
    genome: Genome
    rows: RowPlan
    reverse: bool
    chunk: int

    @property
    def bases(self) -> int:
        """Bases to run, context of regions included."""
        return int(self._spans[1].sum())

    def run(self, a: int, b: int, advance: Advance) -> Iterator[tuple[int, Floats]]:
        """Yield (first row, rows (R, D)) until rows ``a`` to ``b`` are all given.

        Parameters
        ----------
        a, b : int
            Rows wanted, half-open.
        advance : callable
            Told how many bases are done.
        """
        for row, x in fetch_late(self._parts(a, b, advance)):
            low, high = max(a, row), min(b, row + len(x))
            if low < high:
                yield low, x.numpy()[low - row : high - row]

    def _parts(self, a: int, b: int, advance: Advance) -> Iterator[tuple[int, Tensor]]:
        """Yield parts with rows ``a`` to ``b`` as they leave the device's queue."""
        for first, last, low, high in self._wanted(a, b):
            if self._fits(first):
                yield self._together(first, last)
                advance(int(self._spans[1][first:last].sum()))
            else:
                yield from self._long(first, low, high, advance)

    def cost(self, a: int, b: int) -> int:
        """Return the bases of which :meth:`run` tells for rows ``a`` to ``b``."""
        total = 0
        for first, last, low, high in self._wanted(a, b):
            if self._fits(first):
                total += int(self._spans[1][first:last].sum())
            else:
                begin, end = self._told(first, *self._along(first, low, high))
                total += end - begin
        return total

    def measure_rate(self) -> float:
        """Return bases a second of one tile, measured now."""
        tile = self.engine.plan.tile
        codes = np.random.default_rng(0).integers(0, 4, 4 * tile, dtype=np.uint8)
        seconds = []
        run = self.engine.run(lambda start, stop: codes[start:stop], 4 * tile)
        for _ in range(4):
            begun = time.perf_counter()
            next(run)
            if self.engine.table.is_cuda:
                torch.cuda.synchronize(self.engine.table.device)
            seconds.append(time.perf_counter() - begun)
        return tile / min(seconds)

    @cached_property
    def _spans(self) -> tuple[Ints, Ints]:
        """Where the bases run for each stretch begin, and how many they are."""
        lengths = self.genome.records.lengths[self.rows.record]
        if self.rows.whole:
            return np.zeros_like(lengths), lengths
        left, right = self.engine.context
        if self.reverse:
            left, right = right, left
        begin = np.maximum(0, self.rows.start - left)
        return begin, np.minimum(lengths, self.rows.stop + right) - begin

    def _context(self, stretch: int) -> tuple[int, int]:
        """Return where the bases run for a stretch begin, and how many they are."""
        begin, size = self._spans
        return int(begin[stretch]), int(size[stretch])

    def _fits(self, stretch: int) -> bool:
        """Return whether a stretch takes one tile, or a part of one."""
        return int(self._spans[1][stretch]) <= self.engine.plan.batch_limit

    def _wanted(self, a: int, b: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield units with rows from ``a`` to ``b``, and which of these they have."""
        offsets = self.rows.offsets
        for first, last in self._units():
            low, high = max(a, int(offsets[first])), min(b, int(offsets[last]))
            if low < high:
                yield first, last, low, high

    def _units(self) -> Iterator[tuple[int, int]]:
        """Yield runs of stretches: one long one, or short ones that share a tile.

        They depend on the plan only, never on where a run starts.
        """
        plan, count = self.engine.plan, len(self.rows)
        order = range(count - 1, -1, -1) if self.reverse else range(count)
        begin, widest = 0, 0
        lengths = self._spans[1]
        for at, length in enumerate(
            (lengths[::-1] if self.reverse else lengths).tolist()
        ):
            size = plan.padded(length + plan.delay)
            if length > plan.batch_limit:
                size = plan.tile + 1
            if at > begin and max(widest, size) * (at - begin + 1) > plan.tile:
                yield self._unit(order, begin, at)
                begin, widest = at, 0
            widest = max(widest, size)
        if count:
            yield self._unit(order, begin, count)

    def _unit(self, order: range, begin: int, end: int) -> tuple[int, int]:
        low, high = sorted((order[begin], order[end - 1]))
        return low, high + 1

    def _read(self, stretch: int, start: int, stop: int) -> Codes:
        """Return codes of the bases run for a stretch, in strand order."""
        record = int(self.rows.record[stretch])
        begin, length = self._context(stretch)
        if not self.reverse:
            return self.genome.codes(record, begin + start, begin + stop)
        end = begin + length
        return reverse_complement(self.genome.codes(record, end - stop, end - start))

    def _edges(self, stretch: int, first: int, last: int) -> Ints:
        """Return edges of rows in strand order, in positions of the bases run."""
        begin, length = self._context(stretch)
        if not self.reverse:
            return self.rows.edges(stretch, first, last) - begin
        count = self._count(stretch)
        edges = self.rows.edges(stretch, count - last, count - first)
        return length - (edges[::-1] - begin)

    def _count(self, stretch: int) -> int:
        return int(self.rows.offsets[stretch + 1] - self.rows.offsets[stretch])

    def _in_order(self, stretch: int, first: int, rows: Tensor) -> tuple[int, Tensor]:
        """Turn rows counted along the strand into rows of the plan."""
        offset = int(self.rows.offsets[stretch])
        if not self.reverse:
            return offset + first, rows
        return offset + self._count(stretch) - first - len(rows), rows.flip(0)

    def _together(self, first: int, last: int) -> tuple[int, Tensor]:
        """Run short stretches in one tile."""
        codes = [self._read(s, 0, self._context(s)[1]) for s in range(first, last)]
        parts = []
        for s, x in zip(
            range(first, last), self.engine.run_together(codes), strict=True
        ):
            pool = RowMeans(partial(self._edges, s), self._count(s))
            parts.append(self._in_order(s, *pool.add(0, x))[1])
        return int(self.rows.offsets[first]), torch.cat(parts)

    def _long(
        self, stretch: int, a: int, b: int, advance: Advance
    ) -> Iterator[tuple[int, Tensor]]:
        """Run rows ``a`` to ``b`` of a stretch that takes several tiles."""
        rows = self._along(stretch, a, b)
        chunks = _Chunks(partial(self._read, stretch), self.chunk)
        length = self._context(stretch)[1]
        pool: RowMeans | None = None
        done, end = self._told(stretch, *rows)
        for position, x in self.engine.run(
            lambda p, q: chunks.read(p, q, length),
            length,
            *self._bounds(stretch, *rows),
        ):
            if pool is None:
                begin = self._row_at(stretch, position)
                edges_of = partial(self._edges, stretch)
                pool = RowMeans(edges_of, self._count(stretch), begin)
            reached = max(done, min(position + len(x), end))
            advance(reached - done)
            done = reached
            first, means = pool.add(position, x)
            if len(means):
                yield self._in_order(stretch, first, means)
        advance(end - done)  # bases to the right of a region, seen by its last rows

    def _along(self, stretch: int, a: int, b: int) -> tuple[int, int]:
        """Turn rows of the plan into rows of a stretch, counted along the strand."""
        offset, count = int(self.rows.offsets[stretch]), self._count(stretch)
        if self.reverse:
            return count - (b - offset), count - (a - offset)
        return a - offset, b - offset

    def _told(self, stretch: int, first: int, last: int) -> tuple[int, int]:
        """Return the bases to be told as done for rows of a long stretch.

        The first rows count for what lies before them, the last for what is behind.
        """
        begin, end = self._bounds(stretch, first, last)
        if last == self._count(stretch):
            end = self._context(stretch)[1]
        return begin if first else 0, end

    def _bounds(self, stretch: int, first: int, last: int) -> tuple[int, int]:
        """Return where rows in strand order begin and end: there can be 10^9."""
        begin = self._edges(stretch, first, first + 1)[0]
        return int(begin), int(self._edges(stretch, last - 1, last)[1])

    def _row_at(self, stretch: int, position: int) -> int:
        """Return the first row, in strand order, that ends behind a position."""
        if self.rows.bin is None or self._count(stretch) == 1:
            return 0
        first_end = int(self._edges(stretch, 0, 1)[1])
        if position < first_end:
            return 0
        return 1 + (position - first_end) // self.rows.bin


class _Chunks:
    """Reads a sequence a chunk at a time and hands out what tiles ask for."""

    def __init__(self, read: Callable[[int, int], Codes], size: int) -> None:
        self._read = read
        self._size = size
        self._start = 0
        self._codes = np.empty(0, dtype=np.uint8)

    def read(self, start: int, stop: int, length: int) -> Codes:
        """Return the codes from start to stop; they ascend from call to call."""
        if stop - start > self._size:
            parts = range(start, stop, self._size)
            return np.concatenate(
                [self._read(p, min(p + self._size, stop)) for p in parts]
            )
        if not self._start <= start <= stop <= self._start + len(self._codes):
            self._start = start
            self._codes = self._read(start, min(start + self._size, length))
        return self._codes[start - self._start : stop - self._start]
