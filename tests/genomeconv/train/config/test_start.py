"""A run that begins from a model: what is taken over, frozen, and refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from genomeconv.errors import ModelError
from genomeconv.model import build_model
from genomeconv.train.bases.objective import build_objective
from genomeconv.train.config import from_dict, to_dict
from genomeconv.train.config.start import opened_start, take_weights
from genomeconv.train.engine.learner import Learner
from genomeconv.train.engine.optimizers import Optimizers
from genomeconv.train.notify import Silent
from genomeconv.train.run import TrainOptions, run_training
from genomeconv.weights import load_model

MINIMAL = {"data": {"fasta": ["a.fa"]}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("begun") / "first.run"


@pytest.fixture
def first(place, train):
    """A run that others begin from."""
    if not place.exists():
        train(place, "model.head=free", "schedule.steps=4")
    return place


@pytest.fixture
def probe(first):
    return (f"model.start={json.dumps(str(first))}", "model.freeze=true")


def tensors(folder):
    return load_model(folder / "model").model.state_dict()


def test_a_frozen_trunk_keeps_every_bit(train, tmp_path, first, probe):
    train(tmp_path / "probe.run", *probe)
    before, after = tensors(first), tensors(tmp_path / "probe.run")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.weight"}


def test_all_of_it_is_trained_on(train, tmp_path, first, probe):
    train(tmp_path / "tuned.run", probe[0])
    before, after = tensors(first), tensors(tmp_path / "tuned.run")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"head.weight", "trunk.embedding.weight"} < moved


def test_it_begins_with_the_weights_of_the_start(train, tmp_path, first, probe):
    """Rates so small that nothing moves leave the start as it was."""
    still = [f"optimiser.{name}=1e-30" for name in ("lr", "filter_lr", "matrix_lr")]
    train(tmp_path / "still.run", probe[0], *still, "optimiser.weight_decay=0")
    before, after = tensors(first), tensors(tmp_path / "still.run")
    assert all(torch.equal(before[name], after[name]) for name in before)


def parts(make_config, settings):
    config = make_config(*settings)
    model = build_model(config.model, 0)
    model.trunk.requires_grad_(not config.start.freeze)
    objective = build_objective(config.objective, config.model)
    return config, model, Learner(model, objective, config.compute)


def saved_bytes(learner):
    """Bytes that a step keeps for the gradient."""
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    tokens = torch.zeros(4, 64, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = learner(tokens, tokens)
        torch.autograd.backward(loss)
    return sum(kept.values())


def test_a_frozen_trunk_keeps_nothing_for_gradients(make_config, probe):
    config, model, learner = parts(make_config, probe)
    _, _, whole = parts(make_config, probe[:1])
    assert saved_bytes(learner) < saved_bytes(whole) / 10
    assert all(p.grad is None for p in model.trunk.parameters())
    assert model.head.weight.grad is not None
    optimizers = Optimizers(model, config.optimiser)
    assert [tuple(p.shape) for p in optimizers.parameters] == [(5, 8)]
    optimizers.step()
    assert {name.rpartition("/")[0] for name in optimizers.state()} == {"head.weight"}


def test_a_frozen_trunk_is_in_evaluation_mode(make_config, probe):
    """Nothing is dropped from the taps of what does not learn."""
    _, model, learner = parts(make_config, probe)
    learner.train()
    assert model.training
    assert not any(module.training for module in model.trunk.modules())
    _, model, learner = parts(make_config, probe[:1])
    learner.train()
    assert all(module.training for module in model.trunk.modules())


def test_the_record_and_the_card_name_the_start(train, tmp_path, first, probe):
    folder = tmp_path / "probe.run"
    train(folder, *probe)
    sha256 = load_model(first / "model").sha256
    record = json.loads((folder / "run.json").read_text())
    assert record["start"] == {"name": "first", "sha256": sha256}
    assert record["config"]["model"]["freeze"] is True
    card = json.loads((folder / "report" / "card.json").read_text())
    assert card["start"] == {"name": "first", "sha256": sha256, "frozen": True}
    text = (folder / "report" / "card.md").read_text()
    assert f"Began from first (sha256 {sha256[:16]}), its trunk unchanged." in text
    assert str(first.parent) not in text


def test_resumed_it_ends_with_the_same_bits(train, tmp_path, helpers, probe):
    class Stopping:
        def start(self, steps, done):
            """Begin."""

        def advance(self, step, bases, metrics):
            if step == 5:
                raise KeyboardInterrupt

        def finish(self):
            """End."""

    train(tmp_path / "whole.run", *probe)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut.run", *probe, progress=Stopping())
    train(tmp_path / "cut.run", *probe, resume=True)
    a, b = (helpers.final_bytes(tmp_path / f"{n}.run") for n in ("whole", "cut"))
    assert a == b


def test_resuming_with_another_start_is_refused(train, tmp_path, first, probe):
    train(tmp_path / "probe.run", *probe)
    train(tmp_path / "other.run", "model.head=free", "schedule.seed=9")
    other = f"model.start={json.dumps(str(tmp_path / 'other.run'))}"
    with pytest.raises(ModelError) as caught:
        train(tmp_path / "probe.run", other, probe[1], resume=True)
    assert str(caught.value).startswith(
        'the model changed since the run began: model.start sha256 "'
    )


def test_a_run_does_without_its_start_once_it_has_a_checkpoint(
    train, tmp_path, helpers, probe, first, monkeypatch
):
    folder = tmp_path / "probe.run"
    train(folder, *probe)
    before = helpers.final_bytes(folder)
    config = json.loads((folder / "run.json").read_text())["config"]
    hidden = first.rename(first.with_name("hidden"))
    try:
        again = from_dict(config)
        options = TrainOptions(config=again, folder=folder, resume=True)
        run_training(options, Silent(), helpers.quiet)
        with pytest.raises(ModelError, match=r"^config: model\.start: no model "):
            run_training(
                TrainOptions(config=again, folder=tmp_path / "new.run"),
                Silent(),
                helpers.quiet,
            )
        assert not (tmp_path / "new.run").exists()
    finally:
        hidden.rename(first)
    assert helpers.final_bytes(folder) == before


def test_the_shape_is_that_of_the_start():
    config = from_dict({**MINIMAL, "model": {"start": "human"}})
    assert config.model == load_model("human").model.config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert opened_start(config).name == "human"


def refusal(**model):
    with pytest.raises(ModelError) as caught:
        opened_start(from_dict({**MINIMAL, "model": model}))
    return str(caught.value)


def test_refusals(tmp_path):
    assert refusal(start="human", width=256) == (
        "config: model.width must be 128, as in model.start 'human', got 256; "
        "leave the line out"
    )
    assert refusal(start="human", layers=1) == (
        "config: model.layers must be 3, as in model.start 'human', got 1; "
        "leave the line out"
    )
    assert refusal(start="humen").startswith(
        "config: model.start: no model 'humen': not a folder, and not a model"
    )
    assert refusal(freeze=True) == (
        "config: model.freeze must be false without model.start, got True"
    )
    assert refusal(start="human", freeze=True) == (
        'config: model.freeze must be false where model.head = "tied": nothing would '
        "be left to learn, got True"
    )
    assert refusal(begin="human").startswith("config: unknown key 'begin'")
    assert refusal(start=3) == "model.start must be text, got 3"
    (tmp_path / "run.json").write_text("{}")
    assert refusal(start=str(tmp_path)) == (
        f"config: model.start: {tmp_path}: this run has made no model yet; let it end "
        f"with `genomeconv train {tmp_path} --resume`"
    )


def test_a_misfit_is_refused_before_anything_is_made(train, tmp_path, probe):
    with pytest.raises(ModelError, match=r"^config: model\.width must be 8, as in"):
        train(tmp_path / "new.run", probe[0], "model.width=4096")
    assert not (tmp_path / "new.run").exists()


def test_outputs_are_taken_over_where_their_names_are_the_same(tmp_path):
    """Labels of genes go on being learned; other outputs are new."""
    folder = opened_start(
        from_dict({**MINIMAL, "model": {"start": "yeast-genes", "head": "none"},
                   "objective": {"kind": "tracks", "tracks": ["a.bw"]}})
    )  # fmt: skip
    source = load_model("yeast-genes").model
    for outputs in (source.config.outputs, ("x",)):
        model = build_model(replace(source.config, outputs=outputs), 3)
        fresh = model.outputs.weight.clone()
        take_weights(model, folder)
        same = outputs == source.config.outputs
        wanted = source.outputs.weight if same else fresh
        assert torch.equal(model.outputs.weight, wanted)
        assert torch.equal(model.trunk.norm.weight, source.trunk.norm.weight)
