"""Genomes from FASTA: read whole and checked, or by region through an index."""

from __future__ import annotations

from typing import Protocol

from genomeconv.alphabet import Codes
from genomeconv.fasta.indexed import IndexedGenome, open_indexed
from genomeconv.fasta.letters import LetterCounts
from genomeconv.fasta.policy import ReadPolicy
from genomeconv.fasta.records import RecordTable
from genomeconv.fasta.spool import SpooledGenome, read_genome, read_records


class Genome(Protocol):
    """Where bases come from, whatever is behind it."""

    records: RecordTable
    counts: LetterCounts

    def codes(self, record: int, start: int, stop: int) -> Codes:
        """Return bases start to stop (0-based, half-open) of one record."""
        ...

    def check_unchanged(self) -> None:
        """Raise DataError where the file is no longer the one that was read."""
        ...


__all__ = [
    "Genome",
    "IndexedGenome",
    "LetterCounts",
    "ReadPolicy",
    "RecordTable",
    "SpooledGenome",
    "open_indexed",
    "read_genome",
    "read_records",
]
