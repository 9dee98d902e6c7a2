"""All FASTA files of a run as one numbered list of records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genomeconv.alphabet import Codes
from genomeconv.errors import DataError
from genomeconv.fasta import ReadPolicy
from genomeconv.inputs import shown
from genomeconv.train.config import DataConfig
from genomeconv.train.data.cache import CachedGenome, cache_folder, open_cached
from genomeconv.train.notify import Notify


class Corpus:
    """Records of several genomes, numbered in the order of the files.

    Parameters
    ----------
    genomes : sequence of CachedGenome

    Attributes
    ----------
    names, lengths : lists, one entry a record
    length_of, number_of : dicts by name
    label : str
        How messages call it.

    Raises
    ------
    DataError
        Two files have a sequence of the same name.
    """

    def __init__(self, genomes: Sequence[CachedGenome]) -> None:
        self.genomes = list(genomes)
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.number_of: dict[str, int] = {}
        self._places: list[tuple[CachedGenome, int]] = []
        for genome in self.genomes:
            for i, name in enumerate(genome.names):
                if name in self.number_of:
                    raise DataError(
                        f"{genome.path}: sequence {shown(name)} is in another file of "
                        "data.fasta as well; rename one of them"
                    )
                self.number_of[name] = len(self.names)
                self.names.append(name)
                self.lengths.append(genome.lengths[i])
                self._places.append((genome, i))
        self.length_of = dict(zip(self.names, self.lengths, strict=True))
        self.label = ", ".join(str(genome.path) for genome in self.genomes)

    @classmethod
    def open(cls, config: DataConfig, notify: Notify) -> Corpus:
        """Open the files of a config; those not encoded yet are encoded now."""
        policy = ReadPolicy(empty="skip", gaps=config.gaps, soft_mask=config.soft_mask)
        folder = cache_folder(config.cache)
        return cls([open_cached(Path(f), folder, policy, notify) for f in config.fasta])

    def codes(self, record: int, start: int, stop: int) -> Codes:
        """Return bases start to stop (0-based, half-open) of a record, read-only."""
        genome, number = self._places[record]
        return genome.codes(number, start, stop)

    def fingerprints(self) -> list[dict[str, Any]]:
        """Return what tells these genomes from any others, one entry a file."""
        return [genome.fingerprint() for genome in self.genomes]
