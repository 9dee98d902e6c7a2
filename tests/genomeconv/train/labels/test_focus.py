"""Windows around the edges of exons: where they fall, and what the loss makes of it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.errors import ModelError
from genomeconv.model import build_model
from genomeconv.train.data.splits import Stretch
from genomeconv.train.labels import focus
from genomeconv.train.labels.annotation import OUTPUTS, Annotation, union
from genomeconv.train.labels.focus import FocusedSampler, drawn_frequencies
from genomeconv.train.labels.objective import GeneLabels, log_odds

C = len(OUTPUTS)
SIZE = 64
STRETCHES = [
    Stretch(0, 700, 2000),
    Stretch(0, 2500, 2540),
    Stretch(1, 0, 480),
    Stretch(1, 1400, 1500),
]
EXONS = {
    0: {"CDS+": [(900, 960)], "donor+": [(959, 960)], "intron+": [(960, 1500)]},
    1: {"CDS-": [(40, 80), (1450, 1500)], "acceptor-": [(79, 80)]},
    2: {},
}
EDGES = {0: [900, 959], 1: [40, 79, 1450], 2: []}
CONFIG = ModelConfig(
    width=8,
    layers=1,
    filters=(ExplicitFilter(taps=9, right=4),),
    head="none",
    outputs=OUTPUTS,
)


def annotated():
    def stretches(found):
        return union([a for a, _ in found], [b for _, b in found])

    return Annotation(
        [{n: stretches(EXONS[r].get(n, [])) for n in OUTPUTS} for r in EXONS]
    )


def sampler_of(corpus, share=0.5, seed=0):
    return FocusedSampler(corpus, STRETCHES, seed, True, annotated(), share)


@given(
    record=st.sampled_from([0, 1, 2]),
    start=st.integers(0, 1600),
    size=st.integers(0, 1600),
)
def test_edges_are_sites_and_first_bases_of_cds(record, start, size):
    found = annotated().edges(record, start, start + size)
    right = [p for p in EDGES[record] if start <= p < start + size]
    assert found.tolist() == right


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_an_edge_lies_in_the_middle_half(corpus, seed):
    """Of every window with focus = 1, unless the stretch ends before."""
    sampler, seen, strands = sampler_of(corpus, 1.0, seed), set(), set()
    for i in range(200):
        window, codes, _ = sampler.draw(3, i, SIZE)
        assert len(codes) == window.stop - window.start == SIZE
        where = (window.record, window.start)
        stretch = next(s for s in STRETCHES[::-1] if (s.record, s.start) <= where)
        assert window.record == stretch.record
        assert window.stop <= stretch.stop
        low, high = window.start + SIZE // 4, window.start + 3 * SIZE // 4
        edges = [p for p in EDGES[window.record] if low <= p <= high]
        assert edges or window.stop == stretch.stop
        seen |= {(window.record, p) for p in edges}
        strands.add(window.reverse)
    assert seen >= {(0, 900), (0, 959), (1, 40), (1, 79)}
    assert strands == {True, False}


def test_the_share_of_windows(corpus):
    """Around an edge, or anywhere: as often as asked for."""
    sampler, count = sampler_of(corpus, 0.7), 3000
    near = 0
    for i in range(count):
        window, _, _ = sampler.draw(0, i, SIZE)
        near += any(window.start <= p < window.stop for p in EDGES[window.record])
    elsewhere = 5 * SIZE / sum(s.stop - s.start for s in STRETCHES)
    assert near / count == pytest.approx(0.7 + 0.3 * elsewhere, abs=0.04)


def test_a_sample_is_a_function_of_seed_step_and_place(corpus):
    drawn = [sampler_of(corpus).draw(s, i, SIZE)[0] for s in (0, 5) for i in range(9)]
    again = sampler_of(corpus)
    places = [(s, i) for s in (0, 5) for i in range(9)]
    for (s, i), window in list(zip(places, drawn, strict=True))[::-1]:
        assert again.draw(s, i, SIZE)[0] == window
    assert len(set(map(str, drawn))) > 12
    assert sampler_of(corpus, seed=1).draw(0, 0, SIZE)[0] != drawn[0]


def test_windows_that_are_judged_fall_anywhere(corpus):
    sampler = sampler_of(corpus, 1.0)
    starts = [sampler.spread(i, 40, SIZE)[0].start for i in range(40)]
    assert len(set(starts)) == 40


def test_frequencies_in_what_is_drawn(corpus):
    """Beside the exact expectation, every place of every window counted once."""
    share, text = 0.6, sum(s.stop - s.start for s in STRETCHES)
    windows = []
    for s in STRETCHES:
        starts = range(s.start, max(s.start, s.stop - SIZE) + 1)
        each = (1 - share) * (s.stop - s.start) / text / len(starts)
        windows += [(s, start, each) for start in starts]
        for p in (p for p in EDGES[s.record] if s.start <= p < s.stop):
            for before in range(SIZE // 4, SIZE // 4 + SIZE // 2):
                start = max(s.start, min(p - before, s.stop - SIZE))
                windows.append((s, start, share / 5 / (SIZE // 2)))
    right, bases = dict.fromkeys(OUTPUTS, 0.0), 0.0
    for s, start, chance in windows:
        stop = min(start + SIZE, s.stop)
        bases += chance * (stop - start)
        for name, found in EXONS[s.record].items():
            for a, b in found:
                inside = chance * max(0, min(b, stop) - max(a, start))
                right[name] += inside / 2
                other = name[:-1] + "+-"[name.endswith("+")]
                right[other] += inside / 2
    found = drawn_frequencies(sampler_of(corpus, share), annotated(), SIZE)
    for name, value in zip(OUTPUTS, found.tolist(), strict=True):
        assert value == pytest.approx(right[name] / bases, rel=0.2, abs=1e-5), name
    both, wanted = found[:6] + found[6:], np.array([*right.values()]) / bases
    assert both == pytest.approx(wanted[:6] + wanted[6:], rel=0.1, abs=1e-5)
    assert found.tolist() == (
        drawn_frequencies(sampler_of(corpus, share), annotated(), SIZE).tolist()
    )


def test_the_loss_while_learning_and_judging():
    """Beside the formula; emphasis is a factor, the odds move z only in training."""
    rng = np.random.default_rng(0)
    text, drawn = np.full(C, 0.01), np.full(C, 0.2)
    emphasis = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25)
    objective = GeneLabels(CONFIG, annotated(), text, drawn, emphasis)
    model = build_model(CONFIG, 1)
    x = torch.from_numpy(rng.normal(size=(1, 6, 8)).astype(np.float32))
    targets = rng.integers(0, 1 << C, (1, 6))
    with torch.no_grad():
        z = model.outputs(x).numpy().astype(float)[0]
    w = math.sqrt(0.8 / 0.2)
    for training in (True, False):
        model.train(training)
        right = 0.0
        for i, c in np.ndindex(6, C):
            odds = math.log(0.2 / 0.8) - math.log(0.01 / 0.99) if training else 0.0
            p = 1 / (1 + math.exp(-(z[i, c] + odds + math.log(w))))
            yes = targets[0, i] >> c & 1
            part = -w * math.log(p) if yes else -math.log(1 - p)
            right += emphasis[c % 6] * part
        found = objective.loss(model, x, torch.from_numpy(targets))
        assert float(found.detach()) == pytest.approx(right, rel=1e-5)


def test_outputs_stay_probabilities_of_the_text():
    """Where yes is as frequent as in what is drawn, the loss is least at the text."""
    text, drawn = np.full(C, 0.02), np.full(C, 0.25)
    objective = GeneLabels(CONFIG, annotated(), text, drawn)
    model = build_model(CONFIG, 1)
    with torch.no_grad():
        model.outputs.weight.zero_()
        model.outputs.bias.copy_(torch.from_numpy(log_odds(text)))
    targets = torch.tensor([[(1 << C) - 1, 0, 0, 0]])
    loss = objective.loss(model, torch.zeros(1, 4, 8), targets)
    torch.autograd.backward(loss)
    assert model.outputs.bias.grad.abs().max() < 1e-5


def settings_of(path):
    return (
        "objective.kind=labels",
        f"objective.annotation={json.dumps(str(path))}",
        "model.head=none",
        f"model.outputs={json.dumps(OUTPUTS)}",
        "model.filters.0.taps=25",
        "model.filters.0.right=12",
    )


def test_a_run(train, tmp_path, helpers, monkeypatch):
    monkeypatch.setattr(focus, "COUNTED", 64)
    genes, folder = tmp_path / "genes.gff3", tmp_path / "run"
    genes.write_text(
        "".join(
            f"chr1\tx\tCDS\t{a}\t{a + 50}\t.\t+\t0\tParent=g\n"
            for a in range(700, 4900, 100)
        )
    )
    train(folder, *settings_of(genes), "data.focus=0.75")
    losses = [x["loss"] for x in helpers.curve(folder) if x["kind"] == "train"]
    assert all(math.isfinite(x) for x in losses)


def test_no_exons_to_draw_around(corpus):
    with pytest.raises(ModelError) as caught:
        FocusedSampler(corpus, [Stretch(2, 0, 90)], 0, True, annotated(), 0.5)
    assert str(caught.value) == (
        "config: data.focus needs exons in the training text, the annotation has none "
        "there; set it to 0, got 0.5"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.focus=0.5", "config: data.focus must be 0 but for labels, got 0.5"),
        ("data.focus=1.5", "config: data.focus must be in [0, 1], got 1.5"),
        (
            "objective.emphasis=[2.0, 1, 1, 1, 1, 1]",
            "config: objective.emphasis must be absent but for labels, got "
            "(2.0, 1, 1, 1, 1, 1)",
        ),
        (
            "objective.emphasis=[1.0, 2.0]",
            "config: objective.emphasis must be six positive factors, got (1.0, 2.0)",
        ),
        (
            "objective.average=true",
            "config: objective.average must be false but for labels, got True",
        ),
        (
            'objective.emphasis=["a"]',
            "objective.emphasis must be a list of numbers, got ['a']",
        ),
    ],
)
def test_settings_that_are_refused(make_config, setting, message):
    with pytest.raises(ModelError) as caught:
        make_config(setting)
    assert str(caught.value) == message
