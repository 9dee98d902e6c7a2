"""Stretches of sequences: region strings of the command line, and BED files.

Inside, and in every stored coordinate, 0-based half-open. Region strings are 1-based
inclusive, as samtools has them; BED is 0-based half-open by itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path

from genomeconv.errors import DataError, UsageError
from genomeconv.inputs import Input, line_feeds, shown

_NUMBER = re.compile(r"([0-9][0-9,]{0,23})(\.[0-9]{1,9})?([kKmMgG]?)")
_INTEGER = re.compile(r"[0-9]{1,18}")
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_NEAR_NAMES = 3
_COMPARED_NAMES = 20_000
_NAMES_LISTED = 5
_SKIPPED = re.compile(r"#|(track|browser)(\s|$)")
_STRANDS = ("+", "-", ".")
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Interval:
    """Part of one sequence.

    Attributes
    ----------
    name : str
        The sequence.
    start, end : int
        0-based, half-open, in bases; start < end.
    label : str
        Name of the region (column 4 of BED), empty where it has none.
    strand : str
        "+", "-" or "." for none.
    """

    name: str
    start: int
    end: int
    label: str = ""
    strand: str = "."

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"not a stretch of bases: {self.start}-{self.end}")
        if self.strand not in _STRANDS:
            raise ValueError(f"strand must be one of + - . not {self.strand!r}")

    def __len__(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.name}:{self.start + 1:,}-{self.end:,}"


def parse_region(
    text: str, lengths: Mapping[str, int], label: str = "the genome"
) -> Interval:
    """Read a region as samtools writes it, 1-based inclusive.

    ``chr1``, ``chr1:1,000`` and ``chr1:1,000-`` (to the end), ``chr1:1,000-2,000``,
    ``chr1:1.5M-2M``, and ``{name:with:colons}:5-10``. Where a name has colons the
    longest name that fits is meant.

    Parameters
    ----------
    text : str
        The region.
    lengths : mapping
        Length in bases of each sequence there is.
    label : str
        Where these sequences are, for messages.

    Raises
    ------
    UsageError
        The text is not a region.
    DataError
        There is no such sequence, or the region reaches past its end.
    """
    name, span = _split(text, lengths)
    if name not in lengths:
        raise DataError(f"region {shown(text)}: {unknown_name(name, lengths, label)}")
    length = lengths[name]
    start, end = _span(text, span, length) if span is not None else (1, length)
    if start > length or end > length:
        raise DataError(
            f"region {shown(text)}: reaches past the end, {shown(name)} has "
            f"{length:,} bases"
        )
    return Interval(name, start - 1, end)


def _split(text: str, lengths: Mapping[str, int]) -> tuple[str, str | None]:
    """Split a region into its name and what follows the colon, if there is one."""
    if text in lengths:
        return text, None
    if text.startswith("{"):
        name, closed, rest = text[1:].rpartition("}")
        if not closed or (rest and not rest.startswith(":")):
            raise UsageError(
                f"region {shown(text)}: a name in braces is written {{name}}:start-end"
            )
        return name, rest[1:] if rest else None
    name, colon, span = text.rpartition(":")
    looks_like_span = colon and (span == "" or span[0].isdigit() or span[0] == "-")
    if colon and (name in lengths or looks_like_span):
        return name, span
    return text, None


def _span(text: str, span: str, length: int) -> tuple[int, int]:
    """Return first and last base, counting from 1, both included."""
    first, dash, last = span.partition("-")
    start = _position(text, first) if first or not dash else 1
    end = _position(text, last) if last else length
    if start < 1:
        raise UsageError(f"region {shown(text)}: positions count from 1")
    if last and start > end:
        raise UsageError(
            f"region {shown(text)}: starts at {start:,}, behind its end {end:,}"
        )
    return start, end


def _position(text: str, number: str) -> int:
    if match := _NUMBER.fullmatch(number):
        digits = Decimal(match[1].replace(",", "") + (match[2] or ""))
        value = digits * _FACTORS[match[3].lower()]
        if value == int(value):
            return int(value)
    raise UsageError(
        f"region {shown(text)}: {shown(number)} is not a position; write "
        "name:start-end, as chr1:1,000-2,000 or chr1:1.5M-2M"
    )


def unknown_name(name: str, lengths: Mapping[str, int], label: str) -> str:
    """Say that there is no such sequence, and which one may have been meant."""
    near = _near(name, lengths)
    if near:
        hint = f"did you mean {' or '.join(map(shown, near))}?"
    else:
        some = [shown(known) for known in islice(lengths, _NAMES_LISTED)]
        more = ", ..." if len(lengths) > len(some) else ""
        hint = f"it has {', '.join(some)}{more}"
    return f"no sequence {shown(name)} in {label}; {hint}"


def _near(name: str, lengths: Mapping[str, int]) -> list[str]:
    bare = name.removeprefix("chr")
    aliases = [bare, f"chr{bare}"]
    if bare in ("M", "MT"):
        aliases += ["M", "MT", "chrM", "chrMT"]
    near = [alias for alias in dict.fromkeys(aliases) if alias in lengths]
    folded = name.casefold()
    near += [n for n in lengths if n.casefold() == folded and n not in near]
    if not near and len(lengths) <= _COMPARED_NAMES:
        near = difflib.get_close_matches(name, lengths, n=_NEAR_NAMES)
    return near[:_NEAR_NAMES]


def read_bed(
    path: Path | str, lengths: Mapping[str, int], label: str = "the genome"
) -> list[Interval]:
    """Read the regions of a BED file, in its order.

    Three columns or more, by tabs or blanks; column 4 is the name, column 6 the
    strand. Comments, ``track``, ``browser`` and a line of column titles are skipped.

    Parameters
    ----------
    path : path or "-"
        Plain, gzip or bgzip; ``-`` is standard input.
    lengths : mapping
        Length in bases of each sequence there is.
    label : str
        Where these sequences are, for messages.

    Raises
    ------
    DataError
        A line is not a region of these sequences, or there is no region at all.
    """
    return [interval for _, _, interval in bed_lines(path, lengths, label)]


def bed_lines(
    path: Path | str, lengths: Mapping[str, int], label: str
) -> Iterator[tuple[int, list[str], Interval]]:
    """Yield the number, the columns and the region of each line of a BED file.

    Parameters, and what is skipped and refused, as in :func:`read_bed`.
    """
    found = False
    with Input(path) as source:
        for number, line in text_lines(source, "a BED file"):
            if not line or _SKIPPED.match(line):
                continue
            fields = line.split("\t") if "\t" in line else line.split()
            if not found and _is_title(fields):
                continue
            try:
                interval = _bed_interval(fields, lengths, label)
            except DataError as error:
                raise DataError(f"{source.label}:{number}: {error}") from None
            found = True
            yield number, fields, interval
        if not found:
            raise DataError(f"no regions in {source.label}")


def text_lines(source: Input, wanted: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines without their ends and without blanks at the end.

    ``wanted`` is what the file should be, for messages.
    """
    for number, line in enumerate(_raw_lines(source, wanted), 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip()
        except UnicodeDecodeError:
            raise DataError(
                f"{source.label}:{number}: {shown(line)} is not UTF-8 text; "
                f"give {wanted}"
            ) from None


def _raw_lines(source: Input, wanted: str) -> Iterator[bytes]:
    held = b""
    for block in chain(line_feeds(source.blocks()), [b"\n"]):
        *lines, held = (held + block).split(b"\n")
        if len(held) > _LONGEST_LINE:
            raise DataError(f"{source.label}: a line is too long; give {wanted}")
        yield from lines


def _is_title(fields: list[str]) -> bool:
    return len(fields) > 2 and fields[1][:1].isalpha() and fields[2][:1].isalpha()


def _bed_interval(
    fields: list[str], lengths: Mapping[str, int], label: str
) -> Interval:
    if len(fields) < 3:
        raise DataError(
            f"{len(fields)} columns, a BED line has 3 or more: name, start, end"
        )
    name = fields[0]
    start, end = _coordinate("start", fields[1]), _coordinate("end", fields[2])
    if start >= end:
        raise DataError(f"start {start:,} is not before end {end:,}")
    if name not in lengths:
        raise DataError(unknown_name(name, lengths, label))
    if end > lengths[name]:
        raise DataError(
            f"end {end:,} is past the end, {shown(name)} has {lengths[name]:,} bases"
        )
    strand = fields[5] if len(fields) > 5 else "."
    if strand not in _STRANDS:
        raise DataError(f"the strand (column 6) is {shown(strand)}, not + - or .")
    return Interval(name, start, end, fields[3] if len(fields) > 3 else "", strand)


def _coordinate(what: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise DataError(f"{what} {shown(text)} is not a whole number of 0 or more")
    return int(text)
