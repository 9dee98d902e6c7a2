"""Gene structure as labels of bases: compact stretches, labels made window by window.

A base has six labels on each strand, and may have several at once, because genes and
their isoforms overlap:

    donor       last base of an exon that an intron follows, in any isoform
    acceptor    first base of an exon behind an intron, in any isoform
    CDS         translated in any isoform, the stop codon included
    UTR         in an exon of a translated isoform, outside its CDS
    intron      between two exons of any isoform
    intergenic  outside every gene and transcript of the strand

Exons of transcripts that are not translated have none of them. A gap between exons of
fewer than SHORTEST_INTRON bases is a frameshift or an error of the sequence, not an
intron.

Axes: L positions of a window, I stretches, C = 12 outputs: the classes on "+", then
the classes on "-".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Masks = npt.NDArray[np.uint16]
"""A bit an output: bit i is output i of OUTPUTS."""

CLASSES = ("donor", "acceptor", "CDS", "UTR", "intron", "intergenic")
STRANDS = ("+", "-")
OUTPUTS = tuple(f"{name}{strand}" for strand in STRANDS for name in CLASSES)
"""Names of the labels: class and strand."""
SHORTEST_INTRON = 10

_ONE_STRAND = np.uint16((1 << len(CLASSES)) - 1)


@dataclass(frozen=True, eq=False)
class Stretches:
    """Disjoint stretches of one sequence, ascending, not touching: [start, stop)."""

    starts: Ints
    stops: Ints

    def __len__(self) -> int:
        return len(self.starts)

    def cut(self, start: int, stop: int) -> Stretches:
        """Return what lies in a window, in coordinates of the window."""
        first = int(np.searchsorted(self.stops, start, side="right"))
        last = int(np.searchsorted(self.starts, stop, side="left"))
        return Stretches(
            np.maximum(self.starts[first:last], start) - start,
            np.minimum(self.stops[first:last], stop) - start,
        )

    def bases(self) -> int:
        """Return how many bases they have together."""
        return int((self.stops - self.starts).sum())

    def minus(self, other: Stretches) -> Stretches:
        """Return what of these no stretch of ``other`` covers."""
        edges = np.concatenate([self.starts, self.stops, other.starts, other.stops])
        steps = np.repeat(
            [1, -1, -2, 2], [len(self), len(self), len(other), len(other)]
        )
        order = np.argsort(edges, kind="stable")
        edges, level = edges[order], np.cumsum(steps[order])
        # 1: in these alone. Where edges coincide only the last level has any length.
        here = np.flatnonzero(level[:-1] == 1) if len(edges) else np.empty(0, int)
        return union(edges[here], edges[here + 1])


def union(starts: npt.ArrayLike, stops: npt.ArrayLike) -> Stretches:
    """Return the union of any stretches, (I,) each; empty ones are left out."""
    a, b = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
    keep = a < b
    order = np.argsort(a[keep], kind="stable")
    a, b = a[keep][order], b[keep][order]
    if not len(a):
        return Stretches(a, b)
    reach = np.maximum.accumulate(b)
    new = np.concatenate([[True], a[1:] > reach[:-1]])
    ends = np.concatenate([np.flatnonzero(new)[1:] - 1, [len(a) - 1]])
    return Stretches(a[new], reach[ends])


class Annotation:
    """Labels of every base of some sequences.

    Parameters
    ----------
    records : sequence of mappings
        For each sequence, in the order of the genome, the stretches of each output of
        OUTPUTS; "intergenic" is made from the others and is not among them, see
        :func:`genomeconv.train.labels.files.read_annotation`.
    """

    def __init__(self, records: Sequence[Mapping[str, Stretches]]) -> None:
        self._records = [
            [(np.uint16(1 << i), record[name]) for i, name in enumerate(OUTPUTS)]
            for record in records
        ]

    def masks(self, record: int, start: int, stop: int) -> Masks:
        """Return the labels of bases ``start`` to ``stop`` of a sequence, (L,)."""
        out = np.zeros(stop - start, dtype=np.uint16)
        for bit, stretches in self._records[record]:
            inside = stretches.cut(start, stop)
            for a, b in zip(inside.starts.tolist(), inside.stops.tolist(), strict=True):
                out[a:b] |= bit
        return out

    def edges(self, record: int, start: int, stop: int) -> Ints:
        """Return where exons begin or end between two positions of a sequence.

        Donors, acceptors and first bases of stretches of CDS, of both strands; each
        once, ascending.
        """
        names = [f"{name}{s}" for name in CLASSES[:3] for s in STRANDS]
        found = [self._records[record][OUTPUTS.index(n)][1].starts for n in names]
        places = np.unique(np.concatenate(found))
        return places[(start <= places) & (places < stop)]

    def frequencies(
        self, stretches: Iterable[tuple[int, int, int]]
    ) -> npt.NDArray[np.float64]:
        """Return the share of the bases that have each label, (C,).

        Parameters
        ----------
        stretches : iterable of (record, start, stop)
        """
        counts, total = np.zeros(len(OUTPUTS)), 0
        for record, start, stop in stretches:
            total += stop - start
            for i, (_, found) in enumerate(self._records[record]):
                counts[i] += found.cut(start, stop).bases()
        return counts / max(total, 1)

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells these labels from any others, ready for JSON.

        Sequences with a CDS, bases of CDS on both strands, and a sum over all labels;
        how the file has them (order, comments, compression) does not count.
        """
        digest = hashlib.sha256()
        coding = []
        for record in self._records:
            for _, stretches in record:
                for edges in (stretches.starts, stretches.stops):
                    digest.update(len(edges).to_bytes(8, "little"))
                    digest.update(edges.astype("<i8").tobytes())
            cds = [record[OUTPUTS.index(f"CDS{strand}")][1] for strand in STRANDS]
            coding.append(sum(stretches.bases() for stretches in cds))
        return {
            "records": sum(map(bool, coding)),
            "bases": sum(coding),
            "sha256": digest.hexdigest(),
        }


def other_strand(masks: Masks) -> Masks:
    """Return the labels as the other strand reads them: reversed, strands swapped."""
    read, classes = masks[::-1], np.uint16(len(CLASSES))
    plus = (read & _ONE_STRAND) << classes
    return (plus | (read >> classes)).astype(np.uint16)
