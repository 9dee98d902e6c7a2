"""The split of human-small: which bases are learned from and which are held out."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from genomeconv.alphabet import LETTERS, Codes, N

TRAIN_FILES = ("GRCh37.chr20.fa.gz", "GRCh37.chrX_1-40000000.fa.gz")
"""63,025,520 and 40,000,000 bases; file names as SOURCES names them."""

DMD = ("GRCh37.chrX_1-40000000.fa.gz", 31_115_793, 33_357_558)
"""The dystrophin gene region (0-based, half-open): held out of the training text.

`make demo` embeds it, runs are watched on it, and the Markov models' back-off is
chosen on it.
"""

HELD_OUT = {
    "chr4:103000001-105000000": "GRCh37.chr4_103000000-105000000.fa.gz",
    "chr22:20000001-21000000": "GRCh37.chr22_20000001-21000000.fa.gz",
}
"""Slices of chromosomes that no part of the training text comes from."""

_CODE = np.full(256, N, dtype=np.uint8)
_CODE[np.frombuffer(LETTERS, np.uint8)] = range(len(LETTERS))
_CODE[np.frombuffer(LETTERS.lower(), np.uint8)] = range(len(LETTERS))


def read_codes(path: Path) -> Codes:
    """Return the base codes of a FASTA file of one record."""
    with gzip.open(path) as file:
        header, body = file.read().split(b"\n", 1)
    if not header.startswith(b">") or b">" in body:
        raise SystemExit(f"{path}: wanted a FASTA of one record")
    return _CODE[np.frombuffer(body.translate(None, b"\r\n"), np.uint8)]


def training_text(folder: Path) -> list[Codes]:
    """Return the training sequences, the held-out region cut out of them."""
    texts = []
    for name in TRAIN_FILES:
        codes = read_codes(folder / name)
        if name == DMD[0]:
            texts += [codes[: DMD[1]], codes[DMD[2] :]]
        else:
            texts.append(codes)
    return texts


def development_text(folder: Path) -> Codes:
    """Return the held-out region that runs are watched on."""
    return read_codes(folder / DMD[0])[DMD[1] : DMD[2]]
