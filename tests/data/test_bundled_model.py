"""The bundled model: small enough, and better than counting on what it never saw."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import genomeconv_data
from genomeconv.alphabet import LETTERS
from genomeconv.stream import TrunkStream
from genomeconv.weights import LoadedModel, load_model

DATA = Path(genomeconv_data.__file__).parent
ROOT = Path(__file__).parents[2]
PIECE = slice(1_000_000, 1_030_000)
"""Of the dystrophin gene region, which is no part of the training text."""
ORDER = 3


@pytest.fixture(scope="module")
def bundled() -> LoadedModel:
    return load_model("human")


@pytest.fixture(scope="module")
def region() -> np.ndarray:
    with gzip.open(DATA / "genomes" / "GRCh37.DMD.fa.gz") as file:
        letters = b"".join(file.read().upper().split(b"\n")[1:])
    table = np.full(256, 4, np.uint8)
    table[list(LETTERS)] = range(len(LETTERS))
    return table[np.frombuffer(letters, np.uint8)]


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model_bits(loaded: LoadedModel, codes: np.ndarray) -> float:
    """Bits a base of all bases but the first ORDER."""
    stream = TrunkStream(loaded.model.trunk)
    tiles = stream.run(lambda start, stop: codes[start:stop], len(codes))
    embeddings = torch.cat([tile.clone() for _, tile in tiles])
    table = loaded.model.trunk.embedding.weight[:4]
    log_p = torch.log_softmax(embeddings @ table.T, dim=-1)
    target = torch.from_numpy(codes[ORDER:].astype(np.int64))
    scored = log_p[ORDER - 1 : -1].gather(1, target[:, None])
    return float(-scored.mean()) / math.log(2)


def markov_bits(text: np.ndarray, codes: np.ndarray) -> float:
    """The same of counts of the words of ORDER + 1 bases in ``text``."""

    def words(x: np.ndarray) -> np.ndarray:
        x = x.astype(np.int64)
        return sum(
            x[j : len(x) - ORDER + j] * 4 ** (ORDER - j) for j in range(ORDER + 1)
        )

    counts = np.bincount(words(text), minlength=4 ** (ORDER + 1)) + 1.0
    p = counts / np.repeat(counts.reshape(-1, 4).sum(1), 4)
    return float(-np.log2(p[words(codes)]).mean())


def test_folder_is_under_8_mb(bundled: LoadedModel) -> None:
    assert sum(f.stat().st_size for f in bundled.path.iterdir()) < 8_000_000


def test_the_card_is_that_of_the_results(bundled: LoadedModel) -> None:
    """What was learned from, what was held out, and whose numbers are published."""
    card = bundled.card
    results = json.loads((ROOT / "benchmarks/results/human.json").read_text())
    assert results["model_sha256"] == bundled.sha256
    regions = {part: card["splits"][part]["regions"] for part in card["splits"]}
    assert not [r for r in regions["train"] if not r.startswith(("chr20:", "chrX:"))]
    assert [r.split(":")[0] for r in regions["test"]] == ["chr4", "chr22"]
    whole = {r["sequence"]: r for r in results["bits_per_base"] if r["class"] == "all"}
    bases = sum(r["bases"] for r in whole.values())
    mean = sum(r["bases"] * r["model"] for r in whole.values()) / bases
    assert card["results"]["test"]["bits_per_base"] == pytest.approx(mean, abs=2e-4)


@pytest.mark.usefixtures("one_thread")
def test_predicts_better_than_counts_of_words_around_it(
    bundled: LoadedModel, region: np.ndarray
) -> None:
    assert (region < 4).all()
    codes = region[PIECE]
    elsewhere = np.concatenate([region[: PIECE.start], region[PIECE.stop :]])
    assert model_bits(bundled, codes) < markov_bits(elsewhere, codes) - 0.02


@pytest.mark.usefixtures("one_thread")
def test_shuffled_bases_are_not_predicted(
    bundled: LoadedModel, region: np.ndarray
) -> None:
    codes = np.random.default_rng(1).permutation(region[PIECE])
    share = np.bincount(codes, minlength=4) / len(codes)
    entropy = -(share * np.log2(share)).sum()
    assert model_bits(bundled, codes) > entropy - 0.01


def test_embeddings_differ_with_what_stands_before(
    bundled: LoadedModel, region: np.ndarray
) -> None:
    codes = region[PIECE.start : PIECE.start + 2000]
    embeddings = TrunkStream(bundled.model.trunk).run_together([codes])[0]
    for base in range(4):
        of_base = embeddings[torch.from_numpy(codes == base)]
        assert of_base.std(dim=0).mean() > 0.1 * embeddings.std(dim=0).mean()
