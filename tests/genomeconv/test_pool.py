"""Means over rows equal the plain ones and do not depend on where a run begins."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.pool import RowMeans


def means(x: torch.Tensor, edges: np.ndarray, cuts: list[int], first: int = 0):
    """Feed x in pieces cut at ``cuts``; return {row: mean}."""
    rows = len(edges) - 1
    pool = RowMeans(lambda p, q: edges[p : q + 1], rows, first)
    out = {}
    for a, b in itertools.pairwise(cuts):
        row, part = pool.add(a, x[a:b])
        for i, mean in enumerate(part):
            out[row + i] = mean
    return out


@st.composite
def cases(draw: st.DrawFn):
    length = draw(st.integers(1, 200))
    low = draw(st.integers(0, length - 1))
    high = draw(st.integers(low + 1, length))
    bin = draw(st.integers(1, 60))
    forward = np.minimum(np.arange(low, high + bin, bin), high)
    edges = np.unique(forward)
    if draw(st.booleans()):  # as the reverse strand has them: the short one first
        edges = low + high - edges[::-1]
    cuts = draw(st.lists(st.integers(1, length - 1), max_size=6)) if length > 1 else []
    return length, edges, sorted({0, length, *cuts})


@given(cases())
def test_means_equal_numpy(case) -> None:
    length, edges, cuts = case
    x = torch.randn(length, 3, generator=torch.Generator().manual_seed(length))
    got = means(x, edges, cuts)
    assert sorted(got) == list(range(len(edges) - 1))
    for row, mean in got.items():
        wanted = x[edges[row] : edges[row + 1]].double().mean(0)
        torch.testing.assert_close(mean.double(), wanted, rtol=1e-6, atol=1e-6)


@given(cases(), st.data())
def test_a_later_first_row_gives_the_same_bits(case, data) -> None:
    length, edges, cuts = case
    x = torch.randn(length, 3, generator=torch.Generator().manual_seed(length))
    full = means(x, edges, cuts)
    at = data.draw(st.integers(0, len(cuts) - 2))
    first = int(np.searchsorted(edges[1:], cuts[at], side="right"))
    if first >= len(edges) - 1:
        return
    late = means(x, edges, cuts[at:], first)
    for row, mean in late.items():
        if edges[row] >= cuts[at]:
            assert torch.equal(mean, full[row])


def test_a_row_of_one_base_is_that_base() -> None:
    x = torch.randn(50, 4)
    got = means(x, np.arange(51), [0, 20, 50])
    assert torch.equal(torch.stack([got[i] for i in range(50)]), x)
