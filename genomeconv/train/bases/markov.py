"""Markov models of all orders up to a longest, interpolated: what a network must beat.

Probabilities are interpolated by Dirichlet back-off,

    p_k(b | c) = (n(c b) + a_k p_{k-1}(b | c, its outermost base left out))
                 / (n(c) + a_k),

from p_{-1} uniform (MacKay and Bauman Peto 1995), with a_k chosen for each order in
turn on text that was not counted. Both strands are counted. One-sided, c are the k
bases before b; two-sided, the k bases before and the k behind it.

Axes: L positions, K orders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import Codes, N, reverse_complement

LONGEST = 12
"""Longest context of one-sided models: 4^13 counts are 268 MB."""
STRENGTHS = tuple(2.0**e for e in range(-2, 11))
_PIECE = 1 << 20
_LARGEST_WORD = LONGEST + 1

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def longest_order(bases: int, *, two_sided: bool = False) -> int:
    """Return the longest context worth counting in so many bases."""
    letters = min(_LARGEST_WORD, max(3, int(math.log(max(bases, 4), 4)) + 2))
    return (letters - 1) // 2 if two_sided else letters - 1


class Markov:
    """Interpolated models of orders 0 to K - 1.

    Parameters
    ----------
    longest : int
        Longest context in bases, on each side.
    two_sided : bool
        Whether bases behind the one predicted are seen.
    """

    def __init__(self, longest: int, *, two_sided: bool = False) -> None:
        self.longest = longest
        self.two_sided = two_sided
        letters = 1 + (2 if two_sided else 1) * longest
        if letters > _LARGEST_WORD:
            raise ValueError(f"words of {letters} bases, at most {_LARGEST_WORD}")
        self._counts: list[Counts] = [np.zeros(4**letters, np.uint32)]
        self.strengths: list[float] = []

    def count(self, text: Codes) -> None:
        """Count the words of a text and of its other strand."""
        margin = self.longest
        for start in range(0, len(text), _PIECE):
            low = max(0, start - margin)
            piece = text[low : start + _PIECE + margin]
            inside = slice(start - low, start - low + _PIECE)
            for strand, where in (
                (piece, inside),
                (reverse_complement(piece), _mirrored(inside, len(piece))),
            ):
                *_, (number, called) = self._words(strand)
                number, called = number[where], called[where]
                np.add.at(self._counts[-1], number[called], np.uint32(1))

    def choose_strengths(self, texts: Sequence[Codes]) -> list[float]:
        """Choose a_k for each order by the bits per base on texts not counted.

        To be called when all is counted.

        Returns
        -------
        list of float
            Bits per base on these texts, by order; the first base of each is left out.
        """
        self._derive()
        self.strengths = []
        out: list[float] = []
        p = [np.full(len(text), 0.25) for text in texts]
        scored = [np.flatnonzero(text[1:] != N) + 1 for text in texts]
        total = max(1, sum(map(len, scored)))
        for words in zip(*map(self._words, texts), strict=True):
            counts = self._counts[len(out)]
            found = [_Found(counts, *word) for word in words]
            bits = {
                a: sum(
                    float(-np.log2(f.raised(q, a)[s]).sum())
                    for f, q, s in zip(found, p, scored, strict=True)
                )
                for a in STRENGTHS
            }
            best = min(STRENGTHS, key=bits.__getitem__)
            p = [f.raised(q, best) for f, q in zip(found, p, strict=True)]
            self.strengths.append(best)
            out.append(bits[best] / total)
        return out

    def bits(self, codes: Codes) -> Floats:
        """Return -log2 p of each base by each order, (K, L); NaN where it is N.

        Where a context holds N, or is cut by an end, the order below stays.
        """
        if not self.strengths:
            raise ValueError("choose_strengths comes first")
        out = np.empty((self.longest + 1, len(codes)))
        p = np.full(len(codes), 0.25)
        for k, word in enumerate(self._words(codes)):
            p = _Found(self._counts[k], *word).raised(p, self.strengths[k])
            out[k] = -np.log2(p)
        out[:, codes == N] = np.nan
        return out

    def _derive(self) -> None:
        """Count shorter words by those that hold them."""
        counts = [self._counts[-1]]
        for _ in range(self.longest):
            longer = counts[0].reshape(16 if self.two_sided else 4, -1)
            counts.insert(0, longer.sum(axis=0, dtype=np.uint32))
        self._counts = counts

    def _words(self, codes: Codes) -> Iterator[tuple[Ints, Bools]]:
        """Yield by order the word of each base (L,), and which are whole, without N.

        The base is the last digit of a number in base 4; each order puts the bases
        one farther off in front.
        """
        number = (codes & 3).astype(np.int64)
        called = codes != N
        yield number, called
        unit = 4
        for k in range(1, self.longest + 1):
            for offset in (k, -k) if self.two_sided else (-k,):
                digit = _shifted(codes, offset)
                number = number + (digit & 3).astype(np.int64) * unit
                called = called & (digit != N)
                unit *= 4
            yield number, called


class _Found:
    """How often the words of a text, and their contexts, were counted."""

    def __init__(self, counts: Counts, number: Ints, called: Bools) -> None:
        self._at = np.flatnonzero(called)
        words = number[self._at]
        self._seen = counts[words].astype(np.float64)
        self._context = counts.reshape(-1, 4)[words >> 2].sum(axis=1, dtype=np.float64)

    def raised(self, p: Floats, strength: float) -> Floats:
        """Return probabilities of this order from those of the order below."""
        out = p.copy()
        at = self._at
        out[at] = (self._seen + strength * p[at]) / (self._context + strength)
        return out


def _shifted(codes: Codes, offset: int) -> Codes:
    """Return the code ``offset`` positions on, N beyond the ends."""
    out = np.full_like(codes, N)
    if abs(offset) < len(codes):
        if offset > 0:
            out[:-offset] = codes[offset:]
        else:
            out[-offset:] = codes[:offset]
    return out


def _mirrored(inside: slice, length: int) -> slice:
    """Return the slice that holds the same bases when read from the other strand."""
    stop = min(inside.stop, length)
    return slice(length - stop, length - inside.start)
