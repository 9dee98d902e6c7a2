"""The table of fine-tuning: what is learned from, what is judged, what is written."""

from __future__ import annotations

import csv
import gzip
import importlib
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "recipes/finetune"


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr("genomeconv.train.report.write.find_spec", lambda name: None)
    yield importlib.import_module("finetune")
    for name in ("finetune", "cnn"):
        sys.modules.pop(name)


@pytest.fixture
def data(tmp_path):
    """Two classes by their letters; a training sequence is in dev, one turned round."""
    rng = random.Random(1)

    def rows(count):
        return [
            ["".join(rng.choices("ACGT", [1 + 3 * c, 1, 1, 1], k=30)), c]
            for c in rng.choices((0, 1), k=count)
        ]

    dev, train = rows(40), rows(80)
    train[0] = dev[0]
    train[1][0] = dev[1][0].translate(str.maketrans("ACGT", "TGCA"))[::-1]
    for name, found in (("dev", dev), ("train", train)):
        with gzip.open(tmp_path / f"x.{name}.csv.gz", "wt", newline="") as file:
            csv.writer(file).writerows([["sequence", "label"], *found])
    return tmp_path


def test_nothing_of_dev_is_learned_from(recipe, data):
    task = replace(recipe.TASKS[0], name="x", file="x", sample=100)
    train = recipe.rows(data / "x.train.csv.gz")
    found = recipe.sampled(task, data, 0)
    assert sorted(found) == sorted(train[2:])
    few = replace(task, sample=10)
    assert recipe.sampled(few, data, 0) == recipe.sampled(few, data, 0)
    assert recipe.sampled(few, data, 0) != recipe.sampled(few, data, 1)


def test_one_command(recipe, data, monkeypatch, capsys):
    """Every method's number once, in the file as soon as it is there, and a table."""
    task = replace(recipe.TASKS[0], name="x", file="x", sample=64)
    monkeypatch.setattr(recipe, "TASKS", (task,))
    monkeypatch.setattr(recipe, "SEEDS", (0,))
    output = data / "finetune.json"
    monkeypatch.setattr(sys, "argv", ["finetune.py", str(data), "-o", str(output)])
    recipe.main()
    rows = json.loads(output.read_text())["rows"]
    assert [r["method"] for r in rows] == list(recipe.METHODS)
    assert all(r["train_sequences"] == 64 and r["dev_sequences"] == 40 for r in rows)
    assert rows[0]["matthews"] > 0.3
    assert capsys.readouterr().out.splitlines()[-1].startswith("| x | 64 | ")
    before = output.read_bytes()
    recipe.main()
    assert output.read_bytes() == before
