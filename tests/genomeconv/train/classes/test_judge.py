"""Metrics of classes beside other ways to count them; k-mers beside plain counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv.train.classes.judge import Baselines, auroc, matthews, metrics
from genomeconv.train.classes.kmers import best_fit, fit

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed, size):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 40))
    found = rng.dirichlet(np.ones(size), count).round(2)
    return found, rng.integers(0, size, count)


@given(SEEDS, st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_metrics(seed, size):
    """Accuracy and F1 from their definitions, one sequence and class at a time."""
    found, right = drawn(seed, size)
    row = metrics(found, right)
    called = [max(range(size), key=lambda c: (p[c], -c)) for p in found.tolist()]
    pairs = list(zip(called, right.tolist(), strict=True))
    assert row["accuracy"] == round(sum(a == b for a, b in pairs) / len(pairs), 4)
    scores = []
    for c in range(size):
        tp = sum(a == b == c for a, b in pairs)
        fp = sum(a == c != b for a, b in pairs)
        fn = sum(b == c != a for a, b in pairs)
        if tp + fp + fn:
            scores.append(2 * tp / (2 * tp + fp + fn))
    assert row["macro_f1"] == pytest.approx(sum(scores) / len(scores), abs=1e-4)
    assert ("auroc" in row) == (size == 2)


@given(SEEDS, st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_matthews_is_a_correlation(seed, size):
    """Of the indicators of the classes, their covariances added up (Gorodkin 2004)."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, size, (2, 30))
    table = np.zeros((size, size), np.int64)
    np.add.at(table, (a, b), 1)
    x, y = np.eye(size)[a], np.eye(size)[b]
    x, y = x - x.mean(0), y - y.mean(0)
    spread = math.sqrt((x * x).sum() * (y * y).sum())
    wanted = float((x * y).sum()) / spread if spread else 0.0
    assert matthews(table) == pytest.approx(wanted, abs=1e-12)


def test_matthews_of_two_classes():
    """The textbook formula, and a constant call is worth nothing."""
    tp, fp, fn, tn = 6, 1, 2, 3
    wanted = (tp * tn - fp * fn) / math.sqrt(7 * 8 * 4 * 5)
    assert matthews(np.array([[tn, fp], [fn, tp]])) == pytest.approx(wanted)
    assert matthews(np.array([[5, 0], [7, 0]])) == 0.0
    big = np.array([[10**6, 1], [1, 10**6]]) * 10**3
    assert matthews(big) == pytest.approx(1, abs=1e-5)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_auroc(seed):
    """Every pair of a yes and a no, ties half."""
    found, right = drawn(seed, 2)
    scores, yes = found[:, 1], right == 1
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in scores[yes]
        for b in scores[~yes]
    ]
    wanted = pytest.approx(sum(wins) / len(wins)) if wins else None
    assert auroc(scores, yes) == wanted


def test_kmers_are_counted_on_one_strand_and_without_n():
    """Sequences of the same k-mers have the same probabilities, others not."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 4, 30).astype(np.uint8) for _ in range(40)]
    classes = [int((t == 0).sum() > 7) for t in texts]
    model = fit(texts, classes, 2, 1e-2, 2)
    a = np.array([0, 1, 4, 2, 3, 3], np.uint8)
    counts = np.zeros(16)
    for first, second in ((0, 1), (2, 3), (3, 3)):
        counts[4 * first + second] += 1
    z = counts @ model.weights.numpy() + model.bias.numpy()
    wanted = np.exp(z) / np.exp(z).sum()
    assert model.probabilities([a])[0] == pytest.approx(wanted, abs=1e-6)
    empty = np.array([4, 4, 4], np.uint8)
    z = model.bias.numpy()
    wanted = np.exp(z) / np.exp(z).sum()
    assert model.probabilities([empty, a])[0] == pytest.approx(wanted, abs=1e-6)


def test_the_regression_is_at_its_optimum():
    """The gradient of cross-entropy and penalty, written out, is next to nothing."""
    rng = np.random.default_rng(3)
    texts = [rng.integers(0, 4, 25).astype(np.uint8) for _ in range(60)]
    classes = rng.integers(0, 3, 60)
    strength = 0.1
    model = fit(texts, classes.tolist(), 2, strength, 3)
    x = np.zeros((60, 16))
    for row, text in zip(x, texts, strict=True):
        np.add.at(row, 4 * text[:-1].astype(int) + text[1:], 1)
    p = model.probabilities(texts)
    error = (p - np.eye(3)[classes]) / 60
    gradient = x.T @ error + strength * model.weights.numpy()
    assert np.abs(gradient).max() < 1e-4
    assert np.abs(error.sum(0)).max() < 1e-4


def test_the_best_fit_is_chosen_on_what_is_watched():
    """Classes by a word of five letters: longer words do better than words of four."""
    rng = np.random.default_rng(5)
    word = np.array([0, 3, 0, 2, 1], np.uint8)
    texts, classes = [], []
    for i in range(300):
        text = rng.integers(0, 4, 40).astype(np.uint8)
        at = int(rng.integers(35))
        text[at : at + 5] = word if i % 2 else word[[4, 3, 2, 1, 0]]
        texts.append(text)
        classes.append(i % 2)
    chosen = best_fit(texts[:200], classes[:200], texts[200:], classes[200:], 2)
    right = chosen.probabilities(texts[200:]).argmax(1) == classes[200:]
    assert right.mean() > 0.9
    losses = {
        k: -np.log(
            fit(texts[:200], classes[:200], k, chosen.strength, 2).probabilities(
                texts[200:]
            )[np.arange(100), classes[200:]]
        ).mean()
        for k in (4, 5, 6)
    }
    assert chosen.k == min(losses, key=losses.get)


def test_the_majority_is_that_of_the_training_sequences():
    texts = [np.array([c] * 9, np.uint8) for c in (0, 0, 0, 1)]
    baselines = Baselines((texts, [1, 1, 1, 0]), (texts, [1, 1, 1, 0]), 2)
    found = baselines.metrics(texts, np.array([0, 0, 1, 0]))
    assert found["majority"]["accuracy"] == 0.25
    assert found["majority"]["auroc"] == 0.5
    assert found["majority"]["matthews"] == 0.0
