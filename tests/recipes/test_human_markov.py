"""The Markov models of long contexts in recipes/human, against counting by hand."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from genomeconv.train.bases.markov import Markov

PATH = Path(__file__).parents[2] / "recipes/human/markov.py"


@pytest.fixture
def recipe():
    spec = importlib.util.spec_from_file_location("human_markov", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def texts():
    rng = np.random.default_rng(7)
    repeat = rng.integers(0, 4, 400, dtype=np.uint8)
    out = []
    for _ in range(4):
        text = np.concatenate([repeat[rng.integers(300) :][:90] for _ in range(12)])
        text[rng.random(len(text)) < 0.02] = 4
        out.append(text)
    return out


def words_of(text, order):
    """Return the word that ends at each base, None where it is cut or holds N."""
    letters = "".join("ACGTN"[code] for code in text)
    found = [letters[max(0, i - order) : i + 1] for i in range(len(letters))]
    return [w if len(w) == order + 1 and "N" not in w else None for w in found]


def by_hand(learned, below, judged, order, strength):
    other = [np.where(t < 4, 3 - t, t)[::-1] for t in learned]
    words = Counter(w for t in [*learned, *other] for w in words_of(t, order) if w)
    context = Counter()
    for word, n in words.items():
        context[word[:-1]] += n
    return np.array(
        [
            -np.log2(
                (words[w] + strength * 2.0**-b) / (context[w[:-1]] + strength)
                if w
                else 2.0**-b
            )
            for w, b in zip(words_of(judged, order), below, strict=True)
        ]
    )


@pytest.mark.parametrize("piece", [64, 1 << 22])
def test_orders_beyond_the_table_are_counted_and_interpolated(
    recipe, texts, monkeypatch, piece
):
    learned, development, judged = texts[:2], texts[2], texts[3]
    monkeypatch.setattr(recipe, "LONGEST", 3)
    monkeypatch.setattr(recipe, "_PIECE", piece)
    strengths, (found,) = recipe.markov_bits(learned, development, [judged], 6)

    table = Markov(3)
    for text in learned:
        table.count(text)
    table.choose_strengths([development])
    assert strengths[:4] == table.strengths
    below, watched = table.bits(judged)[3], table.bits(development)[3]
    for order in (4, 5, 6):
        totals = {
            a: np.nansum(by_hand(learned, watched, development, order, a)[1:])
            for a in recipe.STRENGTHS
        }
        assert strengths[order] == min(totals, key=totals.get)
        strength = strengths[order]
        watched = by_hand(learned, watched, development, order, strength)
        below = by_hand(learned, below, judged, order, strength)
        np.testing.assert_allclose(found[order, 1:], below[1:], rtol=1e-12)
    assert np.isnan(found[:, 0]).all()
    assert np.array_equal(np.isnan(found[6, 1:]), judged[1:] == 4)
    assert np.nanmean(found[6]) < np.nanmean(found[2]) - 0.5
