"""Splits share no base, keep their distance, and say what is wrong."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.errors import DataError, ModelError
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import (
    Stretch,
    bases,
    describe,
    joined,
    make_splits,
    subtract,
    widened,
)

SIZE = 60


@st.composite
def stretches(draw):
    out = []
    for _ in range(draw(st.integers(0, 6))):
        a = draw(st.integers(0, SIZE - 1))
        b = draw(st.integers(a + 1, SIZE))
        out.append(Stretch(draw(st.integers(0, 1)), a, b))
    return out


def mask(parts):
    out = np.zeros((2, SIZE), bool)
    for record, a, b in parts:
        out[record, a:b] = True
    return out


@given(stretches(), stretches(), st.integers(0, 9))
def test_interval_arithmetic(left, right, gap):
    left, right = joined(left), joined(right)
    assert bases(left) == mask(left).sum()
    cut = subtract(left, right)
    assert (mask(cut) == mask(left) & ~mask(right)).all()
    assert bases(cut) == mask(cut).sum()
    near = mask(widened(right, gap))
    for record, i in np.argwhere(mask(right)):
        assert near[record, max(0, i - gap) : i + gap + 1].all()
    assert all(a < b for _, a, b in cut)


@given(st.integers(0, 2**32), st.integers(100, 900), st.sampled_from([0.0, 0.1, 0.4]))
def test_fractions(corpus_of, seed, block, fraction):
    config, corpus = corpus_of(
        f"split.seed={seed}", f"split.block={block}", f"split.test_fraction={fraction}"
    )
    splits = make_splits(config, corpus)
    placed = sorted((*s, part) for part, found in splits.items() for s in found)
    for (record, _, b, part), (other, c, _, behind) in pairwise(placed):
        assert record != other or c - b >= (30 if part != behind else 1)
    lengths = corpus.lengths
    assert all(0 <= a < b <= lengths[r] for r, a, b, _ in placed)
    assert bool(splits["test"]) == (fraction > 0)
    assert splits == make_splits(config, corpus)


@pytest.fixture
def regions(make_config, corpus):
    def make(*settings):
        return make_splits(
            make_config("split.block=0", "split.by=regions", *settings), corpus
        )

    return make


def test_regions(regions, corpus):
    splits = regions('split.valid=["chr1:1,001-1,500"]', 'split.test=["chr2"]')
    assert describe(splits, corpus) == {
        "train": {
            "bases": 970 + 3470 + 90,
            "regions": ["chr1:1-970", "chr1:1531-5000", "short:1-90"],
        },
        "valid": {"bases": 500, "regions": ["chr1:1001-1500"]},
        "test": {"bases": 3000, "regions": ["chr2:1-3000"]},
    }


def test_bed(make_config, corpus, tmp_path):
    (tmp_path / "a.bed").write_text("chr1\t0\t2000\nchr1\t1000\t3000\n")
    settings = ("split.by=bed", f'split.train=["{tmp_path / "a.bed"}"]')
    splits = make_splits(make_config(*settings), corpus)
    assert splits == {"train": [Stretch(0, 0, 3000)], "valid": [], "test": []}


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            ['split.train=["chr1"]', 'split.valid=["chr1:5-9"]'],
            ModelError,
            "config: split.train and split.valid share chr1:5-9; a base belongs to one "
            "split",
        ),
        (
            ['split.valid=["chr3"]'],
            DataError,
            "region 'chr3': no sequence 'chr3' in ",
        ),
        (
            ['split.train=["chr1:1-63"]'],
            ModelError,
            "config: data.window must be at most 63 bases, the longest stretch to "
            "learn from, got 64",
        ),
        (
            ['split.valid=["chr2:11-20"]', 'split.test=["chr2:40-90"]'],
            ModelError,
            "config: split.gap leaves nothing of split.valid; make split.gap smaller",
        ),
    ],
)
def test_refusals(regions, settings, kind, message):
    with pytest.raises(kind) as caught:
        regions(*settings)
    assert str(caught.value).startswith(message)


def test_no_blocks_left_to_learn_from(make_config, tmp_path, helpers):
    (tmp_path / "one.fa").write_text(">one\n" + "ACGT" * 100 + "\n")
    config = make_config(f'data.fasta=["{tmp_path / "one.fa"}"]')
    with pytest.raises(ModelError) as caught:
        make_splits(config, Corpus.open(config.data, helpers.quiet))
    assert str(caught.value) == (
        "config: split.block must leave blocks to learn from, got 1 blocks of about "
        "800 bases; make split.block or data.window smaller"
    )
