"""The bundled model of yeast genes: small, told truly, and it finds a gene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from genomeconv.alphabet import reverse_complement
from genomeconv.train.labels.annotation import OUTPUTS
from genomeconv.weights import load_model

ROOT = Path(__file__).parents[2]
COMMON = "GAAAAAGATTTGAACGGTCCAGCTAGAACTGTTATTTCTTACCAAGAATTC"


@pytest.fixture(scope="module")
def bundled():
    return load_model("yeast-genes")


def test_folder_is_under_8_mb(bundled):
    assert sum(f.stat().st_size for f in bundled.path.iterdir()) < 8_000_000


def test_it_labels_genes_from_both_sides(bundled):
    config = bundled.model.config
    assert config.outputs == OUTPUTS
    assert config.left_context() > 500 < config.right_context()


def test_the_card_is_that_of_the_results(bundled):
    """The numbers of the card, of the benchmarks, and the goal they were to reach."""
    results = json.loads((ROOT / "benchmarks/results/yeast-genes.json").read_text())
    assert results["model_sha256"] == bundled.sha256
    assert bundled.card["results"]["test"]["cds"] == results["results"]["test"]["cds"]
    assert results["results"]["test"]["cds"]["both strands"]["f1"] >= 0.93
    regions = bundled.card["splits"]["test"]["regions"]
    names = [region.split(":")[0] for region in regions]
    assert names == ["chrXIII", "chrXIV", "chrXV", "chrXVI"]


def test_a_gene_on_either_strand_and_no_gene(bundled):
    """A frame of codons that yeast uses most; the same bases in another order."""
    gene = np.array(["ACGT".index(c) for c in "ATG" + COMMON * 12 + "TAA"], np.uint8)
    flank = np.array([0, 3] * 400, np.uint8)

    def called(codes):
        """Share of the bases that are called coding on "+" and on "-"."""
        tokens = np.concatenate([flank, codes, flank]).astype(np.int64)
        x = bundled.model.trunk(torch.from_numpy(tokens)[None])
        z = bundled.model.outputs(x)[0, len(flank) : -len(flank)]
        return [
            float((z[:, OUTPUTS.index(f"CDS{s}")] >= 0).float().mean()) for s in "+-"
        ]

    shuffled = np.random.default_rng(1).permutation(gene)
    assert called(gene) == [pytest.approx(1, abs=0.1), pytest.approx(0, abs=0.1)]
    other = reverse_complement(gene)
    assert called(other) == [pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1)]
    assert max(called(shuffled)) < 0.2
