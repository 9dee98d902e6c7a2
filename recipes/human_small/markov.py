"""Markov models of orders 0 to 12 on the training text of human-small.

    python recipes/human_small/markov.py DATA -o markov.json [--held-out FOLDER]

Both strands are counted; how orders are interpolated is chosen on the development
region, which is neither counted nor reported on (genomeconv/train/markov.py).
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from split import HELD_OUT, development_text, read_codes, training_text

from genomeconv.alphabet import Codes
from genomeconv.train.bits import markov_bits, tally
from genomeconv.train.markov import LONGEST, Markov


def _read(codes: Codes, start: int, stop: int) -> Codes:
    return codes[start:stop]


def table(
    texts: list[Codes],
    development: Codes,
    held_out: dict[str, Codes],
    longest: int = LONGEST,
) -> list[dict[str, float]]:
    """Return a row of bits per base for each order."""
    markov = Markov(longest)
    for text in texts:
        markov.count(text)
    markov.choose_strengths([development])
    rows: list[dict[str, float]] = [
        {"order": order, "strength": strength}
        for order, strength in enumerate(markov.strengths)
    ]
    for name, codes in held_out.items():
        parts = markov_bits(markov, partial(_read, codes), len(codes))
        sums = tally(parts, len(codes))
        bits = np.atleast_1d(sums.sums["all"]) / sums.counts["all"]
        for row, value in zip(rows, bits.tolist(), strict=True):
            row[name] = round(value, 4)
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
