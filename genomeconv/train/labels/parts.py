"""Parts of genes as columns, and the labels they make of each sequence.

Reading a file fills :class:`GeneParts`; what follows from all of its lines together,
introns, untranslated stretches and extents of genes, is made here.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping

import numpy as np

from genomeconv.errors import DataError
from genomeconv.inputs import shown
from genomeconv.train.labels.annotation import (
    CLASSES,
    SHORTEST_INTRON,
    STRANDS,
    Ints,
    Stretches,
    union,
)

EXON, CDS, UTR, EXTENT, CLASS = range(5)
"""What a part is; class i of a BED line is CLASS + i."""
_SLICE = re.compile(r"(.+):([0-9]{1,12})-([0-9]{1,12})")
_GROUP_BITS = 36
"""Groups are told apart by the bits above those of any position."""


class GeneParts:
    """Parts of genes as columns, a few bytes each."""

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self.lengths = lengths
        self.places = _places(lengths)
        """Name in the file -> (number of the record, its offset) of each record."""
        self.names: dict[str, int] = {}
        """Sequences of the file that are in the genome."""
        self.unknown: dict[str, int] = {}
        """Sequences of the file that are not, and their lines."""
        self.groups: dict[tuple[int, int, str], int] = {}
        self.columns = [array("q") for _ in range(6)]

    def knows(self, name: str) -> bool:
        """Whether the genome has this sequence; those it has not are counted."""
        if name in self.places:
            self.names.setdefault(name, len(self.names))
            return True
        self.unknown[name] = self.unknown.get(name, 0) + 1
        return False

    def add(
        self, name: str, strand: str, kind: int, start: int, stop: int, group: str
    ) -> None:
        """Keep a part; group "" is a group of its own."""
        if name in self.lengths and stop > self.lengths[name]:
            raise DataError(
                f"end {stop:,} is past the end, {shown(name)} has "
                f"{self.lengths[name]:,} bases"
            )
        sequence, side = self.names[name], STRANDS.index(strand)
        key = (sequence, side, group or f"\n{len(self.groups)}")
        number = self.groups.setdefault(key, len(self.groups))
        values = (sequence, side, kind, start, stop, number)
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)


def _places(lengths: Mapping[str, int]) -> dict[str, list[tuple[int, int]]]:
    out: dict[str, list[tuple[int, int]]] = {}
    for record, (name, length) in enumerate(lengths.items()):
        out.setdefault(name, []).append((record, 0))
        match = _SLICE.fullmatch(name)
        if match and int(match[3]) - int(match[2]) + 1 == length:
            out.setdefault(match[1], []).append((record, int(match[2]) - 1))
    return out


def records_of(
    parts: GeneParts, lengths: Mapping[str, int]
) -> list[dict[str, Stretches]]:
    """Return the stretches of each record by output."""
    sequence, side, kind, start, stop, group = (
        np.frombuffer(column, np.int64) if column else np.empty(0, np.int64)
        for column in parts.columns
    )
    empty = union([], [])
    sizes = list(lengths.values())
    out = [
        {f"{c}{s}": empty for s in STRANDS for c in CLASSES[:-1]}
        | {f"intergenic{s}": union([0], [size]) for s in STRANDS}
        for size in sizes
    ]
    for name, number in parts.names.items():
        for i, strand in enumerate(STRANDS):
            at = np.flatnonzero((sequence == number) & (side == i))
            found = _strand(kind[at], start[at], stop[at], group[at], i)
            for record, offset in parts.places[name]:
                for c, stretches in zip((*CLASSES[:-1], "genes"), found, strict=True):
                    cut = stretches.cut(offset, offset + sizes[record])
                    if c == "genes":
                        c, cut = "intergenic", union([0], [sizes[record]]).minus(cut)
                    out[record][f"{c}{strand}"] = cut
    return out


def _strand(
    kind: Ints, start: Ints, stop: Ints, group: Ints, side: int
) -> list[Stretches]:
    """Return donors, acceptors, CDS, UTR, introns and genes of one strand."""
    part = kind <= UTR
    first, last = _introns(start[part], stop[part], group[part])
    before, behind = union(first - 1, first), union(last, last + 1)
    donors, acceptors = (behind, before) if side else (before, behind)
    cds = kind == CDS
    utr = _untranslated(kind, start, stop, group)
    found = [
        donors,
        acceptors,
        union(start[cds], stop[cds]),
        utr,
        union(first, last),
    ]
    given = [kind == CLASS + i for i in range(len(CLASSES) - 1)]
    found = [
        union(np.append(f.starts, start[g]), np.append(f.stops, stop[g]))
        for f, g in zip(found, given, strict=True)
    ]
    return [*found, _extents(start, stop, group)]


def _extents(start: Ints, stop: Ints, group: Ints) -> Stretches:
    """Return what groups span from their first base to their last."""
    _, number = np.unique(group, return_inverse=True)
    size = int(number.max(initial=-1)) + 1
    first, last = np.full(size, np.iinfo(np.int64).max), np.zeros(size, np.int64)
    np.minimum.at(first, number, start)
    np.maximum.at(last, number, stop)
    return union(first, last)


def _apart(positions: Ints, group: Ints) -> Ints:
    """Return positions on one line where no two groups overlap."""
    return positions + (group << _GROUP_BITS)


def _introns(start: Ints, stop: Ints, group: Ints) -> tuple[Ints, Ints]:
    """Return first base, and base behind the last, of the gaps within groups."""
    exons = union(_apart(start, group), _apart(stop, group))
    a, b = exons.stops[:-1], exons.starts[1:]
    same = (a >> _GROUP_BITS) == (b >> _GROUP_BITS)
    gap = same & (b - a >= SHORTEST_INTRON)
    mask = (1 << _GROUP_BITS) - 1
    return a[gap] & mask, b[gap] & mask


def _untranslated(kind: Ints, start: Ints, stop: Ints, group: Ints) -> Stretches:
    """Return what the file calls UTR, and exons without CDS where there is CDS."""
    cds, utr = kind == CDS, kind == UTR
    exon = (kind == EXON) & np.isin(group, group[cds])
    exons, coding = (
        union(_apart(start[k], group[k]), _apart(stop[k], group[k]))
        for k in (exon, cds)
    )
    rest = exons.minus(coding)
    mask = (1 << _GROUP_BITS) - 1
    # A stop is never 0, so the mask does not cut it off.
    return union(
        np.append(rest.starts & mask, start[utr]),
        np.append(rest.stops & mask, stop[utr]),
    )
