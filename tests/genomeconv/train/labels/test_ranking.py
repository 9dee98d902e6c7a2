"""Metrics beside their definitions, every threshold tried."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.train.labels.ranking import LIMIT, STEPS, Confusion, Ranking, compared

SCORED = st.lists(
    st.tuples(st.floats(-70, 70, width=32), st.booleans()), min_size=1, max_size=40
)


def rounded(score):
    """The score in steps, rounded down."""
    return np.floor(min(max(float(score), -LIMIT), LIMIT) * STEPS) / STEPS


def average_precision(pairs):
    """Sum of (recall gained) x precision, one threshold a distinct score, O(n^2)."""
    total, gained = sum(label for _, label in pairs), 0.0
    for threshold in {rounded(s) for s, _ in pairs}:
        called = [label for s, label in pairs if rounded(s) >= threshold]
        here = sum(label for s, label in pairs if rounded(s) == threshold)
        gained += here / total * sum(called) / len(called)
    return gained


def ranking(pairs):
    out = Ranking()
    for half in (pairs[::2], pairs[1::2]):
        scores = np.array([s for s, _ in half], np.float32)
        out.add(scores, np.array([label for _, label in half], bool))
    return out


@given(SCORED)
def test_average_precision(pairs):
    found = ranking(pairs).average_precision()
    if any(label for _, label in pairs):
        assert found == pytest.approx(average_precision(pairs), abs=1e-12)
    else:
        assert found is None


@given(SCORED, st.floats(-70, 70), st.booleans())
def test_a_threshold(pairs, threshold, on_a_step):
    """On a step or between two."""
    if on_a_step:
        threshold = round(threshold * STEPS) / STEPS
    threshold = max(-LIMIT, min(LIMIT, threshold))
    called = [rounded(s) >= threshold for s, _ in pairs]
    tp = sum(c and y for c, (_, y) in zip(called, pairs, strict=True))
    fn = sum(y for _, y in pairs) - tp
    fp = sum(called) - tp
    found = ranking(pairs).at(threshold)
    assert (found.tp, found.fp, found.fn) == (tp, fp, fn)


@given(SCORED)
def test_the_best_threshold(pairs):
    found = ranking(pairs)
    tried = {rounded(s) for s, _ in pairs}
    best = max(found.at(t).f1 for t in tried)
    assert found.at(found.best_threshold()).f1 == pytest.approx(best)


def test_zero_is_a_yes_and_just_below_is_none():
    found = ranking([(0.0, True), (-1e-6, True)])
    assert found.at(0.0) == Confusion(1, 0, 1)


def test_infinite_scores_have_their_place():
    found = ranking([(np.inf, True), (-np.inf, False), (3.0, False)])
    assert found.average_precision() == 1.0
    assert found.at(3.0) == Confusion(1, 1, 0)


def test_large_steps_change_little():
    """Beside scores that are not rounded at all."""
    rng = np.random.default_rng(0)
    labels = rng.random(20_000) < 0.01
    scores = rng.normal(size=20_000) + 2.5 * labels
    order = np.argsort(-scores)
    hits = np.cumsum(labels[order])
    precision = hits / np.arange(1, len(hits) + 1)
    exact = precision[labels[order]].mean()
    found = Ranking()
    found.add(scores, labels)
    assert found.average_precision() == pytest.approx(exact, abs=1e-3)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_precision_recall_f1(tp, fp, fn):
    found = Confusion(tp, fp, fn)
    p = tp / (tp + fp) if tp + fp else 0.0
    r = tp / (tp + fn) if tp + fn else 0.0
    assert (found.precision, found.recall) == (p, r)
    assert found.f1 == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)
    assert found + Confusion(1, 2, 3) == Confusion(tp + 1, fp + 2, fn + 3)


def test_masks_compared():
    called = np.array([1, 1, 0, 0, 1], bool)
    right = np.array([1, 0, 1, 0, 1], bool)
    assert compared(called, right) == Confusion(2, 1, 1)
