"""Steps: the same result in parts, nothing moved by NaN, something learned."""

from __future__ import annotations

import json
import math

import pytest
import torch
from training_processes import in_world, training_compiled

from genomeconv.errors import (
    CannotCreateError,
    DeviceError,
    LockedError,
    ModelError,
    NonFiniteError,
)
from genomeconv.model import build_model
from genomeconv.train.engine.learner import Learner
from genomeconv.train.folder.checkpoints import Checkpoints
from genomeconv.train.folder.log import read_log
from genomeconv.train.notify import Silent
from genomeconv.weights.folder import load_model


def newest(folder, helpers):
    return Checkpoints(folder / "checkpoints", 2, helpers.quiet).newest()


def log_of(folder, kind):
    return [x for x in read_log(folder / "metrics.jsonl") if x["kind"] == kind]


@pytest.mark.parametrize("hidden", [False, True])
def test_it_learns(train, helpers, tmp_path, hidden):
    """The text is of four words of four letters: half a bit a base is the least."""
    settings = ["schedule.steps=60", "checkpoint.every=20", "optimiser.ema=0.8"]
    if hidden:
        settings += helpers.HIDDEN
    summary = train(tmp_path / "run", *settings)
    losses = [line["bits_per_base"] for line in log_of(tmp_path / "run", "train")]
    assert losses[0] > 1.9
    assert summary.best_step in (20, 40, 60)
    valid = {x["step"]: x["loss"] for x in log_of(tmp_path / "run", "valid")}
    assert summary.best_loss == min(valid.values()) == valid[summary.best_step]
    card = json.loads((tmp_path / "run" / "report" / "card.json").read_text())
    for part in ("valid", "test"):
        results = card["results"][part]
        of_composition = results["markov_bits_per_base"][0]
        assert results["bits_per_base"] < of_composition - 0.08
    assert card["progress"]["model_step"] == summary.best_step


def test_parts_give_the_same_step(train, helpers, tmp_path):
    one, three = tmp_path / "one", tmp_path / "three"
    adamw = "optimiser.kind=adamw"
    train(one, adamw)
    train(three, adamw, "optimiser.accumulate=3", "compute.recompute=true")
    for a, b in zip(helpers.curve(one), helpers.curve(three), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-6)
    ours, theirs = (newest(f, helpers).tensors["model"] for f in (one, three))
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, atol=2e-5, rtol=0)


def test_the_mean_of_the_weights_becomes_the_model(
    train, helpers, tmp_path, make_config
):
    """m <- decay m + (1 - decay) w, from the first weights on, step by step."""
    folder, decay = tmp_path / "run", 0.75
    every = "checkpoint.every=1", "checkpoint.keep=9", "checkpoint.best=false"
    train(folder, f"optimiser.ema={decay}", *every)
    wanted = {
        name: value.double()
        for name, value in build_model(make_config().model, 0).state_dict().items()
    }
    checkpoints = Checkpoints(folder / "checkpoints", 9, helpers.quiet)
    for step in range(1, 9):
        tensors = checkpoints.read(step).tensors
        for name, weight in tensors["model"].items():
            wanted[name] = decay * wanted[name] + (1 - decay) * weight.double()
            kept = tensors["ema"][name].double()
            torch.testing.assert_close(kept, wanted[name], atol=1e-6, rtol=0, msg=name)
    made = load_model(folder / "model").model.state_dict()
    last, mean = tensors["model"], tensors["ema"]
    assert all(torch.equal(made[name], mean[name]) for name in mean)
    assert not any(torch.equal(made[n], last[n]) for n in last if "weight" in n)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_compiled(train, asked, helpers, tmp_path, size):
    """Compiled for this machine, alone and among others: the same curve."""
    plain, compiled = tmp_path / "plain", tmp_path / "compiled"
    train(plain, "optimiser.kind=adamw")
    setting = "compute.compile=true"
    options = asked(compiled, "optimiser.kind=adamw", setting)
    codes = in_world(size, training_compiled, options)
    assert codes == [0] * size
    for a, b in zip(helpers.curve(plain), helpers.curve(compiled), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)


