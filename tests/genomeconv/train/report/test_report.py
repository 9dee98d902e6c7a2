"""The end of a run: a model that runs, a card that tells the truth, a picture."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

from genomeconv.train.data.splits import Stretch
from genomeconv.train.evaluate import EvaluateOptions, evaluate
from genomeconv.train.notify import Silent
from genomeconv.weights import describe, load_model

PNG = b"\x89PNG\r\n\x1a\n"


class Bases(Silent):
    done = 0

    def start(self, total, description):
        self.total = total

    def advance(self, bases):
        self.done += bases


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("finished") / "tiny.run"


@pytest.fixture
def finished(place, train):
    """A run that several tests look at."""
    if not place.exists():
        train(place, "card.licence=CC0", "schedule.steps=30")
    return place


def test_the_model_folder(finished, helpers):
    loaded = load_model(finished / "model")
    assert loaded.name == "tiny"  # as the run folder
    facts = describe(finished / "model")
    assert facts["description"] == "Predicts the next base; trained on genome.fa."
    assert facts["card"]["licence"] == "CC0"
    in_short = r"valid [\d.]{6} bits per base, the best Markov model [\d.]{6}; test .*"
    assert re.fullmatch(in_short, facts["card"]["in_short"])
    state = torch.nn.Module.state_dict(loaded.model)
    assert all(torch.isfinite(value).all() for value in state.values())


def test_the_numbers_of_the_card(finished, corpus):
    """Bits per base again, from a whole forward pass over each held-out stretch."""
    card = json.loads((finished / "report" / "card.json").read_text())
    record = json.loads((finished / "run.json").read_text())
    model = load_model(finished / "model").model
    for part in ("valid", "test"):
        total = count = 0
        for region in record["splits"][part]["regions"]:
            name, _, span = region.rpartition(":")
            first, last = map(int, span.split("-"))
            s = Stretch(corpus.number_of[name], first - 1, last)
            codes = torch.tensor(np.array(corpus.codes(*s))).long()
            logits = model(codes[None])[0, :-1, :4].double()
            p = logits.log_softmax(-1)
            for i, base in enumerate(codes[1:].tolist()):
                if base < 4:
                    total -= float(p[i, base]) / math.log(2)
                    count += 1
        result = card["results"][part]
        assert result["bases"] == count
        assert result["bits_per_base"] == pytest.approx(total / count, abs=1e-4)
        assert len(result["markov_bits_per_base"]) >= 5
        assert min(result["markov_bits_per_base"]) < result["markov_bits_per_base"][0]


def test_the_card_as_text(finished):
    text = (finished / "report" / "card.md").read_text()
    assert text.startswith("# tiny\n")
    for words in ("## Bits per base", "| **this model** | **", "Markov, order 3 "):
        assert words in text
    assert "CC0" in text
    assert str(finished.parent) not in text  # no place of this machine
    assert str(finished.parent) not in (finished / "model" / "model.json").read_text()


def test_the_curves(train, tmp_path, pictures):
    train(tmp_path / "run")
    picture = (tmp_path / "run" / "report" / "curves.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) > 10_000


def test_without_matplotlib(train, tmp_path):
    said = []
    train(tmp_path / "run", notify=lambda *words: said.append(words))
    assert said[-1] == (
        "warning",
        "no curves were drawn: that needs matplotlib; pip install 'genomeconv[plot]', "
        "then the same command with --resume",
    )
    assert not (tmp_path / "run" / "report" / "curves.png").exists()


def rows_of(results):
    return {row["sequence"]: row for row in results["rows"]}


def test_evaluate(finished, fasta, tmp_path, helpers):
    bed = tmp_path / "x.bed"
    bed.write_text(
        "chr1\t0\t1000\tleft\nchr1\t500\t1000\tleft\nchr2\t9\t10\tone base\n"
    )
    bar = Bases()
    results = evaluate(
        EvaluateOptions(
            fasta=str(fasta), model=str(finished / "model"), bed=bed, device="cpu"
        ),
        bar,
        helpers.quiet,
    )
    assert bar.done == bar.total == 8090
    assert list(results) == [
        "model", "model_sha256", "fasta", "fasta_sha256", "objective",
        "markov_learned_from", "rows",
    ]  # fmt: skip
    loaded = load_model(finished / "model")
    assert results["model_sha256"] == loaded.sha256
    assert (results["model"], results["fasta"]) == (loaded.name, str(fasta))
    rows = rows_of(results)
    assert list(rows) == [
        "chr1", "chr2", "short", "class left", "class one base", "all sequences",
    ]  # fmt: skip
    assert rows["class left"]["bases"] == 899
    assert rows["class one base"]["bases"] == 1
    whole = rows["all sequences"]
    assert whole["bases"] == 8090 - 200 - 3
    parts = [rows[name] for name in ("chr1", "chr2", "short")]
    assert whole["bits_per_base"] == pytest.approx(
        sum(r["bases"] * r["bits_per_base"] for r in parts) / whole["bases"]
    )
    assert whole["markov_bits_per_base"] == min(whole["markov_by_order"])
    assert 0.5 < whole["markov_bits_per_base"] < 1.7
    assert results["markov_learned_from"] == "the other half of the same text"


@pytest.mark.parametrize("markov", ["none", "file"])
def test_evaluate_beside_another_text(finished, fasta, helpers, markov):
    results = evaluate(
        EvaluateOptions(
            fasta=str(fasta),
            model=str(finished / "model"),
            markov=str(fasta) if markov == "file" else markov,
            order=2,
            device="cpu",
        ),
        Bases(),
        helpers.quiet,
    )
    orders = rows_of(results)["all sequences"]["markov_by_order"]
    assert len(orders) == (3 if markov == "file" else 0)


def test_evaluate_a_model_of_hidden_bases(train, fasta, tmp_path, helpers):
    train(tmp_path / "run", *helpers.HIDDEN)
    results = evaluate(
        EvaluateOptions(
            fasta=str(fasta), model=str(tmp_path / "run" / "model"), device="cpu"
        ),
        Bases(),
        helpers.quiet,
    )
    assert results["objective"] == "hidden base"
    whole = rows_of(results)["all sequences"]
    assert whole["bases"] == 8090 - 200
    assert whole["bits_per_base"] < 2.1
