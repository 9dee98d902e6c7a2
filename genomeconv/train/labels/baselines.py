"""What labels of genes are without a network: weight matrices and open reading frames.

Axes: L positions, W columns of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import Codes, N, reverse_complement
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.labels.annotation import (
    CLASSES,
    OUTPUTS,
    STRANDS,
    Annotation,
    Masks,
    other_strand,
)
from genomeconv.train.labels.ranking import Confusion, compared

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Part = tuple[int, int, int]
"""Record, start, stop."""

SITE = {"donor": (8, 12), "acceptor": (40, 6)}
"""Columns of the matrix before the labelled base, and from it on."""
PSEUDOCOUNT = 1.0
SHORTEST = (90, 120, 150, 180, 210, 240, 270, 300, 330, 360, 400, 450)
"""Lengths in bases that a reading frame is asked to have, one is chosen."""
FRAMES_TEXT = 10_000_000
"""It is chosen on so many bases of the training text, the first ones."""
_OVERLAP = 0.2
_ATG = (0, 3, 2)
_STOPS = ((3, 0, 0), (3, 0, 2), (3, 2, 0))


@dataclass(frozen=True, eq=False)
class Baselines:
    """What a training text taught."""

    matrices: dict[str, WeightMatrix]
    """Of each of SITE."""
    shortest: int
    """Bases that an open frame has to have."""


@dataclass(frozen=True, eq=False)
class WeightMatrix:
    """Log odds of each base in each column, in nats (Staden 1984).

    Attributes
    ----------
    columns : array (W, 5)
        N counts nothing.
    before : int
        Columns before the base that is scored.
    """

    columns: Floats
    before: int

    def scores(self, codes: Codes) -> Floats:
        """Return the log odds of a site at each base, (L,).

        Columns beyond the ends count nothing.
        """
        size, width = len(codes), len(self.columns)
        padded = np.full(size + width, N, dtype=np.uint8)
        padded[self.before : self.before + size] = codes
        out = np.zeros(size)
        for i, column in enumerate(self.columns):
            out += column[padded[i : i + size]]
        return out


def learn_baselines(
    corpus: Corpus, annotation: Annotation, train: Sequence[Part]
) -> Baselines:
    """Learn weight matrices of the sites and the length of open frames."""
    matrices = {}
    for name, (before, behind) in SITE.items():
        texts = (
            (codes, has_label(masks, CLASSES.index(name)))
            for part in train
            for codes, masks in strands(corpus, annotation, part)
        )
        matrices[name] = weight_matrix(texts, before, behind)
    frames = [
        (np.asarray(corpus.codes(*part)), coding(annotation.masks(*part)))
        for part in _first(train, FRAMES_TEXT)
    ]
    return Baselines(matrices, choose_shortest(frames))


def coding(masks: Masks) -> list[Bools]:
    """Return which bases are CDS on "+" and on "-"."""
    return [has_label(masks, OUTPUTS.index(f"CDS{strand}")) for strand in STRANDS]


def has_label(masks: Masks, output: int) -> Bools:
    """Return which bases have a label, by its number."""
    found: Bools = (masks >> np.uint16(output)) & np.uint16(1) > 0
    return found


def strands(
    corpus: Corpus, annotation: Annotation, part: Part
) -> Iterable[tuple[Codes, Masks]]:
    """Yield bases and labels of a stretch as each strand reads them."""
    codes, masks = np.asarray(corpus.codes(*part)), annotation.masks(*part)
    yield codes, masks
    yield reverse_complement(codes), other_strand(masks)


def weight_matrix(
    texts: Iterable[tuple[Codes, Bools]], before: int, behind: int
) -> WeightMatrix:
    """Learn a matrix from sites against the composition of the text.

    Parameters
    ----------
    texts : iterable of (codes, sites)
        (L,) each; sites whose columns reach past an end are left out.
    before, behind : int
        Columns before a site, and from it on.
    """
    counts = np.zeros((before + behind, N + 1))
    background = np.zeros(N + 1)
    for codes, sites in texts:
        background += np.bincount(codes, minlength=N + 1)
        places = np.flatnonzero(sites)
        fits = (places >= before) & (places + behind <= len(codes))
        places = places[fits]
        for i in range(before + behind):
            found = codes[places - before + i]
            counts[i] += np.bincount(found, minlength=N + 1)
    share = (background[:N] + 1) / (background[:N] + 1).sum()
    counts = counts[:, :N] + PSEUDOCOUNT * share
    columns = np.zeros((before + behind, N + 1))
    columns[:, :N] = np.log(counts / counts.sum(axis=1, keepdims=True) / share)
    return WeightMatrix(columns, before)


def open_frames(codes: Codes, shortest: int) -> list[tuple[int, int]]:
    """Return the frames ATG ... stop of the strand that is read, [start, stop).

    Of the ATGs before a stop the first is taken.
    """
    out: list[tuple[int, int]] = []
    starts, stops = _words(codes, [_ATG]), _words(codes, _STOPS)
    for frame in range(3):
        ends = stops[stops % 3 == frame]
        first = starts[starts % 3 == frame]
        at = np.searchsorted(ends, first)
        open_ = at < len(ends)
        which, index = np.unique(at[open_], return_index=True)
        found = zip(first[open_][index].tolist(), ends[which].tolist(), strict=True)
        out += [(a, b + 3) for a, b in found if b + 3 - a >= shortest]
    return sorted(out)


def longest_frames(codes: Codes, shortest: int) -> list[Bools]:
    """Return which bases are coding on "+" and on "-", (L,) each.

    Frames of both strands are taken the longest first, unless a fifth of one is taken
    already: the gene finder that needs no training.
    """
    size = len(codes)
    frames = [(b - a, 0, a, b) for a, b in open_frames(codes, shortest)]
    frames += [
        (b - a, 1, size - b, size - a)
        for a, b in open_frames(reverse_complement(codes), shortest)
    ]
    out, taken = [np.zeros(size, bool), np.zeros(size, bool)], np.zeros(size, bool)
    for length, strand, a, b in sorted(frames, reverse=True):
        if np.count_nonzero(taken[a:b]) <= _OVERLAP * length:
            out[strand][a:b] = taken[a:b] = True
    return out


def choose_shortest(texts: Sequence[tuple[Codes, list[Bools]]]) -> int:
    """Return the length of SHORTEST with the greatest F1 on texts and their CDS."""

    def f1(shortest: int) -> float:
        total = Confusion(0, 0, 0)
        for codes, right in texts:
            for called, cds in zip(longest_frames(codes, shortest), right, strict=True):
                total += compared(called, cds)
        return total.f1

    return max(SHORTEST, key=f1)


def _first(parts: Sequence[Part], most: int) -> list[Part]:
    """Return the first ``most`` bases of some stretches."""
    out = []
    for record, start, stop in parts:
        if most > 0:
            out.append((record, start, min(stop, start + most)))
        most -= stop - start
    return out


def _words(codes: Codes, words: Sequence[tuple[int, ...]]) -> npt.NDArray[np.int64]:
    """Return where any of some codons begins, ascending."""
    size = max(0, len(codes) - 2)
    found = np.zeros(size, dtype=bool)
    for word in words:
        same = np.ones(size, dtype=bool)
        for i, code in enumerate(word):
            same &= codes[i : i + size] == code
        found |= same
    return np.flatnonzero(found)
