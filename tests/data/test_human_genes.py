"""The bundled model of human genes: small, told truly, and it finds exons."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from genomeconv.alphabet import reverse_complement
from genomeconv.train.labels.annotation import OUTPUTS
from genomeconv.weights import load_model

ROOT = Path(__file__).parents[2]
GENOME = ROOT / "data/genomeconv_data/genomes/GRCh37.DMD.fa.gz"
FIRST = 31_115_794
"""Of that region, 1-based on chrX."""
EXONS = (
    (31_152_219, 31_152_311),
    (31_164_408, 31_164_531),
    (31_165_392, 31_165_635),
    (31_187_560, 31_187_718),
    (31_191_656, 31_191_721),
    (31_196_786, 31_196_922),
    (31_198_487, 31_198_598),
    (31_200_855, 31_201_021),
    (31_222_078, 31_222_235),
    (31_224_699, 31_224_784),
)
"""Inner exons of DMD, minus strand, 1-based inclusive; part of the training text."""
AROUND = 1000


@pytest.fixture(scope="module")
def bundled():
    return load_model("human-genes")


@pytest.fixture(scope="module")
def exons():
    """Each exon and what is around it, as codes on "+"."""
    with gzip.open(GENOME) as file:
        text = b"".join(file.read().split(b"\n")[1:]).upper()
    letters = np.frombuffer(text, np.uint8)
    codes = np.searchsorted(np.frombuffer(b"ACGT", np.uint8), letters).astype(np.uint8)
    return [codes[a - FIRST - AROUND : b - FIRST + 1 + AROUND] for a, b in EXONS]


def logits(bundled, codes):
    with torch.no_grad():
        x = bundled.model.trunk(torch.from_numpy(codes.astype(np.int64))[None])
        z = bundled.model.outputs(x)[0]
    return {name: z[:, i].numpy() for i, name in enumerate(OUTPUTS)}


def test_folder_is_under_8_mb(bundled):
    assert sum(f.stat().st_size for f in bundled.path.iterdir()) < 8_000_000


def test_it_labels_genes_from_both_sides(bundled):
    config = bundled.model.config
    assert config.outputs == OUTPUTS
    assert config.left_context() > 200 < config.right_context()


def test_the_card_is_that_of_the_results(bundled):
    """The numbers of the card and of the benchmarks, and what was held out."""
    results = json.loads((ROOT / "benchmarks/results/human-genes.json").read_text())
    assert results["model_sha256"] == bundled.sha256
    found = results["results"]["test"]
    for key in ("cds", "cds_decoded", "average_precision"):
        assert bundled.card["results"]["test"][key] == found[key]
    assert [*results["each"]] == bundled.card["splits"]["test"]["regions"]
    trained = bundled.card["splits"]["train"]["regions"]
    assert not [r for r in trained if not r.startswith(("chr20:", "chrX:"))]


@pytest.mark.parametrize("strand", ["+", "-"])
def test_exons_are_found_on_either_strand(bundled, exons, strand):
    """The two sites of most exons have the greatest logits within 1,000 bases."""
    hits = 0
    for codes in exons:
        first, last = AROUND, len(codes) - AROUND - 1
        sites = {"acceptor": last, "donor": first}
        if strand == "+":
            codes = reverse_complement(codes)
            sites = {"acceptor": first, "donor": last}
        z = logits(bundled, codes)
        hits += sum(int(z[f"{k}{strand}"].argmax()) == at for k, at in sites.items())
        other = "+-"[strand == "+"]
        inside = slice(first, last + 1)
        assert z[f"CDS{strand}"][inside].mean() > z[f"CDS{other}"][inside].mean()
    assert hits >= 14
