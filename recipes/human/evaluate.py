"""Bits per base of a model on slices it never saw, by class of region, beside Markov.

python recipes/human/evaluate.py human.run/model --data DATA --held-out A.fa B.fa
--annotation genes.gtf -o benchmarks/results/human.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markov import markov_bits

from genomeconv import __version__
from genomeconv.alphabet import Codes
from genomeconv.train.bases.bits import Floats, Scorer
from genomeconv.train.config import DataConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.labels.annotation import OUTPUTS, Masks
from genomeconv.train.labels.files import read_annotation
from genomeconv.weights import load_model

TRAIN = ("GRCh37.chr20.fa.gz", "GRCh37.chrX_1-40000000.fa.gz")
DMD = ("chrX", 31_115_793, 33_357_558)
"""Cut out of the training text; the strengths of the Markov models are chosen here."""
CLASSES = ("CDS", "UTR", "intron", "intergenic")
"""A base is in the first of these that it has on either strand."""


def say(level: str, text: str) -> None:
    """Print what the library has to say."""
    print(f"{level}: {text}", file=sys.stderr)


def training_text(corpus: Corpus) -> Iterator[Codes]:
    """Yield the training sequences, the dystrophin gene cut out."""
    for number, name in enumerate(corpus.names):
        edges = [0, corpus.lengths[number]]
        if name == DMD[0]:
            edges[1:1] = DMD[1:]
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            yield np.asarray(corpus.codes(number, start, stop))


def model_bits(scorer: Scorer, codes: Codes) -> Floats:
    """Return the bits of each base (L,), the whole sequence in one piece."""
    out = np.full(len(codes), np.nan)
    for start, part in scorer.bits(lambda a, b: codes[a:b], len(codes)):
        out[start : start + len(part)] = part
    return out


def classes_of(masks: Masks) -> dict[str, Any]:
    """Return which bases are in each class, (L,) bool; "other" are exons unlabelled."""
    left = np.ones(len(masks), bool)
    out = {"all": left.copy()}
    for name in CLASSES:
        bits = sum(1 << i for i, label in enumerate(OUTPUTS) if label[:-1] == name)
        either = masks & np.uint16(bits)
        # Between genes is only what is so on both strands.
        here = left & (either == bits if name == "intergenic" else either > 0)
        out[name], left = here, left & ~here
    return {**out, "other": left}


def rows(
    record: str, model: Floats, markov: Floats, masks: Masks
) -> Iterator[dict[str, Any]]:
    """Yield a row a class: bases, bits of the model, and of each order."""
    for name, here in classes_of(masks).items():
        scored = here & ~np.isnan(model)
        if scored.any():
            yield {
                "sequence": record,
                "class": name,
                "bases": int(scored.sum()),
                "model": round(float(model[scored].mean()), 4),
                "markov": np.round(markov[:, scored].mean(axis=1), 4).tolist(),
            }


def results(args: argparse.Namespace) -> dict[str, Any]:
    """Judge the model and the Markov models."""
    loaded = load_model(args.model)
    scorer = Scorer(loaded.model)
    corpus = Corpus.open(
        DataConfig(fasta=tuple(str(args.data / t) for t in TRAIN)), say
    )
    slices = Corpus.open(DataConfig(fasta=tuple(args.held_out)), say)
    genes = read_annotation(args.annotation, slices.length_of, slices.label, say)
    texts = [
        np.asarray(slices.codes(i, 0, length))
        for i, length in enumerate(slices.lengths)
    ]
    number = corpus.number_of[DMD[0]]
    development = np.asarray(corpus.codes(number, *DMD[1:]))
    strengths, markov = markov_bits(list(training_text(corpus)), development, texts)
    found = [
        row
        for i, (name, codes) in enumerate(zip(slices.names, texts, strict=True))
        for row in rows(
            name,
            model_bits(scorer, codes),
            markov[i],
            genes.masks(i, 0, len(codes)),
        )
    ]
    return {
        "model": loaded.name,
        "model_sha256": loaded.sha256,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "markov_strengths": strengths,
        "bits_per_base": found,
        "software": {
            "genomeconv": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def main() -> None:
    """Parse the command line, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="name or folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of data.py")
    parser.add_argument("--held-out", nargs="+", required=True, help="FASTA")
    parser.add_argument("--annotation", type=Path, required=True, help="GTF or GFF3")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON")
    args = parser.parse_args()
    found = results(args)
    args.output.write_text(json.dumps(found, indent=1) + "\n")
    for row in found["bits_per_base"]:
        best = min(row["markov"])
        order = row["markov"].index(best)
        print(row["sequence"], row["class"], row["bases"], row["model"], best, order)


if __name__ == "__main__":
    main()
