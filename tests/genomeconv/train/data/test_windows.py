"""Samples are a function of seed, step and place in the batch, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv.alphabet import N, reverse_complement
from genomeconv.train.bases.objective import build_objective
from genomeconv.train.data.splits import make_splits
from genomeconv.train.data.windows import Sampler
from genomeconv.train.engine.batches import Batches
from genomeconv.train.engine.distributed import World
from genomeconv.train.schedule import Schedule, automatic_steps

CPU = torch.device("cpu")


def batches_of(config, corpus, rank, size, accumulate):
    splits = make_splits(config, corpus)
    sampler = Sampler(corpus, splits["train"], config.schedule.seed, True)
    objective = build_objective(config.objective, config.model)
    world = World(rank=rank, size=size, device=CPU)
    return Batches(sampler, objective, Schedule.of(config), world, accumulate)


@given(
    seed=st.integers(0, 2**63 - 1),
    start=st.integers(0, 7),
    size=st.sampled_from([1, 2, 3, 6]),
    workers=st.integers(0, 3),
    kind=st.sampled_from(["lm", "mask"]),
    first=st.sampled_from([0, 32]),
)
@settings(max_examples=30)
def test_the_order_depends_on_no_worker_process_or_restart(
    corpus_of, seed, start, size, workers, kind, first
):
    changes = [f"schedule.seed={seed}", f"schedule.first_window={first}"]
    if kind == "mask":
        changes += ["objective.kind=mask", "model.vocabulary=6"]
    config, corpus = corpus_of(*changes)
    whole = batches_of(config, corpus, 0, 1, 1)
    for rank in range(size):
        mine = batches_of(config, corpus, rank, size, 6 // size)
        for step, batch in enumerate(mine.run(start, 8, workers), start):
            (inputs, targets), *_ = whole.batch(step).parts
            share = len(inputs) // size
            rows = slice(rank * share, (rank + 1) * share)
            ours = [np.concatenate(part) for part in zip(*batch.parts, strict=True)]
            assert (ours[0] == inputs[rows]).all()
            assert (ours[1] == targets[rows]).all()
            assert batch.counted == (targets[rows] >= 0).sum()


def test_samples_differ(corpus_of):
    config, corpus = corpus_of()
    splits = make_splits(config, corpus)
    sampler = Sampler(corpus, splits["train"], 0, True)
    drawn = [sampler.draw(step, i, 65)[0] for step in range(20) for i in range(6)]
    assert len(set(map(str, drawn))) > 100
    other = Sampler(corpus, splits["train"], 1, True)
    assert other.draw(0, 0, 65)[0] != drawn[0]


def test_windows_lie_in_their_stretches_and_reach_all_of_them(corpus_of):
    config, corpus = corpus_of("split.gap=0")
    stretches = make_splits(config, corpus)["train"]
    sampler = Sampler(corpus, stretches, 0, True)
    seen = [np.zeros(length, int) for length in corpus.lengths]
    strands = []
    for i in range(3000):
        window, codes, _ = sampler.draw(0, i, 65)
        inside = [
            s
            for s in stretches
            if s.record == window.record and s.start <= window.start < s.stop
        ]
        assert len(inside) == 1
        assert window.stop <= inside[0].stop
        found = corpus.codes(window.record, window.start, window.stop)
        if window.reverse:
            found = reverse_complement(found)
        assert (codes[: len(found)] == found).all()
        assert (codes[len(found) :] == N).all()
        assert np.mean(codes == N) <= 0.5
        seen[window.record][window.start : window.stop] += 1
        strands.append(window.reverse)
    assert 1350 < sum(strands) < 1650
    for record, a, b in stretches:
        text = corpus.codes(record, a, b)
        inner = slice(64, max(64, b - a - 64))  # its ends are in few windows
        assert (seen[record][a:b][inner][text[inner] != N] > 0).all()


def test_text_that_is_all_n_ends(corpus_of):
    config, corpus = corpus_of()
    sampler = Sampler(
        corpus, [type(make_splits(config, corpus)["train"][0])(0, 500, 600)], 0, True
    )
    assert (sampler.draw(0, 0, 65)[1] == N).all()


def test_validation_windows_lie_evenly(corpus_of):
    config, corpus = corpus_of()
    stretches = make_splits(config, corpus)["valid"]
    sampler = Sampler(corpus, stretches, 0, True)
    windows = [sampler.spread(i, 5, 64)[0] for i in range(5)]
    assert windows == sorted(windows, key=lambda w: (w.record, w.start))
    assert not any(w.reverse for w in windows)
    assert len({w.start for w in windows}) == 5


@given(
    steps=st.integers(1, 2000),
    doublings=st.integers(0, 6),
    growth=st.floats(0, 0.99),
    warmup=st.floats(0, 0.99),
)
def test_the_schedule(steps, doublings, growth, warmup):
    schedule = Schedule(
        steps=steps,
        warmup=warmup,
        final=0.1,
        window=64 << doublings,
        windows=3,
        first_window=64,
        growth=growth,
    )
    shapes = [schedule.batch(step) for step in range(steps)]
    assert {a * b for a, b in shapes} == {3 * 64 << doublings}
    assert [b for _, b in shapes] == sorted(b for _, b in shapes)
    rates = [schedule.rate(step) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_known_rates():
    schedule = Schedule(
        steps=100, warmup=0.1, final=0.2, window=64, windows=1, first_window=0, growth=0
    )
    assert schedule.rate(0) == pytest.approx(0.1)
    assert schedule.rate(9) == pytest.approx(1.0)
    assert schedule.rate(55) == pytest.approx(0.2 + 0.8 * 0.5)
    assert automatic_steps(10, 100) == 200
    assert automatic_steps(50_000, 100) == 1000
    assert automatic_steps(10**9, 100) == 5000
