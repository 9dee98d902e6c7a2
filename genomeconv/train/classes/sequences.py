"""Sequences with a class each: rows of a CSV file, or regions of a BED file.

A CSV file has a header with the columns ``sequence`` and ``label``; letters are read as
those of a FASTA file. Of a BED file column 4 (or 5) is the class, and a region on the
other strand is read from there. Both plain, gzip or bgzip.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genomeconv.alphabet import Codes
from genomeconv.errors import DataError, ModelError
from genomeconv.fasta import ReadPolicy
from genomeconv.fasta.letters import BAD_BYTE, Reading, complaint
from genomeconv.inputs import Input, shown
from genomeconv.intervals import bed_lines, text_lines
from genomeconv.train.config import DataConfig, ObjectiveConfig
from genomeconv.train.data.cache import CachedGenome
from genomeconv.train.data.corpus import Corpus

COLUMNS = ("sequence", "label")
_BED_COLUMN = {"name": 3, "score": 4}


@dataclass(frozen=True)
class Item:
    """A sequence and its class.

    Attributes
    ----------
    record, start, stop : int
        Where it is in the corpus, 0-based half-open.
    reverse : bool
        Whether it is read from the other strand.
    label : str
        Its class.
    place : str
        File and line, for messages.
    """

    record: int
    start: int
    stop: int
    reverse: bool
    label: str
    place: str


def read_csv(paths: Sequence[str], data: DataConfig) -> tuple[Corpus, list[list[Item]]]:
    """Read the sequences of some CSV files.

    Parameters
    ----------
    paths : sequence of str
    data : DataConfig
        Longest sequence that is taken, and how letters are read.

    Returns
    -------
    corpus, items : Corpus, list
        A record a row, named by file and line; the items of each file.

    Raises
    ------
    DataError
        A row is not what it has to be; the message has file and line.
    """
    genomes, items, record = [], [], 0
    for path in dict.fromkeys(paths):
        rows = list(_rows(path, data))
        if not rows:
            raise DataError(f"{path}: has no rows; a header and sequences were wanted")
        genomes.append(_genome(Path(path), rows))
        items.append(
            [
                Item(record + i, 0, len(codes), False, label, f"{path}:{number}")
                for i, (number, codes, label) in enumerate(rows)
            ]
        )
        record += len(rows)
    return Corpus(genomes), items


def _rows(path: str, data: DataConfig) -> Iterator[tuple[int, Codes, str]]:
    """Yield line number, codes and label of each row."""
    policy = ReadPolicy(gaps=data.gaps, soft_mask=data.soft_mask)
    reading = Reading(policy)
    columns: list[str] | None = None
    with Input(path) as source:
        for number, line in text_lines(source, "a CSV file"):
            if not line:
                continue
            where = f"{source.label}:{number}"
            fields = _fields(line, where)
            if columns is None:
                columns = _header(fields, where)
                at = [columns.index(name) for name in COLUMNS]
                continue
            if len(fields) != len(columns):
                raise DataError(
                    f"{where}: {len(fields)} columns, the header has {len(columns)}"
                )
            text, label = (fields[i].strip() for i in at)
            if not label:
                raise DataError(f"{where}: the label is empty; every row needs a class")
            yield number, _codes(text, reading, where, data.window), label
        if columns is None:
            raise DataError(f"{source.label}: is empty; a CSV file was wanted")


def _fields(line: str, where: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(f"{where}: not a line of CSV: {error}") from None


def _header(fields: list[str], where: str) -> list[str]:
    names = [field.strip().lower() for field in fields]
    for name in COLUMNS:
        if name not in names:
            raise DataError(
                f"{where}: no column {name!r} in the header "
                f"({', '.join(map(shown, fields))}); sequence and label are wanted"
            )
    return names


def _codes(text: str, reading: Reading, where: str, longest: int) -> Codes:
    letters = text.encode().translate(None, reading.dropped)
    if not letters:
        raise DataError(f"{where}: the sequence is empty")
    codes = letters.translate(reading.codes)
    if (bad := codes.find(BAD_BYTE)) >= 0:
        raise DataError(f"{where}: the sequence {complaint(letters, bad)}")
    _check_length(len(codes), longest, where)
    return np.frombuffer(codes, np.uint8)


def _check_length(length: int, longest: int, where: str) -> None:
    if length > longest:
        raise DataError(
            f"{where}: {length:,} bases, data.window takes {longest:,}; raise it"
        )


def _genome(path: Path, rows: list[tuple[int, Codes, str]]) -> CachedGenome:
    """Return rows as records in memory; the sha256 is of sequences and labels."""
    lengths = [len(codes) for _, codes, _ in rows]
    codes = np.concatenate([codes for _, codes, _ in rows])
    digest = hashlib.sha256(codes.tobytes())
    digest.update(repr([(n, label) for n, _, label in rows]).encode())
    return CachedGenome(
        path=path,
        names=tuple(f"{path}:{number}" for number, _, _ in rows),
        lengths=tuple(lengths),
        called=int(np.count_nonzero(codes < 4)),
        sha256=digest.hexdigest(),
        _offsets=tuple(np.concatenate(([0], np.cumsum(lengths))).tolist()),
        _codes=codes,
    )


def read_regions(
    path: str, corpus: Corpus, objective: ObjectiveConfig, longest: int
) -> list[Item]:
    """Read the regions of a BED file, and the class of each.

    Raises
    ------
    DataError
        A line is not a region of the corpus, has no class or is too long; the
        message has file and line.
    """
    column = _BED_COLUMN[objective.column]
    out = []
    for number, fields, region in bed_lines(path, corpus.length_of, corpus.label):
        where = f"{path}:{number}"
        label = fields[column].strip() if len(fields) > column else ""
        if label in ("", "."):
            raise DataError(
                f"{where}: no class in column {column + 1} ({objective.column})"
            )
        _check_length(len(region), longest, where)
        record, reverse = corpus.number_of[region.name], region.strand == "-"
        item = Item(record, region.start, region.end, reverse, label, where)
        out.append(item)
    return out


def regions_fingerprint(path: str, items: Sequence[Item]) -> dict[str, Any]:
    """Return what tells the regions of a file from any others."""
    text = repr([(i.record, i.start, i.stop, i.reverse, i.label) for i in items])
    return {
        "file": path,
        "records": len(items),
        "bases": sum(i.stop - i.start for i in items),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def class_names(items: Sequence[Item], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of what is learned from, in order: numbers by size.

    Parameters
    ----------
    items : sequence of Item
    wanted : sequence of str
        The order asked for; empty: any.

    Raises
    ------
    DataError
        There is one class only.
    ModelError
        A class is not among those that are wanted, or one of these is never seen.
    """
    found = {item.label for item in items}
    if len(found) < 2:
        raise DataError(
            f"{items[0].place}: all {len(items):,} sequences have the class "
            f"{shown(items[0].label)}; two classes or more are wanted"
        )
    if wanted and found != set(wanted):
        raise ModelError(
            f"config: model.outputs must be the classes of objective.annotation "
            f"({', '.join(sorted(found))}), got {', '.join(wanted)}"
        )
    if wanted:
        return tuple(wanted)
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(sorted(found))


def numbered(items: Sequence[Item], names: Sequence[str]) -> list[int]:
    """Return the number of the class of each item.

    Raises
    ------
    DataError
        A class is none of ``names``; the message has file and line.
    """
    number = {name: i for i, name in enumerate(names)}
    for item in items:
        if item.label not in number:
            raise DataError(
                f"{item.place}: the class {shown(item.label)} is none of "
                f"{', '.join(map(shown, names))}"
            )
    return [number[item.label] for item in items]