def test_nothing_to_compile_with(train, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError) as caught:
        train(tmp_path / "run", "compute.compile=true")
    assert str(caught.value) == (
        "config: compute.compile needs a C++ compiler, there is no no-such-compiler; "
        "install one, or name it in CXX"
    )


def test_workers_change_nothing(train, helpers, tmp_path):
    for workers in (0, 3):
        train(tmp_path / f"{workers}", f"data.workers={workers}")
    first, second = (tmp_path / "0", tmp_path / "3")
    assert helpers.final_bytes(first) == helpers.final_bytes(second)


def test_the_seed_changes_everything(train, helpers, tmp_path):
    train(tmp_path / "a"), train(tmp_path / "b", "schedule.seed=1")
    assert helpers.curve(tmp_path / "a") != helpers.curve(tmp_path / "b")


@pytest.fixture
def broken(monkeypatch):
    """Make the loss NaN at some calls of the forward pass with gradients."""

    def make(*calls):
        forward, count = Learner.forward, 0

        def call(self, inputs, targets):
            nonlocal count
            loss = forward(self, inputs, targets)
            if torch.is_grad_enabled():
                count += 1
                loss = loss * math.nan if count in calls else loss
            return loss

        monkeypatch.setattr(Learner, "forward", call)

    return make


def test_a_step_that_is_not_finite_is_skipped(train, helpers, tmp_path, broken):
    plain, skipping = tmp_path / "plain", tmp_path / "skipping"
    steps = "schedule.steps=4", "checkpoint.every=1", "checkpoint.keep=9"
    log = "checkpoint.log_every=1"
    train(plain, *steps, log)
    broken(3)
    summary = train(skipping, *steps, log)
    assert summary.skipped == 1
    lines = log_of(skipping, "train")
    assert [line["loss"] is None for line in lines] == [False, False, True, False]
    assert [line["skipped"] for line in lines] == [0, 0, 1, 1]
    checkpoints = Checkpoints(skipping / "checkpoints", 9, helpers.quiet)
    before, after = (checkpoints.read(step) for step in (2, 3))
    for kind in ("model", "optimiser"):
        for name, value in before.tensors[kind].items():
            assert torch.equal(after.tensors[kind][name], value)
    assert [x["loss"] for x in lines[:2]] == [
        x["loss"] for x in log_of(plain, "train")[:2]
    ]


def test_too_many_in_a_row(train, helpers, tmp_path, broken):
    broken(2, 5, 6, 7)
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError) as caught:
        train(folder, "optimiser.nonfinite_limit=3")
    assert str(caught.value) == (
        f"{folder}: no finite loss and gradient in the 3 steps up to 7; the batch is "
        f"in {folder / 'nonfinite.json'}, the last checkpoint is step 4; lower the "
        "rates of [optimiser] or raise schedule.warmup"
    )
    values = json.loads((folder / "nonfinite.json").read_text())
    assert (values["step"], values["skipped"], len(values["windows"])) == (6, 4, 6)
    assert {window["strand"] for window in values["windows"]} <= {"+", "-"}
    assert all(":" in window["region"] for window in values["windows"])
    assert newest(folder, helpers).step == 4
    assert not (folder / "model").exists()


def test_infinite_gradients_move_nothing(train, helpers, tmp_path, monkeypatch):
    real = torch.nn.utils.clip_grad_norm_

    def explode(parameters, limit):
        real(parameters, limit)
        return torch.tensor(math.inf)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", explode)
    with pytest.raises(NonFiniteError, match="in the 5 steps up to 5"):
        train(tmp_path / "run")


def test_checkpoints_that_are_kept(train, tmp_path):
    """The newest two, and the best."""
    summary = train(tmp_path / "run", "schedule.steps=10", "checkpoint.every=1")
    steps = {int(p.name[5:]) for p in (tmp_path / "run/checkpoints").iterdir()}
    assert steps == {9, 10, summary.best_step}


