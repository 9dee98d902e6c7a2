"""Plays every file of the corpus; no change of the code may break what it once kept."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from safetensors import SafetensorError
from targets import TARGETS

from genomeconv import fields, intervals
from genomeconv.errors import GenomeconvError
from genomeconv.fasta import faidx, letters
from genomeconv.weights import tensors

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
MOST_BYTES = 32_000_000


def play(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_promises_hold(path: Path) -> None:
    tracemalloc.start()
    try:
        play(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_every_target_has_a_corpus() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)


at, position, coordinate = faidx.Entry.at, intervals._position, intervals._coordinate
MUTANTS = {
    "R is read as A": (
        "fasta/iupac.fa",
        (letters, "CODES", letters.CODES[:82] + b"\0" + letters.CODES[83:]),
    ),
    "an index is a byte off": (
        "fasta/plain.fa",
        (faidx.Entry, "at", lambda entry, base: at(entry, base) + (base > 0)),
    ),
    "a region starts late": (
        "region/02.txt",
        (intervals, "_position", lambda text, number: position(text, number) + 1),
    ),
    "a line of BED starts late": (
        "bed/three.bed",
        (intervals, "_coordinate", lambda what, text: coordinate(what, text) + 1),
    ),
    "control characters are shown": (
        "bed/control.bed",
        (intervals, "shown", lambda text: f"'{text}'"),
    ),
    "types are not looked at": (
        "config/run.toml",
        (fields, "_LISTS", {}),
    ),
    "metadata are not looked at": (
        "safetensors/metadata-odd.json",
        (tensors, "_check_metadata", lambda values, where: None),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_seen(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, change = MUTANTS[mutant]
    monkeypatch.setattr(*change)
    breaks = (AssertionError, TypeError, GenomeconvError, SafetensorError)
    with pytest.raises(breaks):
        play(CORPUS / name)
