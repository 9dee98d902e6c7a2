"""Markov models of orders 0 to 16 of the training text, to stand beside human.

Orders 0 to 12 are genomeconv's own (genomeconv/train/bases/markov.py). A table of all
words of 17 letters has no room in memory, so of longer contexts only those are counted
that occur in a text which is judged; interpolation is the same.

Axes: L positions, K orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import Codes, N, reverse_complement
from genomeconv.train.bases.markov import LONGEST, STRENGTHS, Markov

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HIGHEST = 16
_PIECE = 1 << 22


def markov_bits(
    texts: Sequence[Codes],
    development: Codes,
    judged: Sequence[Codes],
    highest: int = HIGHEST,
) -> tuple[list[float], list[Floats]]:
    """Learn from texts and their other strands, and judge.

    Parameters
    ----------
    texts : sequence of (L,) uint8
        What is counted.
    development : (L,) uint8
        Neither counted nor judged: the strength of each order is chosen on it.
    judged : sequence of (L,) uint8

    Returns
    -------
    strengths : list of K float
    bits : list of (K, L) float64
        Of each judged text; NaN for N and for the first base.
    """
    markov = Markov(min(LONGEST, highest))
    for text in texts:
        markov.count(text)
    markov.choose_strengths([development])
    strengths = list(markov.strengths)
    rows = [list(markov.bits(codes)) for codes in (development, *judged)]
    for order in range(len(strengths), highest + 1):
        everything = (development, *judged)
        places = [_words(codes, order) for codes in everything]
        contexts = np.unique(np.concatenate([word[ok] >> 2 for word, ok in places]))
        counts = _count(texts, contexts, order)
        found = [_found(counts, contexts, *place) for place in places]
        last = [row[-1] for row in rows]
        strength = min(
            STRENGTHS, key=lambda a: np.nansum(_raised(last[0], *found[0], a)[1:])
        )
        strengths.append(strength)
        for row, below, pair in zip(rows, last, found, strict=True):
            row.append(_raised(below, *pair, strength))
    out = [np.stack(row) for row in rows[1:]]
    for bits in out:
        bits[:, :1] = np.nan
    return strengths, out


def _words(codes: Codes, order: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return the word that ends at each base, (L,), and whether it is whole."""
    word = np.zeros(len(codes), np.int64)
    whole = np.ones(len(codes), bool)
    whole[:order] = False
    for offset in range(order, -1, -1):
        letter = np.full(len(codes), N, np.uint8)
        letter[offset:] = codes[: len(codes) - offset]
        word = (word << 2) | (letter & 3)
        whole &= letter != N
    return word, whole


def _pieces(text: Codes, order: int) -> Iterator[tuple[Codes, int]]:
    """Yield pieces of both strands and where their new bases begin."""
    for strand in (text, reverse_complement(text)):
        for start in range(0, len(strand), _PIECE):
            low = max(0, start - order)
            yield strand[low : start + _PIECE], start - low


def _count(texts: Sequence[Codes], contexts: Ints, order: int) -> Ints:
    """Return how often each base follows each context, (contexts, 4)."""
    out = np.zeros(4 * len(contexts), np.int64)
    for text in texts:
        for piece, first in _pieces(text, order):
            word, whole = (x[first:] for x in _words(piece, order))
            word = np.sort(word[whole])
            at, known = _find(contexts, word >> 2)
            np.add.at(out, 4 * at[known] + (word[known] & 3), 1)
    return out.reshape(-1, 4)


def _find(contexts: Ints, wanted: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    at = np.minimum(np.searchsorted(contexts, wanted), len(contexts) - 1)
    return at, contexts[at] == wanted


def _found(
    counts: Ints, contexts: Ints, word: Ints, whole: npt.NDArray[np.bool_]
) -> tuple[Ints, Ints]:
    """Return how often each word (L,) and its context (L,) were counted."""
    at, _ = _find(contexts, word >> 2)
    seen = np.where(whole, counts[at, word & 3], 0)
    return seen, np.where(whole, counts.sum(axis=1)[at], 0)


def _raised(below: Floats, seen: Ints, context: Ints, strength: float) -> Floats:
    """Return the bits of an order from those of the order below."""
    return -np.log2((seen + strength * np.exp2(-below)) / (context + strength))
