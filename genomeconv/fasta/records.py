"""The table of the records of a genome: names, lengths, checksums."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordTable:
    """What is known of each of the R records, in the order of the file.

    Attributes
    ----------
    names : list of str
        Header up to the first blank, byte for byte.
    descriptions : list of str
        The rest of the header, empty where there is none.
    lengths : (R,) int64
        Bases.
    md5 : list of str
        Of the letters as they are in the file but in upper case and without line
        ends, as the M5 of SAM and refget have it. IUPAC codes, U and gaps read as N
        are kept; gaps that were removed are not there.
    called : (R,) int64
        How many of the bases are A, C, G or T (or U).
    """

    names: list[str]
    descriptions: list[str]
    lengths: Lengths
    md5: list[str]
    called: Lengths

    def __len__(self) -> int:
        return len(self.names)

    @property
    def bases(self) -> int:
        """Sum of the lengths."""
        return int(self.lengths.sum())

    def take(self, rows: npt.NDArray[np.intp]) -> RecordTable:
        """Return the table of some of the records, in the order given."""
        return RecordTable(
            names=[self.names[i] for i in rows],
            descriptions=[self.descriptions[i] for i in rows],
            lengths=self.lengths[rows],
            md5=[self.md5[i] for i in rows],
            called=self.called[rows],
        )

    def check_range(self, record: int, start: int, stop: int) -> None:
        """Raise ValueError where bases start to stop are not all within a record."""
        length = int(self.lengths[record])
        if not 0 <= start <= stop <= length:
            raise ValueError(f"{start}-{stop} is not within a record of {length} bases")

    def fingerprint(self) -> dict[str, int | str]:
        """Return what tells this set of sequences from any other, ready for JSON."""
        digest = hashlib.sha256()
        for name, length, md5 in zip(self.names, self.lengths, self.md5, strict=True):
            digest.update(f"{name}\t{length}\t{md5}\n".encode())
        return {
            "records": len(self),
            "bases": self.bases,
            "sha256": digest.hexdigest(),
        }
