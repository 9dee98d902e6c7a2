"""Markov models of orders 0 to 12 on the training text of human-small.

    python recipes/human_small/markov.py DATA -o markov.json [--held-out FOLDER]

Both strands are counted. Probabilities are interpolated by Dirichlet back-off,

    p_k(b | c) = (n(c b) + a_k p_{k-1}(b | c without its first base)) / (n(c) + a_k),

from p_0 uniform, with a_k chosen for each order in turn on the development region,
which is neither counted nor reported on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from split import HELD_OUT, development_text, read_codes, training_text

from genomeconv.alphabet import Codes, N, reverse_complement

LONGEST = 12
STRENGTHS = tuple(2.0**e for e in range(-2, 11))
PIECE = 1 << 22

Index = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]


def words(codes: Codes, length: int) -> tuple[Index, npt.NDArray[np.bool_]]:
    """Return the number of each word in base 4, and which words hold no N.

    Entry i is the word that ends at base ``i + length - 1``.
    """
    count = max(0, len(codes) - length + 1)
    number = np.zeros(count, np.int64)
    called = np.ones(count, bool)
    for j in range(length):
        base = codes[j : j + count]
        number = number * 4 + (base & 3)
        called &= base != N
    return number, called


def count_words(texts: list[Codes], length: int) -> Counts:
    """Count the words of both strands, shape (4**length,)."""
    counts = np.zeros(4**length, np.uint32)
    for text in texts:
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE + length - 1]
            for strand in (piece, reverse_complement(piece)):
                number, called = words(strand, length)
                np.add.at(counts, number[called], np.uint32(1))
    return counts


def shorter_words(counts: Counts) -> Counts:
    """Return the counts of the words without their first base."""
    total: Counts = counts.reshape(4, -1).sum(axis=0, dtype=np.uint32)
    return total


class Reader:
    """Probabilities of each base of a sequence, raised from order to order."""

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self.p: Floats = np.full(len(codes), 0.25)

    def raised(self, counts: Counts, length: int, strength: float) -> Floats:
        """Return the probabilities that words of ``length`` bases give.

        Where such a word holds an N or is cut by the start, the order below stays.
        """
        number, called = words(self.codes, length)
        number = number[called]
        seen = counts[number].astype(np.float64)
        context = counts.reshape(-1, 4).sum(axis=1, dtype=np.float64)[number >> 2]
        at = np.flatnonzero(called) + length - 1
        out = self.p.copy()
        out[at] = (seen + strength * out[at]) / (context + strength)
        return out

    def bits(self, p: Floats) -> float:
        """Return bits a called base, the first base left out as for the model."""
        scored = self.codes[1:] != N
        return float(-np.log2(p[1:][scored]).mean())


def table(
    texts: list[Codes], development: Codes, held_out: dict[str, Codes]
) -> list[dict[str, float]]:
    """Return a row of bits a base for each order."""
    counts = {LONGEST + 1: count_words(texts, LONGEST + 1)}
    for length in range(LONGEST, 0, -1):
        counts[length] = shorter_words(counts[length + 1])
    chooser = Reader(development)
    readers = {name: Reader(codes) for name, codes in held_out.items()}
    rows = []
    for length in range(1, LONGEST + 2):
        raised = {a: chooser.raised(counts[length], length, a) for a in STRENGTHS}
        strength = min(raised, key=lambda a: chooser.bits(raised[a]))
        chooser.p = raised[strength]
        row: dict[str, float] = {"order": length - 1, "strength": strength}
        for name, reader in readers.items():
            reader.p = reader.raised(counts[length], length, strength)
            row[name] = round(reader.bits(reader.p), 4)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Parse the command line, count, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the training FASTA files")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, help="folder of the held-out slices")
    args = parser.parse_args()
    held_out = {
        name: read_codes((args.held_out or args.data) / file)
        for name, file in HELD_OUT.items()
    }
    rows = table(training_text(args.data), development_text(args.data), held_out)
    args.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
