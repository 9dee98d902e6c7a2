"""Markov models against dictionaries, and bits per base against whole forwards."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv.alphabet import reverse_complement
from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.errors import ModelError
from genomeconv.model import build_model
from genomeconv.train.bases import markov as module
from genomeconv.train.bases.bits import PHASES, Scorer, Tally, markov_bits, tally
from genomeconv.train.bases.markov import STRENGTHS, Markov, longest_order

TEXTS = st.lists(st.integers(0, 4), min_size=1, max_size=80)


def context(codes, i, k, two_sided):
    """Bases of a context, outermost first; None where one is missing or N."""
    offsets = []
    for j in range(k, 0, -1):
        offsets += [-j, j] if two_sided else [-j]
    bases = []
    for offset in offsets:
        if not 0 <= i + offset < len(codes) or codes[i + offset] == 4:
            return None
        bases.append(int(codes[i + offset]))
    return tuple(bases)


def reference(train, test, longest, strengths, two_sided):
    """Bits by order, from dictionaries."""
    words = Counter()
    for text in (train, reverse_complement(train)):
        for i, base in enumerate(text):
            c = context(text, i, longest, two_sided)
            if c is not None and base != 4:
                words[c, int(base)] += 1
    out = np.empty((longest + 1, len(test)))
    step = 2 if two_sided else 1
    for i, base in enumerate(test):
        p = 0.25
        for k in range(longest + 1):
            c = context(test, i, k, two_sided)
            if c is not None and base != 4:
                like = [
                    (w[1], n)
                    for w, n in words.items()
                    if w[0][step * (longest - k) :] == c
                ]
                seen = sum(n for b, n in like if b == base)
                total = sum(n for _, n in like)
                p = (seen + strengths[k] * p) / (total + strengths[k])
            out[k, i] = math.nan if base == 4 else -math.log2(p)
    return out


@given(TEXTS, TEXTS, st.integers(0, 3), st.booleans(), st.sampled_from([7, 1 << 20]))
@settings(max_examples=60)
def test_against_dictionaries(train, test, longest, two_sided, piece):
    train, test = np.array(train, np.uint8), np.array(test, np.uint8)
    markov = Markov(longest, two_sided=two_sided)
    before, module._PIECE = module._PIECE, piece
    markov.count(train)
    module._PIECE = before
    chosen = markov.choose_strengths([test])
    wanted = reference(train, test, longest, markov.strengths, two_sided)
    np.testing.assert_allclose(markov.bits(test), wanted, rtol=1e-9)
    scored = wanted[:, 1:][:, test[1:] != 4]
    if scored.size:
        np.testing.assert_allclose(chosen, scored.mean(axis=1), rtol=1e-9)


def test_the_best_strength_is_chosen():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 4, 500).astype(np.uint8) for _ in range(2))
    markov = Markov(2)
    markov.count(train)
    best = markov.choose_strengths([test])[-1]
    for strength in STRENGTHS:
        markov.strengths[-1] = strength
        assert np.nanmean(markov.bits(test)[-1, 1:]) >= best - 1e-12


def test_pieces_change_nothing(monkeypatch):
    codes = np.random.default_rng(0).integers(0, 5, 300).astype(np.uint8)
    markov = Markov(3)
    markov.count(codes)
    markov.choose_strengths([codes])
    whole = markov.bits(codes)
    whole[:, 0] = np.nan
    monkeypatch.setattr("genomeconv.train.bases.bits._PIECE", 11)
    parts = list(markov_bits(markov, lambda a, b: codes[a:b], 300))
    assert len(parts) > 20
    np.testing.assert_array_equal(np.concatenate([b for _, b in parts], 1), whole)


def test_longest_order():
    assert [longest_order(10**e) for e in (2, 4, 6, 9)] == [4, 7, 10, 12]
    assert longest_order(10**6, two_sided=True) == 5
    with pytest.raises(ValueError, match="words of 14 bases, at most 13"):
        Markov(13)


def lively(**changes):
    config = ModelConfig(
        width=8, layers=2, filters=(ExplicitFilter(taps=9, **changes),), vocabulary=6
    )
    model = build_model(config, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(False).eval()


def whole_bits(model, tokens, codes):
    """Bits of each base from a forward pass of the whole, row by row."""
    logits = model(torch.tensor(tokens[None]).long())[0, :, :4].double()
    p = logits.log_softmax(-1).numpy() / math.log(2)
    return p, [-p[i, c] if c < 4 else math.nan for i, c in enumerate(codes)]


@pytest.mark.parametrize("length", [1, 2, 50, 9000])
def test_bits_of_the_next_base(length):
    model = lively()
    codes = np.random.default_rng(3).integers(0, 5, length).astype(np.uint8)
    p, _ = whole_bits(model, codes, codes)
    wanted = [-p[i, c] if c < 4 else math.nan for i, c in enumerate(codes[1:])]
    parts = list(Scorer(model).bits(lambda a, b: codes[a:b], length))
    got = np.concatenate([bits for _, bits in parts]) if parts else np.empty(0)
    assert not parts or parts[0][0] == 1
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_bits_of_hidden_bases():
    model = lively(right=4)
    codes = np.random.default_rng(3).integers(0, 5, 9000).astype(np.uint8)
    got = np.full(9000, np.nan)
    for start, bits in Scorer(model, 5).bits(lambda a, b: codes[a:b], 9000):
        known = ~np.isnan(bits)
        at = start + np.flatnonzero(known)
        assert np.isnan(got[at]).all()
        got[at] = bits[known]
    for phase in range(PHASES):
        tokens = codes.copy()
        tokens[phase::PHASES] = 5
        _, wanted = whole_bits(model, tokens, codes)
        np.testing.assert_allclose(
            got[phase::PHASES], wanted[phase::PHASES], rtol=1e-4, atol=1e-5
        )


def test_models_that_predict_nothing():
    with pytest.raises(ModelError, match="names no row for hidden bases"):
        Scorer(lively(right=4))


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 39), st.integers(1, 5)), max_size=3),
)
def test_sums_by_class(values, piece, regions):
    bits = np.array([math.nan if v == 9 else v for v in values], float)
    stretches, end = [], 0
    for start, size in sorted(regions):
        if start >= end:
            stretches.append((start, start + size))
            end = start + size
    classes = {"x": tuple(zip(*stretches, strict=True))} if stretches else {}
    parts = [(i, bits[i : i + piece]) for i in range(0, len(bits), piece)]
    out = tally(parts, len(bits), classes)
    assert isinstance(out, Tally)
    inside = np.zeros(len(bits), bool)
    for a, b in stretches:
        inside[a:b] = True
    for name, chosen in (("all", np.ones(len(bits), bool)), ("x", inside)):
        if name in out.counts:
            assert out.counts[name] == (chosen & ~np.isnan(bits)).sum()
            assert out.sums[name] == pytest.approx(np.nansum(bits[chosen]))
