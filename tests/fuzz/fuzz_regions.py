"""Region strings and BED lines: stretches of sequences that are there, or refused."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from judge import answer, placed

from genomeconv.errors import DataError, UsageError
from genomeconv.intervals import Interval, parse_region, read_bed

LENGTHS = {
    "chr1": 1_000,
    "chr1:1-5": 7,
    "HLA-A*01:01": 50,
    "{x}": 9,
    "1": 10**12,
    "a b": 3,
    "-": 2,
    "é": 4,
    "MT": 16_569,
}
PLAIN_REGION = re.compile(r"(chr1|MT|1)(?::([0-9]{1,13})(?:-([0-9]{1,13})?)?)?")
PLAIN_BED = re.compile(rb"(?:(?:chr1|MT|1)\t[0-9]{1,13}\t[0-9]{1,13}\n)+")


def check_interval(interval: Interval) -> None:
    assert 0 <= interval.start < interval.end <= LENGTHS[interval.name]
    assert interval.strand in ("+", "-", ".")


def check_region(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")  # as the system gives arguments
    found = answer(
        lambda: parse_region(text, LENGTHS), UsageError, DataError, names="region '"
    )
    if found is not None:
        check_interval(found)
        braces = f"{{{found.name}}}:{found.start + 1}-{found.end}"
        assert parse_region(braces, LENGTHS) == found
    plain = PLAIN_REGION.fullmatch(text)
    if plain and text not in LENGTHS:
        name, first, last = plain.groups()
        start, end = int(first or 1), int(last or LENGTHS[name])
        fits = 1 <= start <= end <= LENGTHS[name]
        assert found == (Interval(name, start - 1, end) if fits else None)


def bed(path: Path) -> list[Interval] | None:
    return answer(lambda: read_bed(path, LENGTHS), DataError, names=str(path))


def check_bed(data: bytes) -> None:
    found = bed(placed("x.bed", data))
    for interval in found or []:
        check_interval(interval)
    if found is not None:
        columns = ((i.name, i.start, i.end, i.label, 0, i.strand) for i in found)
        lines = ("\t".join(map(str, line)) for line in columns)
        assert bed(placed("again.bed", "\n".join(lines).encode())) == found
    if not data.startswith(b"\x1f\x8b"):
        assert bed(placed("x.bed.gz", gzip.compress(data, 1))) == found
        if b"\r" not in data:
            assert bed(placed("crlf.bed", data.replace(b"\n", b"\r\n"))) == found
    if PLAIN_BED.fullmatch(data):
        lines = [line.split("\t") for line in data.decode().splitlines()]
        wanted = [(name, int(start), int(end)) for name, start, end in lines]
        fits = all(0 <= start < end <= LENGTHS[name] for name, start, end in wanted)
        assert found == ([Interval(*line) for line in wanted] if fits else None)
