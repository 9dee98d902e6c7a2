"""The labels objective beside its formula, and what it must leave out."""

from __future__ import annotations

import json
import math
import tomllib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import Nothing, held_out

from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.errors import ModelError, UsageError
from genomeconv.model import build_model
from genomeconv.train.config import from_dict
from genomeconv.train.config.template import template
from genomeconv.train.data.windows import Window
from genomeconv.train.evaluate import EvaluateOptions, evaluate
from genomeconv.train.labels.annotation import OUTPUTS, Annotation, union
from genomeconv.train.labels.objective import (
    NEAR_N,
    GeneLabels,
    near_n,
    start_from,
    weights,
)
from genomeconv.train.objectives import IGNORED, LARGEST_WEIGHT, output_logits
from genomeconv.weights import load_model

C = len(OUTPUTS)
CONFIG = ModelConfig(
    width=8,
    layers=1,
    filters=(ExplicitFilter(taps=9, right=4),),
    head="none",
    outputs=OUTPUTS,
)
FREQUENCIES = np.array([1e-4, 1e-3, 0.35, 0.0, 0.01, 0.6] * 2)


def annotated(**stretches):
    empty = union([], [])
    given_ = {
        k.replace("_plus", "+").replace("_minus", "-"): v for k, v in stretches.items()
    }
    return Annotation([{name: given_.get(name, empty) for name in OUTPUTS}])


def objective(annotation=None, frequencies=FREQUENCIES):
    return GeneLabels(CONFIG, annotation or annotated(), frequencies)


def test_targets_of_both_strands():
    """A window that is read from the other strand has its labels turned round."""
    annotation = annotated(CDS_plus=union([2], [5]), donor_minus=union([7], [8]))
    codes = np.zeros(10, np.uint8)
    cds, donor = (1 << OUTPUTS.index(name) for name in ("CDS+", "donor-"))
    for reverse in (False, True):
        window = Window(record=0, start=0, stop=10, reverse=reverse)
        _, targets = objective(annotation).example(window, codes, None)
        right = [0, 0, cds, cds, cds, 0, 0, donor, 0, 0]
        if reverse:
            cds_, donor_ = (1 << OUTPUTS.index(name) for name in ("CDS-", "donor+"))
            right = [0, 0, donor_, 0, 0, cds_, cds_, cds_, 0, 0]
        assert targets.tolist() == right


def test_a_window_at_the_end_of_a_stretch():
    """What follows the stretch counts for nothing."""
    window = Window(record=0, start=0, stop=40, reverse=False)
    codes = np.array([0] * 40 + [4] * 10, np.uint8)
    inputs, targets = objective().example(window, codes, None)
    assert inputs.tolist() == codes.tolist()
    assert (targets[40:] == IGNORED).all()
    assert (targets[: 40 - NEAR_N] == 0).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 80)), max_size=6))
def test_near_n(runs):
    codes = np.array([c for c, n in runs for _ in range(n)], np.uint8)
    places = np.flatnonzero(codes == 4)
    right = [any(abs(i - j) <= NEAR_N for j in places) for i in range(len(codes))]
    assert near_n(codes).tolist() == right


def test_weights():
    found = weights(np.array([0.5, 0.1, 0.9, 0.0, 1e-9]))
    assert found.tolist() == pytest.approx([1.0, 3.0, 1.0, 1.0, LARGEST_WEIGHT])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_loss(seed):
    """Beside the formula, an output and a base at a time."""
    rng = np.random.default_rng(seed)
    model = build_model(CONFIG, 1)
    x = torch.from_numpy(rng.normal(size=(2, 5, 8)).astype(np.float32))
    targets = rng.integers(0, 1 << C, (2, 5))
    targets[rng.random((2, 5)) < 0.3] = IGNORED
    found = float(objective().loss(model, x, torch.from_numpy(targets)).detach())
    a = model.outputs.weight.detach().numpy().astype(float)
    b = model.outputs.bias.detach().numpy().astype(float)
    right = 0.0
    for row in range(2):
        for i in range(5):
            if targets[row, i] == IGNORED:
                continue
            for c in range(C):
                z = float(a[c] @ x[row, i].numpy().astype(float) + b[c])
                f = FREQUENCIES[c]
                w = math.sqrt((1 - f) / f) if f else 1.0
                w = min(max(w, 1.0), LARGEST_WEIGHT)
                p = 1 / (1 + math.exp(-(z + math.log(w))))
                yes = targets[row, i] >> c & 1
                right -= w * math.log(p) if yes else math.log(1 - p)
    assert found == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("p", [0.001, 0.2, 0.9])
def test_outputs_are_probabilities(p):
    """The weighted loss of a label of probability p is least at logit(p)."""
    w = LARGEST_WEIGHT
    z = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([z], line_search_fn="strong_wolfe", max_iter=100)

    def loss():
        optimizer.zero_grad()
        total = sum(
            share
            * torch.nn.functional.binary_cross_entropy_with_logits(
                z + math.log(w), torch.tensor(y).double(), pos_weight=torch.tensor(w)
            )
            for y, share in ((1.0, p), (0.0, 1 - p))
        )
        torch.autograd.backward(total)
        return total

    optimizer.step(loss)
    assert float(z.detach()) == pytest.approx(math.log(p / (1 - p)), abs=1e-3)