def test_a_run_is_not_written_over(train, tmp_path):
    folder = tmp_path / "run"
    train(folder)
    with pytest.raises(CannotCreateError) as caught:
        train(folder)
    assert str(caught.value) == (
        f"{folder}: holds a run; add --resume to go on with it, or choose another "
        "folder with -o"
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    for options in ({}, {"resume": True}):
        with pytest.raises(CannotCreateError, match="exists and is not a run"):
            train(other, **options)
    with pytest.raises(CannotCreateError, match="does not exist; make it first"):
        train(tmp_path / "no" / "run")


def test_one_run_at_a_time(train, tmp_path):
    folder = tmp_path / "run"

    class Twice(Silent):
        def advance(self, step, bases, metrics):
            with pytest.raises(LockedError, match="is being written by"):
                train(folder, resume=True)

    train(folder, "schedule.steps=1", progress=Twice())


def test_nothing_held_out(train, tmp_path):
    said = []
    settings = ["split.valid_fraction=0", "split.test_fraction=0"]
    summary = train(
        tmp_path / "run", *settings, notify=lambda *words: said.append(words)
    )
    assert summary.best_step == -1
    assert (
        "info",
        "no validation text: the model will be the last, not the best",
    ) in said
    text = (tmp_path / "run" / "report" / "card.md").read_text()
    assert "Nothing was held out: there is no honest number." in text


CHANGES = {
    "schedule.steps=9": "schedule.steps 8 -> 9",
    "optimiser.lr=0.1": "optimiser.lr 0.003 -> 0.1",
}


@pytest.mark.parametrize("setting", CHANGES)
def test_another_config(train, tmp_path, setting):
    folder = tmp_path / "run"
    train(folder)
    with pytest.raises(ModelError) as caught:
        train(folder, setting, resume=True)
    assert str(caught.value) == (
        f"the config changed since the run began: {CHANGES[setting]}; undo that, start "
        "a new run with -o, or go on with --allow-config-change"
    )
    train(folder, setting, resume=True, allow=frozenset({"config"}))
    record = json.loads((folder / "run.json").read_text())
    assert record["changes"] == [{"step": 8, "what": [CHANGES[setting]]}]


def test_another_model(train, tmp_path):
    folder = tmp_path / "run"
    train(folder)
    with pytest.raises(ModelError) as caught:
        train(folder, "model.width=16", resume=True, allow=frozenset({"config"}))
    assert str(caught.value) == (
        "the model changed since the run began: model.width 8 -> 16; its weights do "
        "not fit another; start a new run with -o"
    )


def test_other_versions(train, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    train(folder)
    monkeypatch.setattr("genomeconv.train.folder.record.__version__", "99")
    with pytest.raises(ModelError, match=r'version of genomeconv "\S*" -> "99"'):
        train(folder, resume=True)


def test_other_sequences(train, fasta, tmp_path):
    folder, copy = tmp_path / "run", tmp_path / "copy.fa"
    copy.write_bytes(fasta.read_bytes())
    setting = f'data.fasta=["{copy}"]'
    train(folder)
    train(folder, setting, resume=True)  # another place, the same content
    copy.write_bytes(fasta.read_bytes().replace(b"ACGT", b"ACGA", 1))
    with pytest.raises(ModelError) as caught:
        train(folder, setting, resume=True)
    assert str(caught.value).startswith(
        f"the data changed since the run began: {copy}, 8,090 bases in 3 sequences "
        "then, 8,090 in 3 now, sha256 "
    )
    assert str(caught.value).endswith("or go on with --allow-data-change")
    train(folder, setting, resume=True, allow=frozenset({"data"}))


def test_settings_that_decide_no_number_may_change(train, tmp_path):
    folder = tmp_path / "run"
    train(folder)
    changes = ["checkpoint.keep=5", "compute.threads=1", "card.licence=CC0"]
    train(folder, *changes, resume=True)
    assert json.loads((folder / "run.json").read_text())["changes"] == []


def test_no_such_device(train, tmp_path):
    with pytest.raises(DeviceError, match=r"compute\.device = 'cuda:63': this machine"):
        train(tmp_path / "run", "compute.device=cuda:63")
    assert not (tmp_path / "run").exists()


def test_what_the_caller_had_is_left(train, tmp_path):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    train(tmp_path / "run", f"compute.threads={threads + 1}")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
