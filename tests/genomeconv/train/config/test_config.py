"""Configs: the template is the defaults; everything wrong is refused by name."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import pytest

from genomeconv.config import ModelConfig
from genomeconv.errors import InputMissingError, ModelError, UsageError
from genomeconv.train.config import StartConfig, from_dict, to_dict
from genomeconv.train.config.sections import SECTIONS
from genomeconv.train.config.settings import apply, read_toml
from genomeconv.train.config.template import template

OF_OTHER_KINDS = {
    "annotation", "outputs", "column", "pooling", "balance", "tracks", "bin", "loss",
    "missing", "focus", "emphasis", "average",
}  # fmt: skip
MINIMAL = {"data": {"fasta": ["a.fa"]}}


@pytest.mark.parametrize("kind", ["lm", "mask"])
def test_the_template_is_the_defaults(kind):
    values = tomllib.loads(template(kind, "a.fa"))
    filters = {"lm": {"taps": 1024}, "mask": {"taps": 1025, "right": 512}}[kind]
    wanted = apply(MINIMAL, [f"objective.kind={kind}"])
    wanted["model"] = {
        "width": 128,
        "layers": 3,
        "filters": [{"family": "sgconv", **filters}],
        "vocabulary": {"lm": 5, "mask": 6}[kind],
    }
    assert from_dict(values) == from_dict(wanted)
    if kind == "lm":
        assert from_dict(values) == from_dict(MINIMAL)


@pytest.mark.parametrize("kind", ["lm", "mask"])
def test_the_template_names_every_field(kind):
    values = tomllib.loads(template(kind, "a.fa"))
    for name, cls in {**SECTIONS, "model": ModelConfig}.items():
        fields = {f.name for f in dataclasses.fields(cls)}
        if name == "model":
            fields |= {f.name for f in dataclasses.fields(StartConfig)}
        assert set(values[name]) <= fields
        assert fields - set(values[name]) <= OF_OTHER_KINDS


def test_round_trip_through_json():
    config = from_dict(tomllib.loads(template("mask")))
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


REFUSALS = {
    "data.windw=3": "data: unknown key 'windw' (known: fasta, window, windows, "
    "reverse_complement, focus, soft_mask, gaps, cache, workers)",
    "trian.x=1": "config: unknown section 'trian' (known: model, data, split, "
    "objective, optimiser, schedule, checkpoint, compute, card)",
    "data=[1]": None,
    "data.window='long'": "data.window must be a whole number, got 'long'",
    "data.window=64.0": "data.window must be a whole number, got 64.0",
    "data.window=true": "data.window must be a whole number, got True",
    "data.window=8": "config: data.window must be 16 to 16,777,216, got 8",
    "data.windows=1_000_000_000_000": "config: data.windows must be 1 to 65,536, got "
    "1000000000000",
    "data.fasta=[]": "config: data.fasta must be at least one file, got ()",
    "data.fasta='a.fa'": "data.fasta must be a list of texts, got 'a.fa'",
    "data.reverse_complement=1": "data.reverse_complement must be true or false, got 1",
    "data.gaps=remove": "data.gaps must be one of error, n, got 'remove'",
    "model.width=-8": "config: width must be 1 to 65536, got -8",
    "model.layers=1_000_000_000": "config: layers must be 1 to 1024, got 1000000000",
    "model.head=none": "config: model.head must be tied or free to be trained, got "
    "'none'",
    "model.filters.0.right=3": "config: filter.right must be 0 with objective.kind = "
    '"lm", where the next base must not be seen, got 3',
    "objective.kind=mask": "config: objective.mask_id must be a row below "
    "model.vocabulary (5) that no base has, got 5",
    "objective.share=1": "config: objective.share must be in (0, 1), got 1",
    "optimiser.lr=0": "config: optimiser.lr must be positive, got 0",
    "optimiser.lr=nan": "optimiser.lr must be a finite number, got nan",
    "optimiser.ema=1.0": "config: optimiser.ema must be in [0, 1), got 1.0",
    "schedule.first_window=100": "config: schedule.first_window must be 0, or "
    "data.window (2048) halved some times, got 100",
    "split.valid_fraction=0.96": "config: split: the two fractions together must be "
    "below 1, got 1.01",
    'split.valid=["chr1"]': "config: split.by with split.train, valid or test must be "
    '"regions" or "bed", got \'fractions\'',
    "split.by=bed": "config: split.train, split.valid or split.test must be given with "
    'split.by = "bed", got ()',
    "compute.device=tpu": "config: compute.device must be auto, cpu, cuda or cuda:I, "
    "got 'tpu'",
    "compute.context=0": "config: compute.context must be 1 to 65,536, got 0",
    "compute.context=3": "config: data.window must be a multiple of 3 processes, "
    "got 2048",
    "checkpoint.keep=0": "config: checkpoint.keep must be 1 to 1,099,511,627,776, "
    "got 0",
}


TOGETHER = [
    (
        ["compute.compile=true", "compute.shard=true"],
        "compute.compile must be false with compute.shard or compute.context, got True",
    ),
    (
        ["compute.compile=true", "compute.context=2"],
        "compute.compile must be false with compute.shard or compute.context, got True",
    ),
    (
        ["compute.context=32", "schedule.first_window=16"],
        "schedule.first_window must be a multiple of 32 processes, got 16",
    ),
    (
        ["compute.context=2", "objective.kind=tracks"],
        "objective.kind must be one of lm, mask, labels with compute.context = 2, "
        "got 'tracks'",
    ),
]


@pytest.mark.parametrize(("settings", "message"), TOGETHER)
def test_what_does_not_go_together(settings, message):
    with pytest.raises(ModelError) as caught:
        from_dict(apply(tomllib.loads(template("lm", "a.fa")), settings))
    assert str(caught.value) == f"config: {message}"


@pytest.mark.parametrize("setting", REFUSALS)
def test_refusals(setting):
    base = tomllib.loads(template("lm", "a.fa"))
    if REFUSALS[setting] is None:
        with pytest.raises(UsageError):
            apply(base, [setting])
        return
    with pytest.raises(ModelError) as caught:
        from_dict(apply(base, [setting]))
    assert str(caught.value) == REFUSALS[setting]


def test_too_many_bases_a_step():
    with pytest.raises(ModelError) as caught:
        from_dict(apply(MINIMAL, ["data.window=16777216", "data.windows=65"]))
    assert str(caught.value) == (
        "config: data.window x data.windows must be at most 1,073,741,824 bases a "
        "step, got 1090519040"
    )


def test_missing_fasta():
    with pytest.raises(ModelError, match=r"^config: data\.fasta is missing"):
        from_dict({})
    with pytest.raises(ModelError, match=r"^data: fasta is missing$"):
        from_dict({"data": {}})


@pytest.mark.parametrize("setting", ["steps=3", "schedule.steps", "schedule.=3", "=3"])
def test_settings_that_are_none(setting):
    with pytest.raises(UsageError) as caught:
        apply(MINIMAL, [setting])
    assert str(caught.value) == (
        f"--set {setting!r}: write section.key=value, as schedule.steps=500"
    )


def test_settings_that_lead_nowhere():
    with pytest.raises(UsageError) as caught:
        apply(MINIMAL, ["data.fasta.1=b.fa"])
    assert str(caught.value) == "--set 'data.fasta.1=b.fa': there is no '1' to be set"


def test_settings_are_toml_or_text():
    settings = ["a.x=1", "a.y=cpu", "a.z=[1, 2]", "a.w='1'", "a.v=a=b", "a.u="]
    assert apply({}, settings)["a"] == {
        "x": 1, "y": "cpu", "z": [1, 2], "w": "1", "v": "a=b", "u": "",
    }  # fmt: skip
    assert MINIMAL == {"data": {"fasta": ["a.fa"]}}


def test_files_that_are_no_config(tmp_path):
    path = tmp_path / "x.toml"
    with pytest.raises(InputMissingError) as missing:
        read_toml(path)
    assert str(missing.value) == (
        f"{path}: no such file; `genomeconv train --init lm > {path}` makes one"
    )
    path.write_text("[data]\nwindow = \n")
    with pytest.raises(ModelError, match=r"x\.toml: not TOML: .*line 2, column 10"):
        read_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"x\.toml: not TOML: "):
        read_toml(path)
