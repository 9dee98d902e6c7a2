"""What a model and its baselines are judged by, beside whole passes and slow scans."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.alphabet import reverse_complement
from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.genes import GeneCosts
from genomeconv.model import build_model
from genomeconv.train.labels.annotation import OUTPUTS
from genomeconv.train.labels.baselines import (
    choose_shortest,
    longest_frames,
    open_frames,
    weight_matrix,
)
from genomeconv.train.labels.evaluate import averages
from genomeconv.train.labels.files import read_annotation
from genomeconv.train.labels.judge import (
    BONUSES,
    START_COSTS,
    WEIGHTS,
    CodingScore,
    Score,
    choose_costs,
    judge_annotation,
    judge_model,
)
from genomeconv.train.labels.labeller import Labeller
from genomeconv.train.labels.ranking import Ranking

LETTERS = "ACGTN"
TEXTS = st.lists(
    st.sampled_from(["ATG", "TAA", "TAG", "TGA", "A", "C", "GCA", "N"]), max_size=40
).map("".join)


def coded(text):
    return np.array([LETTERS.index(c) for c in text], np.uint8)


@pytest.fixture
def model():
    config = ModelConfig(
        width=8,
        layers=2,
        filters=(ExplicitFilter(taps=9, right=4),),
        head="none",
        outputs=OUTPUTS,
    )
    built = build_model(config, 3).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in built.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return built


def test_logits_see_the_whole_sequence(model, corpus):
    """Beside one pass over all of it, though only a stretch is asked for."""
    codes = corpus.codes(0, 0, 5000)
    x = model.trunk(torch.tensor(np.array(codes)).long()[None])
    right = model.outputs(x)[0].numpy()
    parts = Labeller(model).logits(partial(corpus.codes, 0), 5000, 700, 4321)
    at = 700
    for first, z in parts:
        assert first == at
        np.testing.assert_allclose(z, right[at : at + len(z)], atol=1e-4)
        at += len(z)
    assert at == 4321


def test_a_model_judged(model, corpus, tmp_path):
    """Average precision and F1 again, from one pass and a sort."""
    path = tmp_path / "a.gff3"
    path.write_text(
        "".join(
            f"chr1\tx\tCDS\t{a}\t{a + 60}\t.\t{s}\t0\tParent=g{a // 400}{s}\n"
            for a in range(700, 4800, 200)
            for s in "+-"[a % 400 == 100 :][:1]
        )
    )
    annotation = read_annotation(path, corpus.length_of, "x", lambda *_: None)
    found = judge_model(
        Labeller(model), corpus, annotation, [(0, 650, 4900)], GeneCosts()
    )
    codes = corpus.codes(0, 0, 5000)
    x = model.trunk(torch.tensor(np.array(codes)).long()[None])
    z = np.floor(model.outputs(x)[0].numpy().astype(float) * 512)[650:4900]
    masks = annotation.masks(0, 650, 4900)
    for name in ("CDS+", "CDS-", "intergenic+"):
        i = OUTPUTS.index(name)
        right = (masks >> i & 1).astype(bool)
        order = np.argsort(-z[:, i], kind="stable")
        hits = np.cumsum(right[order])
        # Equal scores are one threshold: its last place stands for all of it.
        ranked = z[order, i]
        last = np.searchsorted(-ranked, -ranked, side="right") - 1
        precision = (hits / np.arange(1, len(hits) + 1))[last]
        assert found["average_precision"][name] == pytest.approx(
            precision[right[order]].mean(), abs=1e-3
        )
    tp = fp = fn = 0
    for name in ("CDS+", "CDS-"):
        i = OUTPUTS.index(name)
        right, called = (masks >> i & 1).astype(bool), z[:, i] >= 0
        tp += int((right & called).sum())
        fp += int((~right & called).sum())
        fn += int((right & ~called).sum())
    assert found["cds"]["both strands"]["f1"] == pytest.approx(
        2 * tp / (2 * tp + fp + fn), abs=2e-3
    )


def test_strand_and_base_are_two_things():
    score = CodingScore()
    plus, minus = np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 0], bool)
    score.add([minus, plus], [plus, minus], np.ones(4, bool))
    found = score.results()
    assert found["both strands"]["f1"] == 0.0
    assert found["either strand"]["f1"] == 1.0
    score = Score()
    assert score.results()["average_precision"] == {}


@pytest.mark.parametrize("part", [(0, 0, 5000), (0, 650, 900), (0, 4000, 5000)])
def test_both_strands_averaged(model, corpus, part):
    """Beside a whole pass over the sequence and one over its reverse complement."""
    record, start, stop = part
    codes = np.asarray(corpus.codes(record, 0, corpus.lengths[record]))

    def whole(codes):
        x = model.trunk(torch.from_numpy(codes.astype(np.int64))[None])
        return model.outputs(x)[0].numpy()

    plus, minus = whole(codes), whole(reverse_complement(codes).copy())[::-1]
    names = [n[:-1] + "+-"[n.endswith("+")] for n in OUTPUTS]
    minus = minus[:, [OUTPUTS.index(n) for n in names]]
    found = Labeller(model, average=True).whole(corpus, part)
    right = ((plus + minus) / 2)[start:stop]
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)
    assert np.abs(found - plus[start:stop]).max() > 0.01


def test_a_card_says_whether_to_average():
    said = {"training": {"objective": {"average": True}}}
    assert averages(said)
    assert not averages({"training": {"objective": {"average": False}}})
    assert not averages({"training": {"objective": {}}})
    assert not averages({})


def test_costs_are_chosen_by_f1(model, corpus, tmp_path):
    """No other of those tried is better on the same text."""
    path = tmp_path / "a.gff3"
    path.write_text("chr1\tx\tCDS\t801\t2900\t.\t+\t0\tParent=g\n")
    annotation = read_annotation(path, corpus.length_of, "x", lambda *_: None)
    parts = [(0, 700, 3200)]
    chosen, threshold = choose_costs(Labeller(model), corpus, annotation, parts)

    def f1(costs):
        found = judge_model(Labeller(model), corpus, annotation, parts, costs)
        return found["cds_decoded"]["both strands"]["f1"]

    tried = [
        GeneCosts(start=s, bonus=b, site=site, intron=intron)
        for s in START_COSTS
        for b in BONUSES
        for site, intron in WEIGHTS
    ]
    assert chosen in tried
    assert f1(chosen) == max(map(f1, tried)) > 0

    def raw(t):
        found = judge_model(Labeller(model), corpus, annotation, parts, chosen, t)
        return found["cds_chosen"]["both strands"]["f1"]

    assert raw(threshold) == max(map(raw, [threshold, *np.linspace(-2, 2, 21)])) > 0


def test_augustus_as_it_prints(corpus, tmp_path):
    """Its own format: bare names on the lines of genes, the protein as comments."""
    ours, theirs = tmp_path / "a.gff3", tmp_path / "augustus.gff"
    ours.write_text("chr1\tx\tCDS\t801\t900\t.\t+\t0\tParent=g\n")
    theirs.write_text(
        "# This output was generated with AUGUSTUS (version 3.5.0).\n"
        "chr1\tAUGUSTUS\tgene\t801\t950\t0.9\t+\t.\tg1\n"
        "chr1\tAUGUSTUS\ttranscript\t801\t950\t0.9\t+\t.\tg1.t1\n"
        'chr1\tAUGUSTUS\tstart_codon\t801\t803\t.\t+\t0\ttranscript_id "g1.t1"; '
        'gene_id "g1";\n'
        'chr1\tAUGUSTUS\tCDS\t801\t950\t0.9\t+\t0\ttranscript_id "g1.t1"; '
        'gene_id "g1";\n'
        "# protein sequence = [MAAAA]\n# end gene g1\n"
    )
    a, b = (
        read_annotation(p, corpus.length_of, "x", lambda *_: None)
        for p in (ours, theirs)
    )
    found = judge_annotation(b, corpus, a, [(0, 700, 1200)])
    assert found["+"] == {"f1": 0.8, "precision": 0.6667, "recall": 1.0}


@given(TEXTS, st.sampled_from([6, 9, 15]))
def test_open_frames(text, shortest):
    """Beside a scan codon by codon."""
    right = []
    for frame in range(3):
        start = None
        for i in range(frame, len(text) - 2, 3):
            codon = text[i : i + 3]
            if codon == "ATG" and start is None:
                start = i
            elif codon in ("TAA", "TAG", "TGA"):
                if start is not None and i + 3 - start >= shortest:
                    right.append((start, i + 3))
                start = None
    assert open_frames(coded(text), shortest) == sorted(right)


@given(TEXTS)
def test_longest_frames_of_both_strands(text):
    """Greedy, by a slow loop over sets."""
    codes, size = coded(text), len(text)
    frames = [(b - a, 0, a, b) for a, b in open_frames(codes, 6)]
    turned = open_frames(reverse_complement(codes), 6)
    frames += [(b - a, 1, size - b, size - a) for a, b in turned]
    taken, right = set(), [set(), set()]
    for _, strand, a, b in sorted(frames, reverse=True):
        if len(taken & set(range(a, b))) <= 0.2 * (b - a):
            right[strand] |= set(range(a, b))
            taken |= set(range(a, b))
    found = longest_frames(codes, 6)
    assert [set(np.flatnonzero(mask).tolist()) for mask in found] == right


@pytest.mark.parametrize("shared", [6, 7])
def test_a_fifth_may_be_shared(shared):
    """A frame of 30 bases beside one of 60: the first gives way at more than 6."""
    long, short = "ATG" + "GCA" * 18 + "TAA", "ATG" + "CAC" * 8 + "TGA"
    right = np.zeros(60 + 30 - shared, bool)
    right[: 60 if shared == 7 else len(right)] = True
    frames = {9: [(0, 60), (60 - shared, 90 - shared)]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "genomeconv.train.labels.baselines.open_frames",
            lambda codes, shortest: frames.pop(shortest, []),
        )
        found = longest_frames(coded((long + short)[: len(right)]), 9)
    assert (found[0] == right).all()
    assert not found[1].any()


def test_the_length_is_chosen_on_the_training_text():
    """Genes of 300 bases and chance frames of 150: one length tells them apart."""
    gene, chance = "ATG" + "GCA" * 98 + "TAA", "ATG" + "GCA" * 48 + "TAA"
    text = ("C" * 20).join([gene, chance, gene, chance, chance])
    right = np.zeros(len(text), bool)
    for i in range(len(text)):
        if text.startswith(gene, i):
            right[i : i + len(gene)] = True
    none = np.zeros(len(text), bool)
    assert 150 < choose_shortest([(coded(text), [right, none])]) <= 300


def test_a_weight_matrix():
    """Beside counts written out; what hangs over the ends counts nothing."""
    text = "CCGTACCGTTCCGTANCC"
    codes, sites = coded(text), np.zeros(18, bool)
    sites[[2, 7, 12]] = True
    matrix = weight_matrix([(codes, sites)], 1, 3)
    background = np.array([text.count(c) + 1 for c in "ACGT"], float)
    background /= background.sum()
    columns = [
        {c: [text[p + k] for p in (2, 7, 12)].count(c) for c in "ACGT"}
        for k in (-1, 0, 1, 2)
    ]

    def score(i):
        total = 0.0
        for k, counts in zip((-1, 0, 1, 2), columns, strict=True):
            if 0 <= i + k < len(text) and text[i + k] != "N":
                j = "ACGT".index(text[i + k])
                p = (counts[text[i + k]] + background[j]) / 4
                total += np.log(p / background[j])
        return total

    right = [score(i) for i in range(len(text))]
    np.testing.assert_allclose(matrix.scores(codes), right, atol=1e-12)
    ranking = Ranking()
    ranking.add(matrix.scores(codes), sites)
    assert ranking.average_precision() == 1.0
