"""Genes from the logits of a model's labels: the best path that is a gene structure.

On each strand by itself, a base is between genes, in a CDS, or in an intron. A path
may enter a CDS at ATG only, has to leave it at the first stop codon in frame and
nowhere else, and may enter and leave an intron at GT and AG only, with the frame kept.
Of all such paths the one is taken that has the greatest

    sum over bases of the logit of its label + site x sum over introns of the logits
    of donor and acceptor + bonus for each coding base - start for each gene,

where an intron's bases have intron x (logit of intron - logit of intergenic) more than
those between genes. With start = bonus = 0 and site = intron = 1 that is the most
probable path, were labels independent given the sequence. They are not: neighbours say
much the same, so a gene has to have more behind it than a few bases (start), a frame
that stays open is evidence the labels may not have used (bonus), a site is one base
that stands against the hundreds of an exon (site), and a model of short reach cannot
tell the inside of a long intron from what lies between genes (intron = 0). All are
chosen on validation text. At both ends of the sequence a gene may be cut. Found by
dynamic programming over the codons and splice sites alone; what lies between them is a
difference of two sums.

Memory is some 60 bytes a base of one sequence.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import Codes, reverse_complement

Floats = npt.NDArray[np.floating]
Places = npt.NDArray[np.int64]

SHORTEST_INTRON = 30
_LEAST_SITE = -12.0
"""Splice sites of a lower logit are not tried."""
_STOP, _START, _DONOR, _ACCEPTOR = range(4)
_LETTER = {letter: code for code, letter in enumerate("ACGT")}
_NEVER = -np.inf


@dataclass(frozen=True, kw_only=True)
class GeneCosts:
    """What a gene costs and gains beside the logits, in nats."""

    start: float = 10.0
    """Cost of a gene."""
    bonus: float = 0.0
    """Gain of a coding base."""
    site: float = 1.0
    """What the logits of splice sites count, those of bases counting 1."""
    intron: float = 1.0
    """What it counts whether bases look like an intron or like no gene."""


@dataclass(frozen=True)
class Gene:
    """Coding part of a gene, 0-based half-open on the forward strand."""

    strand: str
    exons: tuple[tuple[int, int], ...]
    """Coding stretches, ascending."""


class _State(NamedTuple):
    """Best path into a state."""

    value: float
    """Score, less what the running sum of the state was when it began."""
    since: int
    """Boundary at which the state was entered."""
    path: Any
    """(start, stop, path before) of the coding stretches so far, or None."""


_NONE = _State(_NEVER, 0, None)
_value = operator.attrgetter("value")


def decode_genes(
    codes: Codes, logits: Mapping[str, Floats], costs: GeneCosts
) -> list[Gene]:
    """Return the genes of one sequence, by strand and position.

    Parameters
    ----------
    codes : array (L,)
        Bases of the sequence.
    logits : Mapping
        Output ("CDS+", "donor-", ...) -> logits (L,); donor, acceptor, CDS, intron
        and intergenic of both strands.
    costs : GeneCosts
    """
    genes = []
    for strand in "+-":
        names = ("donor", "acceptor", "CDS", "intron", "intergenic")
        by_name = {n: logits[f"{n}{strand}"] for n in names}
        if strand == "+":
            found = list(_strand(codes, by_name, costs))
        else:
            flipped = {n: z[::-1] for n, z in by_name.items()}
            size = len(codes)
            found = [
                tuple((size - b, size - a) for a, b in reversed(exons))
                for exons in _strand(reverse_complement(codes), flipped, costs)
            ][::-1]
        genes += [Gene(strand, exons) for exons in found]
    return genes


def coding_mask(genes: Sequence[Gene], length: int, strand: str) -> Any:
    """Return which bases are coding on a strand, (L,) bool."""
    out = np.zeros(length, dtype=bool)
    for gene in genes:
        if gene.strand == strand:
            for a, b in gene.exons:
                out[a:b] = True
    return out


def _strand(
    codes: Codes, logits: Mapping[str, Floats], costs: GeneCosts
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield the coding stretches of each gene of the strand that is read."""
    where, kind, sites = _events(codes, logits)
    rest = logits["intergenic"].astype(np.float64)
    cds = _sums(logits["CDS"] + costs.bonus - rest)
    intron = _sums(costs.intron * (logits["intron"] - rest))
    coding = [_State(-costs.start, 0, (0, None, None))] * 3
    inside, between = [_NONE] * 3, _State(0.0, 0, None)
    young: deque[tuple[int, _State]] = deque()
    """Introns still too short to end, whatever longer ones are worth."""
    at_cds, at_intron = cds[where].tolist(), intron[where].tolist()
    extras = (costs.site * sites).tolist()
    events = zip(where.tolist(), kind.tolist(), extras, strict=True)
    for (b, event, extra), s, t in zip(events, at_cds, at_intron, strict=True):
        if event == _START:
            value = between.value - costs.start - s
            if value > coding[b % 3].value:
                coding[b % 3] = _State(value, b, (b, None, between.path))
        elif event == _STOP:
            state = coding[b % 3]
            if state.value + s > between.value:
                between = _State(state.value + s, b, _closed(state.path, b, True))
            coding[b % 3] = _NONE
        elif event == _DONOR:
            for f, state in enumerate(coding):
                phase, value = (b - f) % 3, state.value + s + extra - t
                if value > inside[phase].value:
                    path = _closed(state.path, b, False)
                    young.append((phase, _State(value, b, path)))
        else:
            while young and b - young[0][1].since >= SHORTEST_INTRON:
                phase, state = young.popleft()
                inside[phase] = max(inside[phase], state, key=_value)
            for phase, state in enumerate(inside):
                f, value = (b - phase) % 3, state.value + t + extra - s
                if value > coding[f].value:
                    coding[f] = _State(value, b, (b, None, state.path))
    size = len(codes)
    last = max(coding, key=_value)
    if last.value + cds[size] > between.value:
        between = _State(0.0, size, _closed(last.path, size, True))
    yield from _genes(between.path)