def test_a_fresh_model_starts_at_the_frequencies():
    model = build_model(CONFIG, 1)
    start_from(model, FREQUENCIES)
    p = torch.sigmoid(output_logits(model, torch.zeros(8))).tolist()
    assert p == pytest.approx(np.where(FREQUENCIES > 0, FREQUENCIES, 1e-6), rel=1e-3)


def test_a_model_without_outputs_has_no_logits():
    bare = build_model(ModelConfig(width=8, layers=1, filters=CONFIG.filters), 1)
    for use in (
        lambda: output_logits(bare, torch.zeros(8)),
        lambda: start_from(bare, FREQUENCIES),
    ):
        with pytest.raises(ModelError) as caught:
            use()
        assert str(caught.value) == ("the model has no outputs: it predicts no labels")


GENOME = "chr1\tx\tCDS\t{}\t{}\t.\t{}\t0\tParent=g{}\n"


@pytest.fixture
def labelled(tmp_path):
    """An annotation of the small genome: a gene every 200 bases, some with introns."""
    path = tmp_path / "genes.gff3"
    rows = []
    for name, size in (("chr1", 5000), ("chr2", 3000)):
        for i, start in enumerate(range(700, size - 200, 200)):
            strand = "+-"[i % 2]
            for a, b in ((start, start + 40), (start + 80, start + 130)):
                row = GENOME.format(a, b, strand, f"{name}.{i}")
                rows.append(row.replace("chr1\t", f"{name}\t"))
    path.write_text("".join(rows))
    return path


def settings_of(path):
    return (
        "objective.kind=labels",
        f"objective.annotation={json.dumps(str(path))}",
        "model.head=none",
        "model.filters.0.taps=25",
        "model.filters.0.right=12",
    )


def outputs_of(folder):
    """Names of the outputs, as the record and the model have them."""
    record = json.loads((folder / "run.json").read_text())
    made = load_model(folder / "model").model.config.outputs
    return tuple(record["config"]["model"]["outputs"]), made


def test_outputs_are_the_labels(train, tmp_path, labelled):
    """Named or not: the same run, and a record that can be resumed either way."""
    folder = tmp_path / "genes.run"
    named = f"model.outputs={json.dumps(OUTPUTS)}"
    train(folder, *settings_of(labelled))
    assert outputs_of(folder) == (OUTPUTS, OUTPUTS)
    record = (folder / "run.json").read_text()
    train(folder, *settings_of(labelled), named, resume=True)
    assert (folder / "run.json").read_text() == record
    train(folder, *settings_of(labelled), "model.outputs=[]", resume=True)
    assert (folder / "run.json").read_text() == record


@pytest.mark.parametrize("others", [OUTPUTS[:6], OUTPUTS[::-1], ("x",)])
def test_other_outputs_are_refused(train, tmp_path, labelled, others):
    """Before a folder is made, which the run with the right ones would find taken."""
    folder = tmp_path / "genes.run"
    with pytest.raises(ModelError) as caught:
        train(folder, *settings_of(labelled), f"model.outputs={json.dumps(others)}")
    assert str(caught.value) == (
        f"config: model.outputs must be {', '.join(OUTPUTS)} for labels of genes, or "
        f"absent, got {', '.join(others)}"
    )
    assert not folder.exists()


def frozen(folder):
    """Settings of a run that begins from another, whose trunk stays as it is."""
    return f"model.start={json.dumps(str(folder))}", "model.freeze=true"


def test_labels_of_a_start_go_on(train, tmp_path, labelled):
    """At rates of next to nothing: the start's outputs, not those of a fresh model."""
    first, second = tmp_path / "first.run", tmp_path / "second.run"
    train(first, *settings_of(labelled))
    still = "optimiser.lr=1e-30", "optimiser.filter_lr=1e-30"
    train(second, *settings_of(labelled), *frozen(first), *still)
    assert outputs_of(second) == (OUTPUTS, OUTPUTS)
    ours, theirs = (load_model(f / "model").model for f in (second, first))
    assert torch.equal(ours.outputs.weight, theirs.outputs.weight)
    assert torch.equal(ours.outputs.bias, theirs.outputs.bias)


def test_labels_from_a_start_without_any(train, tmp_path, labelled):
    first, second = tmp_path / "first.run", tmp_path / "second.run"
    train(first)
    train(second, *settings_of(labelled)[:3], *frozen(first))
    assert outputs_of(second) == (OUTPUTS, OUTPUTS)
    ours, theirs = (load_model(f / "model").model for f in (second, first))
    trunk = theirs.trunk.state_dict()
    assert all(torch.equal(v, trunk[k]) for k, v in ours.trunk.state_dict().items())
    assert theirs.outputs is None


