"""From passes to the writer: every missing row computed once and committed.

A run that was killed left some of the rows; only the others are run. With both
strands the forward rows wait in a scratch table until the reverse ones come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from genomeconv.passes import Floats, Pass
from genomeconv.store import OutputWriter

MOST_COMMITS = 1 << 16
"""Lines of a journal: of longer runs more rows are committed together."""


def rows_together(tile: int, bases: int, rows: int) -> int:
    """Return the rows of one commit: about what a tile gives, a power of two.

    The less is committed together, the less a kill loses; but what lies within a tile
    is computed together whatever is committed.

    Parameters
    ----------
    tile : int
        Bases of a tile.
    bases, rows : int
        Bases run for all rows.
    """
    wanted = max(tile, bases // MOST_COMMITS) * rows // max(1, bases)
    return 1 << max(0, wanted - 1).bit_length()


class Progress(Protocol):
    """What a job tells while it runs."""

    def start(self, total: int, description: str) -> None:
        """Begin; ``total`` bases are to be run."""

    def advance(self, bases: int) -> None:
        """Report that so many bases more are done."""

    def finish(self) -> None:
        """End, also after an error."""


def fill(passes: Sequence[Pass], writer: OutputWriter, progress: Progress) -> None:
    """Compute every row that is missing and commit it.

    Parameters
    ----------
    passes : sequence of Pass
        One strand, or forward and reverse, whose mean is stored.
    writer : OutputWriter
    progress : Progress
        Told of the bases, those of rows done by an earlier run first.
    """
    last = passes[-1]
    rows, genome = last.rows, last.genome

    def commit(a: int, x: Floats) -> None:
        writer.write(a, x, rows.called(genome, a, a + len(x)))

    if writer.scratch is None:
        progress.advance(_done(last, writer.missing()))
        _stream(last, writer.missing(), writer.commit_rows, commit, progress)
        return
    scratch = writer.scratch
    missing = [r for a, b in writer.missing() for r in scratch.missing(a, b)]
    # Told at once: the clock that gives the rate starts with this report.
    progress.advance(_done(passes[0], missing) + _done(last, writer.missing()))
    _stream(passes[0], missing, writer.commit_rows, scratch.write, progress)
    _stream(
        last,
        writer.missing(),
        writer.commit_rows,
        lambda a, x: commit(a, (scratch.read(a, a + len(x)) + x) * np.float32(0.5)),
        progress,
    )


def _done(which: Pass, missing: list[tuple[int, int]]) -> int:
    """Return the bases of a pass that need not be run any more."""
    return max(0, which.bases - sum(which.cost(a, b) for a, b in missing))


def _stream(
    which: Pass,
    missing: list[tuple[int, int]],
    commit_rows: int,
    commit: Callable[[int, Floats], None],
    progress: Progress,
) -> None:
    """Run a pass over ranges of rows and hand them on by whole commits.

    Where a tile fills several they are handed on together: one call has its price.
    """
    together = which.engine.plan.tile // ((which.rows.bin or 1 << 30) * commit_rows)
    size = commit_rows * min(max(1, together), 32)
    for a, b in reversed(missing) if which.reverse else missing:
        open_parts: dict[int, tuple[Floats, int]] = {}
        for row, x in which.run(a, b, progress.advance):
            for begin, part in _by_block(row, x, size):
                start = max(begin // size * size, a)
                stop = min((begin // size + 1) * size, b)
                block, filled = open_parts.pop(start, (None, 0))
                if block is None:
                    block = np.empty((stop - start, x.shape[1]), dtype=np.float32)
                block[begin - start : begin - start + len(part)] = part
                filled += len(part)
                if filled == stop - start:
                    commit(start, block)
                else:
                    open_parts[start] = block, filled
        assert not open_parts, "a pass left rows out"


def _by_block(row: int, x: Floats, size: int) -> Iterator[tuple[int, Floats]]:
    """Split rows where blocks of ``size`` of them begin."""
    at = 0
    while at < len(x):
        stop = ((row + at) // size + 1) * size - row
        yield row + at, x[at:stop]
        at = stop