def _closed(path: Any, stop: int, last: bool) -> Any:
    """Return a path whose open stretch ends, and its gene with it or not."""
    start, _, before = path
    return (start, (stop, last), before)


def _genes(path: Any) -> list[tuple[tuple[int, int], ...]]:
    """Unroll a path, which is known from its end, into genes in their order."""
    genes: list[list[tuple[int, int]]] = []
    while path is not None:
        start, (stop, last), path = path
        if last:
            genes.append([])
        genes[-1].append((start, stop))
    return [tuple(reversed(exons)) for exons in reversed(genes)]


def _sums(values: Floats) -> npt.NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _events(
    codes: Codes, logits: Mapping[str, Floats]
) -> tuple[Places, Places, npt.NDArray[np.float64]]:
    """Return boundary, kind and logit of codons (0) and splice sites, in their order.

    Boundary b lies before base b. A stop codon counts where it ends, so that its frame
    is that boundary modulo 3 as it is of the codons before.
    """
    starts = _found(codes, "ATG")
    stops = np.concatenate([_found(codes, w) for w in ("TAA", "TAG", "TGA")]) + 3
    donors = _found(codes, "GT")
    donors = donors[donors > 0]
    donors = donors[logits["donor"][donors - 1] > _LEAST_SITE]
    acceptors = _found(codes, "AG") + 2
    acceptors = acceptors[acceptors < len(codes)]
    acceptors = acceptors[logits["acceptor"][acceptors] > _LEAST_SITE]
    where = np.concatenate([stops, starts, donors, acceptors])
    sizes = [len(stops), len(starts), len(donors), len(acceptors)]
    kind = np.repeat([_STOP, _START, _DONOR, _ACCEPTOR], sizes)
    sites = np.zeros(len(where))
    sites[kind == _DONOR] = logits["donor"][donors - 1]
    sites[kind == _ACCEPTOR] = logits["acceptor"][acceptors]
    order = np.argsort(where, kind="stable")
    return where[order], kind[order], sites[order]


def _found(codes: Codes, word: str) -> Places:
    """Return where a word begins."""
    size = len(codes) - len(word) + 1
    if size <= 0:
        return np.empty(0, np.int64)
    same = np.ones(size, dtype=bool)
    for i, letter in enumerate(word):
        same &= codes[i : i + size] == _LETTER[letter]
    return np.flatnonzero(same)
