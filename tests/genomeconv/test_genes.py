"""Decoded genes beside every path there is, on sequences short enough to try all."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genomeconv import genes
from genomeconv.alphabet import reverse_complement
from genomeconv.genes import Gene, GeneCosts, coding_mask, decode_genes

USUAL = GeneCosts()
NAMES = ("donor", "acceptor", "CDS", "intron", "intergenic")
STOPS = ("TAA", "TAG", "TGA")


def coded(text):
    return np.array(["ACGTN".index(c) for c in text], np.uint8)


def quiet(size):
    """Logits of a model that sees no genes."""
    low, high = np.full(size, -9.0), np.full(size, 9.0)
    return {
        f"{n}{s}": (high if n == "intergenic" else low).copy()
        for n in NAMES
        for s in "+-"
    }


def marked(text, exons, introns=(), strand="+", z=4.0):
    """Logits that call these stretches coding, and those between them introns."""
    out = quiet(len(text))
    for a, b in exons:
        out[f"CDS{strand}"][a:b] = z
        out[f"intergenic{strand}"][a:b] = -z
    for a, b in introns:
        out[f"intron{strand}"][a:b] = z
        out[f"intergenic{strand}"][a:b] = -z
        sites = (a - 1, b) if strand == "+" else (b, a - 1)
        out[f"donor{strand}"][sites[0]] = out[f"acceptor{strand}"][sites[1]] = z
    return out


SHIFT = "CCCC"
GENE = "ATGGCCGCAGCTTAA"


def test_a_frame():
    text = SHIFT + GENE + SHIFT
    found = decode_genes(coded(text), marked(text, [(4, 19)]), USUAL)
    assert found == [Gene("+", ((4, 19),))]


def test_ends_are_moved_to_codons():
    """Logits that begin and end a few bases off."""
    text = SHIFT + GENE + SHIFT
    found = decode_genes(coded(text), marked(text, [(6, 17)], z=9.0), USUAL)
    assert found == [Gene("+", ((4, 19),))]


def test_a_stop_in_frame_ends_a_gene():
    text = "C" * 40 + "ATGGCCTAAGCAGCTTAA" + "C" * 40
    found = decode_genes(coded(text), marked(text, [(40, 58)], z=9.0), USUAL)
    assert found == [Gene("+", ((40, 49),))]


def test_a_gene_costs_and_gains_something():
    text = SHIFT + GENE + SHIFT
    logits = marked(text, [(4, 19)], z=0.1)
    assert decode_genes(coded(text), logits, USUAL) == []
    for costs in (GeneCosts(start=0.0), GeneCosts(bonus=1.0)):
        assert decode_genes(coded(text), logits, costs) == [Gene("+", ((4, 19),))]


@pytest.mark.parametrize("phase", range(3))
def test_an_intron_keeps_the_frame(phase):
    """Two exons whose codons go on over the intron, cut anywhere in a codon."""
    first = "ATGGCCGCA"[: 6 + phase]
    rest = "ATGGCCGCAGCCTGA"[6 + phase :]
    intron = "GT" + "C" * 40 + "AG"
    text = SHIFT + first + intron + rest + SHIFT
    a, b = 4, 4 + len(first)
    c, d = b + len(intron), b + len(intron) + len(rest)
    found = decode_genes(coded(text), marked(text, [(a, b), (c, d)], [(b, c)]), USUAL)
    assert found == [Gene("+", ((a, b), (c, d)))]
    broken = text.replace("GTC", "GAC")
    found = decode_genes(coded(broken), marked(text, [(a, b), (c, d)], [(b, c)]), USUAL)
    assert all(len(gene.exons) == 1 for gene in found)


def test_genes_cut_by_the_ends():
    """Neither has a start and a stop."""
    text = "GCCGCAGCTGCAGCCTAA" + "C" * 30 + "ATGGCCGCAGCTGCAGC"
    logits = marked(text, [(0, 18), (48, 65)])
    assert decode_genes(coded(text), logits, USUAL) == [
        Gene("+", ((0, 18),)),
        Gene("+", ((48, 65),)),
    ]


def test_a_long_intron_that_looks_like_no_gene():
    """Its bases cost nothing where introns count nothing; its sites then count more."""
    text = SHIFT + "ATGGCC" + "GT" + "C" * 400 + "AG" + "GCCTGA" + SHIFT
    logits = marked(text, [(4, 10), (414, 420)], z=9.0)
    logits["donor+"][9] = logits["acceptor+"][414] = 2.0
    assert all(
        len(g.exons) == 1 for g in decode_genes(coded(text), logits, GeneCosts())
    )
    costs = GeneCosts(site=10.0, intron=0.0)
    assert decode_genes(coded(text), logits, costs) == [
        Gene("+", ((4, 10), (414, 420)))
    ]


def test_both_strands_at_once():
    """Genes of the two strands may overlap."""
    one = SHIFT + GENE + SHIFT
    codes = np.concatenate([coded(one), reverse_complement(coded(one))])
    both = quiet(46)
    for s, stretch in (("+", slice(4, 19)), ("-", slice(27, 42))):
        both[f"CDS{s}"][stretch] = 4
        both[f"intergenic{s}"][stretch] = -4
    found = decode_genes(codes, both, USUAL)
    assert found == [Gene("+", ((4, 19),)), Gene("-", ((27, 42),))]
    assert np.flatnonzero(coding_mask(found, 46, "-")).tolist() == list(range(27, 42))


def test_an_empty_sequence():
    assert decode_genes(coded(""), quiet(0), USUAL) == []


def best(text, logits, costs, shortest):
    """The greatest score of any path, by recursion over bases and states.

    A state is ("N",), ("C", bases of the codon so far, whole), ("I", the same, since);
    a codon so far begins with None where the sequence has cut it.
    """
    size = len(text)
    z = {name: values.tolist() for name, values in logits.items()}

    @functools.cache
    def go(i, state):
        if i == size:
            return 0.0 if state[0] in "NC" else -np.inf
        options = []
        if state[0] == "N":
            options.append(z["intergenic+"][i] + go(i + 1, ("N",)))
            if text[i : i + 3] == "ATG":
                options.append(-costs.start + coding(i, "", i))
        elif state[0] == "C":
            options.append(coding(i, state[1], state[2]))
            if text[i : i + 2] == "GT" and state[2] < i and z["donor+"][i - 1] > -12:
                site = costs.site * z["donor+"][i - 1]
                options.append(site + go(i, ("I", state[1], i)))
        else:
            if i < size:
                rest, inside = z["intergenic+"][i], z["intron+"][i]
                inside = rest + costs.intron * (inside - rest)
                options.append(inside + go(i + 1, state))
            if (
                i - state[2] >= shortest
                and text[i - 2 : i] == "AG"
                and z["acceptor+"][i] > -12
            ):
                entered = "?" * len(state[1])
                site = costs.site * z["acceptor+"][i]
                options.append(site + coding(i, entered, i))
        return max(options)

    def coding(i, codon, since):
        """Base i is coding."""
        codon += text[i]
        gain = z["CDS+"][i] + costs.bonus
        if len(codon) < 3:
            return gain + go(i + 1, ("C", codon, since))
        if codon in STOPS:
            return gain + go(i + 1, ("N",))
        return gain + go(i + 1, ("C", "", since))

    cut = [-costs.start + go(0, ("C", "?" * f, 0)) for f in range(3)] if size else []
    return max([go(0, ("N",)), *cut])


def score(found, logits, costs, size):
    """Score of a path that was decoded, base by base."""
    total = 0.0
    state = ["intergenic"] * size
    for gene in found:
        total -= costs.start
        for a, b in gene.exons:
            total += costs.bonus * (b - a)
            state[a:b] = ["CDS"] * (b - a)
        for (_, b), (c, _) in pairwise(gene.exons):
            state[b:c] = ["intron"] * (c - b)
            total += costs.site * (logits["donor+"][b - 1] + logits["acceptor+"][c])
    for i, name in enumerate(state):
        rest, z = logits["intergenic+"][i], logits[f"{name}+"][i]
        total += rest + (costs.intron if name == "intron" else 1.0) * (z - rest)
    return total


WORDS = st.lists(
    st.sampled_from(["ATG", "TAA", "TGA", "GT", "AG", "C", "GCA", "A", "T"]),
    min_size=1,
    max_size=12,
)


@given(
    WORDS,
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([(1.0, 1.0), (3.0, 0.0), (0.5, 0.25)]),
    st.sampled_from([1, 6]),
)
@example(
    words=["GT", "AG", "GT", "AG", "GT", "AG", "GT", "GT", "GT", "C", "C"],
    seed=433426,
    start=0.0,
    bonus=0.0,
    weights=(0.5, 0.25),
    shortest=1,
)
def test_no_path_is_better(words, seed, start, bonus, weights, shortest):
    site, intron = weights
    costs = GeneCosts(start=start, bonus=bonus, site=site, intron=intron)
    text = "".join(words)
    rng = np.random.default_rng(seed)
    logits = {
        f"{n}{s}": rng.normal(scale=3.0, size=len(text)) for n in NAMES for s in "+-"
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(genes, "SHORTEST_INTRON", shortest)
        found = [g for g in decode_genes(coded(text), logits, costs) if g.strand == "+"]
    mine = score(found, logits, costs, len(text))
    assert mine == pytest.approx(best(text, logits, costs, shortest), abs=1e-9)


@given(WORDS, st.integers(0, 2**32 - 1))
def test_the_other_strand_mirrors(words, seed):
    text = "".join(words)
    rng, size = np.random.default_rng(seed), len(text)
    logits = {f"{n}{s}": rng.normal(scale=5.0, size=size) for n in NAMES for s in "+-"}
    other = {
        f"{n}{s}": logits[f"{n}{'-' if s == '+' else '+'}"][::-1]
        for n in NAMES
        for s in "+-"
    }
    here = decode_genes(coded(text), logits, USUAL)
    there = decode_genes(reverse_complement(coded(text)), other, USUAL)
    mirrored = {
        Gene(
            "-" if g.strand == "+" else "+",
            tuple((size - b, size - a) for a, b in reversed(g.exons)),
        )
        for g in there
    }
    assert set(here) == mirrored