def test_a_run(train, tmp_path, labelled, helpers):
    """From FASTA and GFF3 to a model with a card that has all the numbers."""
    said = []
    folder = tmp_path / "genes.run"
    train(folder, *settings_of(labelled), notify=lambda level, text: said.append(text))
    card = json.loads((folder / "report" / "card.json").read_text())
    assert card["objective"]["annotation"] == "genes.gff3"
    for part in ("valid", "test"):
        found = card["results"][part]
        assert set(found["cds"]) == {"+", "-", "both strands", "either strand"}
        assert set(found["sites"]) == {"donor+", "donor-", "acceptor+", "acceptor-"}
        assert set(found["baselines"]["average_precision"]) == set(found["sites"])
    text = (folder / "report" / "card.md").read_text()
    assert "| coding bases | F1 | precision | recall |" in text
    losses = [x["loss"] for x in helpers.curve(folder) if x["kind"] == "train"]
    assert all(math.isfinite(x) for x in losses)
    assert "bits_per_base" not in helpers.curve(folder)[0]


def test_other_labels(train, tmp_path, labelled):
    """A run goes on with the same labels, whatever the file; with others if told."""
    folder, copy = tmp_path / "genes.run", tmp_path / "copy.gff3"
    train(folder, *settings_of(labelled))
    lines = labelled.read_text().splitlines(keepends=True)
    copy.write_text("".join(["# the same genes\n", *lines[::-1]]))
    train(folder, *settings_of(copy), resume=True)
    copy.write_text("".join(lines[:-1]))
    with pytest.raises(ModelError) as caught:
        train(folder, *settings_of(copy), resume=True)
    assert str(caught.value).startswith(
        f"the data changed since the run began: {copy}, 2,944 bases in 2 sequences "
        "then, 2,893 in 2 now, sha256 "
    )
    assert str(caught.value).endswith("or go on with --allow-data-change")
    train(folder, *settings_of(copy), resume=True, allow=frozenset({"data"}))
    (change,) = json.loads((folder / "run.json").read_text())["changes"]
    assert change["what"][0].startswith(str(copy))


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_the_fingerprint_is_that_of_the_labels(data):
    """Equal for equal labels of all bases, and for those alone."""
    runs = st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 8)), min_size=0, max_size=3
    )

    def drawn():
        cds, intron = data.draw(runs), data.draw(runs)
        parts = (union([a for a, _ in r], [a + n for a, n in r]) for r in (cds, intron))
        return annotated(**dict(zip(("CDS_plus", "intron_minus"), parts, strict=True)))

    one, other = drawn(), drawn()
    same = (one.masks(0, 0, 40) == other.masks(0, 0, 40)).all()
    assert (one.fingerprint() == other.fingerprint()) == same
    cds = one.masks(0, 0, 40) & (1 << OUTPUTS.index("CDS+"))
    assert one.fingerprint()["bases"] == np.count_nonzero(cds)


def test_the_template_is_a_config():
    config = from_dict(tomllib.loads(template("labels", "a.fa")))
    assert config.model.outputs == ()
    assert not config.model.causal
    assert config.objective.annotation == "genes.gtf"


def test_an_annotation_is_asked_for(make_config, labelled):
    given_ = settings_of(labelled)
    with pytest.raises(ModelError) as caught:
        make_config(given_[0], *given_[2:])
    assert str(caught.value) == ("config: objective.annotation must be a file, got ''")
    with pytest.raises(ModelError) as caught:
        make_config(given_[1])
    assert "absent where objective.kind is not labels" in str(caught.value)


def test_evaluate(train, tmp_path, labelled, fasta, helpers):
    """The numbers of the card again, through the command's function."""
    folder = tmp_path / "genes.run"
    train(folder, *settings_of(labelled))
    bed = held_out(folder, tmp_path / "test.bed")
    asked = {"fasta": str(fasta), "model": str(folder / "model"), "device": "cpu"}
    options = EvaluateOptions(**asked, annotation=labelled, bed=bed)
    found = evaluate(options, Nothing(), helpers.quiet)
    assert list(found) == [
        "model", "model_sha256", "fasta", "fasta_sha256", "annotation", "objective",
        "baselines_learned_from", "shortest_frame", "rows",
    ]  # fmt: skip
    assert (found["model"], found["fasta"]) == ("genes", str(fasta))
    card = json.loads((folder / "report" / "card.json").read_text())
    test = card["results"]["test"]
    rows = {(r["what"], r["metric"]): r["model"] for r in found["rows"]}
    assert rows["CDS, both strands", "f1"] == test["cds"]["both strands"]["f1"]
    for name, value in test["average_precision"].items():
        assert rows[name, "average precision"] == value
    with pytest.raises(UsageError) as caught:
        evaluate(
            EvaluateOptions(**asked, annotation=labelled, order=3),
            Nothing(),
            helpers.quiet,
        )
    assert str(caught.value) == (
        "--markov and --order are for models that predict bases; leave them out with "
        "--annotation"
    )


def test_evaluate_a_model_without_labels(fasta, labelled, helpers):
    options = EvaluateOptions(fasta=str(fasta), annotation=labelled, device="cpu")
    with pytest.raises(ModelError) as caught:
        evaluate(options, Nothing(), helpers.quiet)
    assert str(caught.value) == (
        "model human: predicts no labels of genes; evaluate it without --annotation"
    )
