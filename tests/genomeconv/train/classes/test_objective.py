"""Classes of sequences: the loss beside its formula, padding, order, and whole runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import Nothing

from genomeconv.alphabet import reverse_complement
from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.errors import DataError, ModelError, UsageError
from genomeconv.model import build_model
from genomeconv.train.classes.items import ItemSamples, item_codes
from genomeconv.train.classes.judge import probabilities
from genomeconv.train.classes.objective import SequenceClasses, class_weights, pooled
from genomeconv.train.classes.source import ClassSource
from genomeconv.train.config import ComputeConfig, from_dict
from genomeconv.train.config.settings import apply
from genomeconv.train.engine.learner import Learner
from genomeconv.train.evaluate import EvaluateOptions, evaluate
from genomeconv.train.notify import Silent
from genomeconv.train.objectives import IGNORED
from genomeconv.train.run import TrainOptions, run_training

TWO_SIDED = ModelConfig(
    width=8, layers=2, filters=(ExplicitFilter(taps=9, right=4),),
    head="none", outputs=("a", "b", "c"),
)  # fmt: skip
CAUSAL = replace(TWO_SIDED, filters=(ExplicitFilter(taps=9),))
LETTERS = np.array(list("ACGT"))


def text_of(rng, size, weak):
    """Letters of which so many are A or T."""
    p = np.array([weak, 1 - weak, 1 - weak, weak]) / 2
    return "".join(rng.choice(LETTERS, size, p=p))


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """180 sequences of 40 to 60 bases; one class has more A and T."""
    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("classes") / "train.csv"
    rows = [
        f"{text_of(rng, int(rng.integers(40, 61)), (0.4, 0.7)[c])},{'ny'[c]}"
        for c in rng.integers(0, 2, 180)
    ]
    path.write_text("\n".join(["sequence,label", *rows]) + "\n")
    return path


VALUES = {
    "data": {"fasta": [], "window": 64, "windows": 8},
    "split": {"valid_fraction": 0.2, "test_fraction": 0.2},
    "model": {
        "width": 8, "layers": 1, "head": "none",
        "filters": [{"family": "explicit", "taps": 9, "right": 4}],
    },
    "objective": {"kind": "classes"},
    "schedule": {"steps": 6},
    "checkpoint": {"every": 3, "log_every": 2, "valid_windows": 20},
    "compute": {"device": "cpu"},
}  # fmt: skip


def config_of(path, *settings_):
    given_ = [f"objective.annotation={json.dumps(str(path))}", *settings_]
    return from_dict(apply(VALUES, given_))


def run(folder, config, notify=lambda *_: None, **options):
    asked = TrainOptions(config=config, folder=folder, **options)
    return run_training(asked, Silent(), notify)


def learner_of(config, pooling, weights=(1.0, 1.0, 1.0)):
    """A learner whose blocks have weights that matter, as after training."""
    model = build_model(config, 1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    objective = SequenceClasses(config, np.array(weights), pooling)
    return Learner(model, objective, ComputeConfig(device="cpu"))


def batch(rows, size):
    """Tokens and targets of some rows of bases, padded to a size."""
    tokens = torch.full((len(rows), size), 4)
    targets = torch.full((len(rows), size), IGNORED)
    for i, (codes, c) in enumerate(rows):
        tokens[i, : len(codes)] = torch.from_numpy(codes)
        targets[i, len(codes) - 1] = c
    return tokens, targets


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.sampled_from(["mean", "last"]),
    st.sampled_from([TWO_SIDED, CAUSAL]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_padding_changes_no_number(sizes, pooling, config, seed):
    """A batch of unequal lengths, in float64, is the sum of its sequences alone."""
    rng = np.random.default_rng(seed)
    rows = [(rng.integers(0, 4, n), int(rng.integers(3))) for n in sizes]
    learner = learner_of(config, pooling).double()
    alone = sum(float(learner(*batch([row], len(row[0]))).detach()) for row in rows)
    together = float(learner(*batch(rows, max(sizes) + 7)).detach())
    assert together == pytest.approx(alone, rel=1e-9)


def test_padding_without_the_mask_would_change_numbers():
    """The test above can fail: a two-sided trunk sees what follows."""
    rng = np.random.default_rng(0)
    row = (rng.integers(0, 4, 9), 1)
    model = learner_of(TWO_SIDED, "mean").model.requires_grad_(False)
    short, _ = batch([row], 9)
    long, _ = batch([row], 20)
    a, b = model.trunk(short)[0], model.trunk(long)[0, :9]
    assert float((a - b).abs().max()) > 1e-2
    inside = torch.arange(20)[None] < 9
    c = model.trunk(long, inside=inside)[0, :9]
    assert float((a - c).abs().max()) < 1e-5


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_loss(pooling):
    """Beside the formula, a sequence and a class at a time."""
    rng = np.random.default_rng(7)
    weights = (1.0, 2.5, 10.0)
    learner = learner_of(TWO_SIDED, pooling, weights)
    model, objective = learner.model, learner.objective
    x = rng.normal(size=(4, 6, 8))
    sizes, right = [6, 1, 3, 5], [0, 1, 2, 1]
    targets = torch.full((4, 6), IGNORED)
    for i, (n, c) in enumerate(zip(sizes, right, strict=True)):
        targets[i, n - 1] = c
    given_x = torch.from_numpy(x.astype(np.float32))
    found = float(objective.loss(model, given_x, targets).detach())
    a = model.outputs.weight.detach().numpy().astype(float)
    b = model.outputs.bias.detach().numpy().astype(float)
    total = 0.0
    for i, (n, c) in enumerate(zip(sizes, right, strict=True)):
        vector = x[i, :n].mean(0) if pooling == "mean" else x[i, n - 1]
        z = [float(a[k] @ vector + b[k]) + math.log(weights[k]) for k in range(3)]
        total -= weights[c] * (z[c] - math.log(sum(map(math.exp, z))))
    assert found == pytest.approx(total, rel=1e-5)


def test_outputs_are_probabilities_in_spite_of_the_weights():
    """The weighted loss of classes of shares p is least at log p."""
    p = torch.tensor([0.7, 0.25, 0.05], dtype=torch.float64)
    w = torch.from_numpy(class_weights(np.array([70, 25, 5]), True))
    assert w.tolist() == pytest.approx([1, math.sqrt(2.8), math.sqrt(14)])
    z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([z], line_search_fn="strong_wolfe", max_iter=200)

    def loss():
        optimizer.zero_grad()
        total = -(p * w * (z + w.log()).log_softmax(0)).sum()
        torch.autograd.backward(total)
        return total

    optimizer.step(loss)
    assert z.detach().softmax(0).tolist() == pytest.approx(p.tolist(), abs=1e-4)


def test_weights():
    assert class_weights(np.array([5, 5]), True).tolist() == [1, 1]
    assert class_weights(np.array([400, 1, 0]), True).tolist() == [1, 10, 10]
    assert class_weights(np.array([400, 1]), False).tolist() == [1, 1]


def test_pooled_leaves_padding_out():
    x = torch.tensor([[[1.0], [3.0], [float("nan")]]])
    inside = torch.tensor([[True, True, False]])
    assert pooled(x, inside, "mean").tolist() == [[2.0]]
    assert pooled(x, inside, "last").tolist() == [[3.0]]


@pytest.fixture
def source(table):
    return ClassSource(config_of(table), lambda *_: None)


def test_samples(source):
    """Each sequence once a pass, in an order that is a function of the step."""
    samples = source.samples("train")
    n = samples.count(0)
    drawn = [samples.draw(i // 8, i % 8, 60)[0] for i in range(2 * n)]
    places = [(w.record, w.stop, w.label) for w in drawn]
    assert sorted(places[:n]) == sorted(places[n:]) == sorted(set(places))
    assert places[:n] != places[n:]
    again = source.samples("train")
    assert [again.draw(i // 8, i % 8, 60)[0] for i in range(9, 20)] == drawn[9:20]
    flips = [w.reverse for w in drawn]
    assert 0.3 < np.mean(flips) < 0.7


def test_a_sample_from_the_other_strand(source):
    samples = source.samples("train")
    for i in range(20):
        window, codes, _ = samples.draw(0, i, 60)
        text = np.asarray(source.corpus.codes(window.record, 0, window.stop))
        wanted = reverse_complement(text) if window.reverse else text
        assert codes[: window.stop].tolist() == wanted.tolist()
        assert (codes[window.stop :] == 4).all()


def test_spread_takes_each_once(source):
    samples = source.samples("valid")
    n = samples.count(60)
    records = [samples.spread(i, n, 60)[0].record for i in range(n)]
    assert len(set(records)) == n
    assert not any(samples.spread(i, n, 60)[0].reverse for i in range(n))


def test_a_run(table, tmp_path):
    """From CSV to a model with a card that has all the numbers, and on again."""
    folder = tmp_path / "classes.run"
    config = config_of(table, "objective.pooling=last", "data.windows=16")
    run(folder, config)
    record = json.loads((folder / "run.json").read_text())
    assert record["config"]["model"]["outputs"] == ["n", "y"]
    assert record["config"]["data"]["window"] == 60
    assert [d["records"] for d in record["data"]] == [180]
    card = json.loads((folder / "report" / "card.json").read_text())
    for part in ("valid", "test"):
        found = card["results"][part]
        assert found["sequences"] == 36 == sum(found["by_class"])
        for row in (found, *found["baselines"].values()):
            assert {"accuracy", "macro_f1", "matthews", "auroc"} <= set(row)
    text = (folder / "report" / "card.md").read_text()
    assert "| | accuracy | macro F1 | Matthews correlation | AUROC |" in text
    assert "| most frequent class |" in text
    assert card["in_short"].startswith("valid Matthews correlation ")
    assert str(tmp_path) not in text + (folder / "model" / "model.json").read_text()
    run(folder, config, resume=True)


def test_other_labels_are_other_data(table, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(table.read_text())
    run(tmp_path / "classes.run", config_of(path, "schedule.steps=1"))
    path.write_text(table.read_text().replace(",y", ",n", 1))
    with pytest.raises(ModelError, match="the data changed since the run began"):
        run(tmp_path / "classes.run", config_of(path, "schedule.steps=1"), resume=True)


def test_it_learns(table, tmp_path):
    """What differs in every base is told apart at once."""
    config = config_of(table, "schedule.steps=60", "checkpoint.every=30")
    run(tmp_path / "x.run", config)
    card = json.loads((tmp_path / "x.run" / "report" / "card.json").read_text())
    assert card["results"]["test"]["matthews"] > 0.6


def test_the_judge_sees_what_the_learner_sees(table, tmp_path):
    """Streamed probabilities are those of the training pass."""
    source = ClassSource(config_of(table), lambda *_: None)
    model = build_model(source.config.model, 4)
    items = source.items["test"]
    codes = [item_codes(source.corpus, item) for item in items]
    for pooling in ("mean", "last"):
        found = probabilities(model, codes, pooling)
        for i, row in enumerate(codes):
            x = model.trunk(torch.from_numpy(row.astype(np.int64))[None])[0]
            vector = x.mean(0) if pooling == "mean" else x[-1]
            wanted = model.outputs(vector).softmax(0)
            assert found[i] == pytest.approx(wanted.tolist(), abs=1e-5)


def test_a_long_sequence_is_streamed():
    """A sequence of several tiles has the vector of one piece."""
    model = build_model(CAUSAL, 4)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, 20_000).astype(np.uint8)
    for pooling in ("mean", "last"):
        found = probabilities(model, [codes, codes[:50]], pooling)
        x = model.trunk(torch.from_numpy(codes.astype(np.int64))[None])[0]
        vector = x.double().mean(0).float() if pooling == "mean" else x[-1]
        wanted = model.outputs(vector).softmax(0).tolist()
        assert found[0] == pytest.approx(wanted, abs=1e-5)


def test_evaluate(table, tmp_path):
    """The numbers of the card again, from a file of the test sequences."""
    folder = tmp_path / "classes.run"
    config = config_of(table)
    run(folder, config)
    source = ClassSource(config, lambda *_: None)
    file = tmp_path / "test.csv"
    lines = table.read_text().splitlines()
    numbers = [int(i.place.rpartition(":")[2]) for i in source.items["test"]]
    file.write_text("\n".join([lines[0], *(lines[n - 1] for n in numbers)]))
    asked = {"fasta": str(file), "model": str(folder / "model"), "device": "cpu"}
    found = evaluate(EvaluateOptions(**asked), Nothing(), lambda *_: None)
    card = json.loads((folder / "report" / "card.json").read_text())
    assert list(found) == [
        "model", "model_sha256", "fasta", "fasta_sha256", "annotation", "objective",
        "baselines_learned_from", "rows",
    ]  # fmt: skip
    assert (found["model"], found["fasta"]) == ("classes", str(file))
    rows = {row["metric"]: row for row in found["rows"]}
    assert rows["Matthews correlation"]["model"] == card["results"]["test"]["matthews"]
    assert rows["AUROC"]["model"] == card["results"]["test"]["auroc"]
    assert set(rows["accuracy"]) == {"what", "metric", "model", "kmers", "majority"}
    assert found["baselines_learned_from"] == "the other half of the same sequences"
    with pytest.raises(UsageError) as caught:
        evaluate(EvaluateOptions(**asked, order=3), Nothing(), lambda *_: None)
    assert str(caught.value) == (
        "--markov and --order are for models that predict bases; leave them out for "
        "classes"
    )
    with pytest.raises(UsageError, match="leave out for classes what does not belong"):
        evaluate(
            EvaluateOptions(**asked, bed=Path("x.bed")), Nothing(), lambda *_: None
        )
    file.write_text("sequence,label\nACGT,y\nACGT,x\n")
    with pytest.raises(DataError) as caught:
        evaluate(EvaluateOptions(**asked), Nothing(), lambda *_: None)
    assert str(caught.value) == f"{file}:3: the class 'x' is none of 'n', 'y'"


REGIONS = """\
chr1\t0\t40\tone\t7\t+
chr1\t100\t150\ttwo\t8\t-
chr1\t600\t640\tone\t7\t.
chr2\t10\t60\ttwo\t8\t-
chr2\t300\t360\tone\t7\t+
short\t3\t50\ttwo\t8\t+
"""


@pytest.fixture
def regions(tmp_path):
    path = tmp_path / "regions.bed"
    path.write_text(REGIONS)
    return path


def region_settings(fasta):
    return (
        f"data.fasta={json.dumps([str(fasta)])}",
        "split.by=regions",
        'split.test=["chr2:200-3000"]',
        "split.gap=10",
    )


def test_regions_of_a_genome(fasta, regions, tmp_path):
    """The strand is respected; splits are those of the genome."""
    said = []
    config = config_of(regions, *region_settings(fasta), 'split.valid=["chr1:590-645"]')
    source = ClassSource(config, lambda *words: said.append(words))
    assert {p: len(items) for p, items in source.items.items()} == {
        "train": 4, "valid": 1, "test": 1,
    }  # fmt: skip
    item = source.items["train"][1]
    assert (item.start, item.stop, item.reverse) == (100, 150, True)
    forward = np.asarray(source.corpus.codes(0, 100, 150))
    wanted = reverse_complement(forward).tolist()
    assert item_codes(source.corpus, item).tolist() == wanted
    samples = source.samples("train")
    assert isinstance(samples, ItemSamples)
    for i in range(30):
        window, codes, _ = samples.draw(0, i, 64)
        if window.start == 100:
            turned = forward if not window.reverse else reverse_complement(forward)
            assert codes[:50].tolist() == turned.tolist()
    run(tmp_path / "regions.run", config)
    record = json.loads((tmp_path / "regions.run" / "run.json").read_text())
    assert record["splits"]["train"] == {"bases": 187, "regions": ["one: 1", "two: 3"]}
    assert [d["records"] for d in record["data"]] == [3, 6]
    assert not [text for level, text in said if "left out" in text]


def test_classes_by_score(fasta, regions):
    config = config_of(regions, *region_settings(fasta), "objective.column=score")
    source = ClassSource(config, lambda *_: None)
    assert source.config.model.outputs == ("7", "8")


def test_regions_outside_the_splits_are_left_out(fasta, regions):
    said = []
    settings_ = (*region_settings(fasta), 'split.train=["chr1"]')
    config = config_of(regions, *settings_)
    source = ClassSource(config, lambda *words: said.append(words))
    assert len(source.items["train"]) == 3
    assert said[-1] == ("info", "2 regions lie in no split and are left out")


CONFIG_REFUSALS = {
    "objective.annotation=''": "config: objective.annotation must be a file, got ''",
    "split.by=bed": None,
    "schedule.first_window=16": "config: schedule.first_window must be 0 for classes, "
    "got 16",
    "objective.pooling=max": "objective.pooling must be one of mean, last, got 'max'",
    "model.head=free": "config: model.head must be none or tied for classes, got "
    "'free'",
    "objective.tracks=['x.bw']": "config: objective.tracks must be absent but for "
    "tracks, got ('x.bw',)",
}


@pytest.mark.parametrize("setting", CONFIG_REFUSALS)
def test_config_refusals(table, setting):
    more = ("split.valid=['x.bed']",) if setting == "split.by=bed" else ()
    with pytest.raises(ModelError) as caught:
        config_of(table, setting, *more)
    wanted = CONFIG_REFUSALS[setting] or (
        "config: split.by must be fractions or files for sequences of a CSV file, got "
        "'bed'"
    )
    assert str(caught.value) == wanted


def test_files_are_for_classes_only(make_config):
    with pytest.raises(ModelError) as caught:
        make_config("split.by=files", "split.valid=['x.csv']", *FRACTIONS)
    assert str(caught.value) == (
        'config: split.by must be fractions, regions or bed but for "classes", got '
        "'files'"
    )


FRACTIONS = ("split.valid_fraction=0", "split.test_fraction=0")
