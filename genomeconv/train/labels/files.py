"""GTF, GFF3 and BED files to :class:`Annotation`.

What is read: exons, coding stretches, untranslated stretches and the extents of genes
and transcripts; of BED12 the blocks and the thick part; of shorter BED lines the class
in column 4 and the strand in column 6. Everything else is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from genomeconv.errors import DataError
from genomeconv.inputs import Input, shown
from genomeconv.intervals import text_lines, unknown_name
from genomeconv.train.labels.annotation import CLASSES, STRANDS, Annotation
from genomeconv.train.labels.parts import (
    CDS,
    CLASS,
    EXON,
    EXTENT,
    UTR,
    GeneParts,
    records_of,
)
from genomeconv.train.notify import Notify

_PARTS = {
    "exon": EXON,
    "CDS": CDS,
    "stop_codon": CDS,
    "UTR": UTR,
    "5UTR": UTR,
    "3UTR": UTR,
    "five_prime_UTR": UTR,
    "three_prime_UTR": UTR,
    "five_prime_utr": UTR,
    "three_prime_utr": UTR,
}
_EXTENTS = ("gene", "RNA", "transcript")
"""How the names of features end that are genes or transcripts."""
_INTEGER = re.compile(r"[0-9]{1,12}")
_PARENT = {
    "gtf": re.compile(r'(?:^|;)\s*transcript_id\s+"?([^";]+)"?'),
    "gff3": re.compile(r"(?:^|;)\s*Parent=([^;]+)"),
    "id": re.compile(r"(?:^|;)\s*ID=([^;]+)"),
}
_GFF3 = re.compile(r"\s*[A-Za-z_][\w.-]*=")
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
    parts = GeneParts(lengths)
    with Input(path) as source:
        for number, line in text_lines(source, "a GTF, GFF3 or BED file"):
            if line.startswith(("##FASTA", ">")):
                break
            if not line or line.startswith("#") or _BED_SKIPPED.match(line):
                continue
            try:
                _read_line(line, parts)
            except DataError as error:
                raise DataError(f"{source.label}:{number}: {error}") from None
        _check_names(parts, source.label, lengths, label, notify)
    return Annotation(records_of(parts, lengths))


def _read_line(line: str, parts: GeneParts) -> None:
    fields = line.split("\t")
    if len(fields) >= 8 and fields[6] in ("+", "-", ".", "?"):
        _read_gff(fields, parts)
    elif len(fields) >= 3 and _INTEGER.fullmatch(fields[1]):
        _read_bed(fields, parts)
    else:
        raise DataError(
            f"{len(fields)} columns by tabs; a GTF or GFF3 line has 9, the strand in "
            "column 7, a BED line 6 or 12, start and end in columns 2 and 3"
        )


def _read_gff(fields: list[str], parts: GeneParts) -> None:
    name, kind, strand = fields[0], fields[2], fields[6]
    start, stop = _number("start", fields[3]) - 1, _number("end", fields[4])
    if not 0 <= start < stop:
        raise DataError(
            f"start {start + 1:,} to end {stop:,} is not a stretch counted from 1"
        )
    if kind in _PARTS:
        if strand not in STRANDS:
            raise DataError(f"the strand of {kind} is {shown(strand)}, not + or -")
        if parts.knows(name):
            text = fields[8] if len(fields) > 8 else ""
            for group in _groups(kind, text):
                parts.add(name, strand, _PARTS[kind], start, stop, group)
    elif kind.endswith(_EXTENTS) and parts.knows(name):
        for side in STRANDS if strand not in STRANDS else strand:
            parts.add(name, side, EXTENT, start, stop, "")


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


def _read_bed(fields: list[str], parts: GeneParts) -> None:
    name = fields[0]
    start, stop = _number("start", fields[1]), _number("end", fields[2])
    if start >= stop:
        raise DataError(f"start {start:,} is not before end {stop:,}")
    strand = fields[5] if len(fields) > 5 else "."
    if strand not in STRANDS:
        raise DataError(f"the strand (column 6) is {shown(strand)}, not + or -")
    if len(fields) >= 12:
        _read_blocks(fields, parts, start, stop)
    elif fields[3] in CLASSES[:-1]:
        if parts.knows(name):
            kind = CLASS + CLASSES.index(fields[3])
            parts.add(name, strand, kind, start, stop, "")
    else:
        raise DataError(
            f"column 4 is {shown(fields[3])}; wanted {', '.join(CLASSES[:-1])}, or the "
            "12 columns of a transcript"
        )


def _read_blocks(fields: list[str], parts: GeneParts, start: int, stop: int) -> None:
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
    if not parts.knows(fields[0]):
        return
    group = f"{fields[3]}\n{len(parts.groups)}"
    for a, b in blocks:
        parts.add(fields[0], fields[5], EXON, a, b, group)
        if max(a, low) < min(b, high):
            parts.add(fields[0], fields[5], CDS, max(a, low), min(b, high), group)


def _number(what: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise DataError(f"{what} {shown(text)} is not a whole number of 0 or more")
    return int(text)


def _check_names(
    parts: GeneParts, path: str, lengths: Mapping[str, int], label: str, notify: Notify
) -> None:
    """Refuse a file of another genome; say what of it is not in this one."""
    if not parts.names:
        first = next(iter(parts.unknown), None)
        if first is None:
            raise DataError(f"{path}: has no exon, CDS or gene; give an annotation")
        raise DataError(f"{path}: {unknown_name(first, lengths, label)}")
    if parts.unknown:
        few = ", ".join(map(shown, list(parts.unknown)[:3]))
        more = f" and {len(parts.unknown) - 3:,} more" if len(parts.unknown) > 3 else ""
        notify(
            "warning",
            f"{path}: {sum(parts.unknown.values()):,} lines passed over: no sequence "
            f"{few}{more} in {label}",
        )
