"""Rows of a plan: what they stand for, and the called bases of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv import rows as module
from genomeconv.fasta import ReadPolicy, read_genome
from genomeconv.intervals import Interval
from genomeconv.rows import plan_intervals, plan_records


@pytest.fixture(scope="module")
def genome(fasta, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    with read_genome(fasta, folder, ReadPolicy(), warn=pytest.fail) as genome:
        yield genome


def called(sequence: str, start: int, end: int) -> int:
    return sum(base != "N" for base in sequence[start:end])


def stretches(draw, sequences):
    name = draw(st.sampled_from(sorted(sequences)))
    start = draw(st.integers(0, len(sequences[name]) - 1))
    end = draw(st.integers(start + 1, min(len(sequences[name]), start + 3000)))
    return Interval(name, start, end)


@given(data=st.data(), bin=st.sampled_from([None, 1, 7, 1000]))
@pytest.mark.parametrize("at_once", [64, 1 << 22])
def test_called_bases_of_regions(data, bin, at_once, genome, sequences):
    intervals = [stretches(data.draw, sequences) for _ in range(3)]
    # A region that begins where the last one ends is read with it.
    last = intervals[-1]
    if last.end < len(sequences[last.name]):
        intervals.append(Interval(last.name, last.end, last.end + 1))
    plan = plan_intervals(genome.records, intervals, bin, named=False)
    want = [
        called(sequences[i.name], start, min(start + (bin or len(i)), i.end))
        for i in intervals
        for start in range(i.start, i.end, bin or len(i))
    ]
    a = data.draw(st.integers(0, plan.n_rows - 1))
    b = data.draw(st.integers(a + 1, plan.n_rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_COUNT_AT_ONCE", at_once)
        np.testing.assert_array_equal(plan.called(genome, a, b), want[a:b])


@pytest.mark.parametrize("bin", [1, 1024, None])
def test_rows_of_records_cover_them_once(bin, genome, sequences):
    plan = plan_records(genome.records, bin)
    rows = plan.slice(0, plan.n_rows)
    for number, sequence in enumerate(sequences.values()):
        mine = rows.sequence == number
        start, end = rows.start[mine], rows.end[mine]
        assert start[0] == 0
        assert end[-1] == len(sequence)
        np.testing.assert_array_equal(start[1:], end[:-1])
        assert (end - start).max() <= (bin or len(sequence))
    assert plan.bases == sum(map(len, sequences.values()))
