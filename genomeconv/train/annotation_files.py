"""GTF, GFF3 and BED files to :class:`Annotation`.

What is read: exons, coding stretches, untranslated stretches and the extents of genes
and transcripts; of BED12 the blocks and the thick part; of shorter BED lines the class
in column 4 and the strand in column 6. Everything else is passed over.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genomeconv.errors import DataError
from genomeconv.inputs import Input, shown
from genomeconv.intervals import text_lines, unknown_name
from genomeconv.train.annotation import (
    CLASSES,
    SHORTEST_INTRON,
    STRANDS,
    Annotation,
    Ints,
    Stretches,
    union,
)
from genomeconv.train.notify import Notify

_EXON, _CDS, _UTR, _EXTENT, _CLASS = range(5)
"""What a row is; class i of a BED line is _CLASS + i."""
_PARTS = {
    "exon": _EXON,
    "CDS": _CDS,
    "stop_codon": _CDS,
    "UTR": _UTR,
    "5UTR": _UTR,
    "3UTR": _UTR,
    "five_prime_UTR": _UTR,
    "three_prime_UTR": _UTR,
    "five_prime_utr": _UTR,
    "three_prime_utr": _UTR,
}
_EXTENTS = ("gene", "RNA", "transcript")
"""How the names of features end that are genes or transcripts."""
_INTEGER = re.compile(r"[0-9]{1,12}")
_SLICE = re.compile(r"(.+):([0-9]{1,12})-([0-9]{1,12})")
_PARENT = {
    "gtf": re.compile(r'(?:^|;)\s*transcript_id\s+"?([^";]+)"?'),
    "gff3": re.compile(r"(?:^|;)\s*Parent=([^;]+)"),
    "id": re.compile(r"(?:^|;)\s*ID=([^;]+)"),
}
_GFF3 = re.compile(r"\s*[A-Za-z_][\w.-]*=")
_GROUP_BITS = 36
"""Groups are told apart by the bits above those of any position."""
_BED_SKIPPED = re.compile(r"(track|browser)(\s|$)")


def read_annotation(
    path: Path | str, lengths: Mapping[str, int], label: str, notify: Notify
) -> Annotation:
    """Read the genes of some sequences.

    A sequence whose name is a region (``chr4:103000000-105000000``, 1-based inclusive,
    as long as the sequence is) takes the genes of that region of ``chr4``.

    Parameters
    ----------
    path : path or "-"
        GTF, GFF3 or BED, told apart by what is in the lines; plain, gzip or bgzip.
    lengths : Mapping
        Length in bases of each sequence, in the order of the genome.
    label : str
        Where these sequences are, for messages.
    notify : callable
        Told of sequences of the file that are not in the genome.

    Raises
    ------
    DataError
        A line is not what it has to be (the message has file and line), or the file
        says nothing of any of these sequences.
    """
    rows = _Rows(lengths)
    with Input(path) as source:
        for number, line in text_lines(source, "a GTF, GFF3 or BED file"):
            if line.startswith(("##FASTA", ">")):
                break
            if not line or line.startswith("#") or _BED_SKIPPED.match(line):
                continue
            try:
                _read_line(line, rows)
            except DataError as error:
                raise DataError(f"{source.label}:{number}: {error}") from None
        _check_names(rows, source.label, lengths, label, notify)
    return Annotation(_records(rows, lengths))


class _Rows:
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


def _read_line(line: str, rows: _Rows) -> None:
    fields = line.split("\t")
    if len(fields) >= 8 and fields[6] in ("+", "-", ".", "?"):
        _read_gff(fields, rows)
    elif len(fields) >= 3 and _INTEGER.fullmatch(fields[1]):
        _read_bed(fields, rows)
    else:
        raise DataError(
            f"{len(fields)} columns by tabs; a GTF or GFF3 line has 9, the strand in "
            "column 7, a BED line 6 or 12, start and end in columns 2 and 3"
        )


def _read_gff(fields: list[str], rows: _Rows) -> None:
    name, kind, strand = fields[0], fields[2], fields[6]
    start, stop = _number("start", fields[3]) - 1, _number("end", fields[4])
    if not 0 <= start < stop:
        raise DataError(
            f"start {start + 1:,} to end {stop:,} is not a stretch counted from 1"
        )
    if kind in _PARTS:
        if strand not in STRANDS:
            raise DataError(f"the strand of {kind} is {shown(strand)}, not + or -")
        if rows.knows(name):
            text = fields[8] if len(fields) > 8 else ""
            for group in _groups(kind, text):
                rows.add(name, strand, _PARTS[kind], start, stop, group)
    elif kind.endswith(_EXTENTS) and rows.knows(name):
        for side in STRANDS if strand not in STRANDS else strand:
            rows.add(name, side, _EXTENT, start, stop, "")


def _groups(kind: str, attributes: str) -> Sequence[str]:
    """Return the transcripts that a part belongs to."""
    if _GFF3.match(attributes):
        if match := _PARENT["gff3"].search(attributes):
            return match[1].split(",")
        match = _PARENT["id"].search(attributes)
        return [match[1] if match else ""]
    if match := _PARENT["gtf"].search(attributes):
        return [match[1]]
    raise DataError(
        f"{kind} belongs to no transcript: column 9 has neither transcript_id (GTF) "
        f"nor key=value (GFF3): {shown(attributes)}"
    )


def _read_bed(fields: list[str], rows: _Rows) -> None:
    name = fields[0]
    start, stop = _number("start", fields[1]), _number("end", fields[2])
    if start >= stop:
        raise DataError(f"start {start:,} is not before end {stop:,}")
    strand = fields[5] if len(fields) > 5 else "."
    if strand not in STRANDS:
        raise DataError(f"the strand (column 6) is {shown(strand)}, not + or -")
    if len(fields) >= 12:
        _read_blocks(fields, rows, start, stop)
    elif fields[3] in CLASSES[:-1]:
        if rows.knows(name):
            kind = _CLASS + CLASSES.index(fields[3])
            rows.add(name, strand, kind, start, stop, "")
    else:
        raise DataError(
            f"column 4 is {shown(fields[3])}; wanted {', '.join(CLASSES[:-1])}, or the "
            "12 columns of a transcript"
        )


def _read_blocks(fields: list[str], rows: _Rows, start: int, stop: int) -> None:
    """Read a transcript, BED12: blocks are exons, the thick part is CDS."""
    sizes, offsets = (
        [_number("a block", t) for t in fields[i].rstrip(",").split(",")]
        for i in (10, 11)
    )
    fits = len(sizes) == len(offsets) == _number("the number of blocks", fields[9])
    blocks = [(start + o, start + o + s) for s, o in zip(sizes, offsets, strict=False)]
    if not fits or not all(start <= a < b <= stop for a, b in blocks):
        raise DataError("the blocks (columns 10 to 12) do not fit start and end")
    low, high = _number("thickStart", fields[6]), _number("thickEnd", fields[7])
    if not rows.knows(fields[0]):
        return
    group = f"{fields[3]}\n{len(rows.groups)}"
    for a, b in blocks:
        rows.add(fields[0], fields[5], _EXON, a, b, group)
        if max(a, low) < min(b, high):
            rows.add(fields[0], fields[5], _CDS, max(a, low), min(b, high), group)


def _number(what: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise DataError(f"{what} {shown(text)} is not a whole number of 0 or more")
    return int(text)


def _check_names(
    rows: _Rows, path: str, lengths: Mapping[str, int], label: str, notify: Notify
) -> None:
    """Refuse a file of another genome; say what of it is not in this one."""
    if not rows.names:
        first = next(iter(rows.unknown), None)
        if first is None:
            raise DataError(f"{path}: has no exon, CDS or gene; give an annotation")
        raise DataError(f"{path}: {unknown_name(first, lengths, label)}")
    if rows.unknown:
        few = ", ".join(map(shown, list(rows.unknown)[:3]))
        more = f" and {len(rows.unknown) - 3:,} more" if len(rows.unknown) > 3 else ""
        notify(
            "warning",
            f"{path}: {sum(rows.unknown.values()):,} lines passed over: no sequence "
            f"{few}{more} in {label}",
        )


def _records(rows: _Rows, lengths: Mapping[str, int]) -> list[dict[str, Stretches]]:
    """Return the stretches of each record by output."""
    sequence, side, kind, start, stop, group = (
        np.frombuffer(column, np.int64) if column else np.empty(0, np.int64)
        for column in rows.columns
    )
    empty = union([], [])
    sizes = list(lengths.values())
    out = [
        {f"{c}{s}": empty for s in STRANDS for c in CLASSES[:-1]}
        | {f"intergenic{s}": union([0], [size]) for s in STRANDS}
        for size in sizes
    ]
    for name, number in rows.names.items():
        for i, strand in enumerate(STRANDS):
            at = np.flatnonzero((sequence == number) & (side == i))
            found = _strand(kind[at], start[at], stop[at], group[at], i)
            for record, offset in rows.places[name]:
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
    part = kind <= _UTR
    first, last = _introns(start[part], stop[part], group[part])
    before, behind = union(first - 1, first), union(last, last + 1)
    donors, acceptors = (behind, before) if side else (before, behind)
    cds = kind == _CDS
    utr = _untranslated(kind, start, stop, group)
    found = [
        donors,
        acceptors,
        union(start[cds], stop[cds]),
        utr,
        union(first, last),
    ]
    given = [kind == _CLASS + i for i in range(len(CLASSES) - 1)]
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
    cds, utr = kind == _CDS, kind == _UTR
    exon = (kind == _EXON) & np.isin(group, group[cds])
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
