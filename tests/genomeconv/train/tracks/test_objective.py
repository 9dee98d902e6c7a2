"""Tracks: BigWig to bins, the losses beside their formulas, metrics, and whole runs."""

from __future__ import annotations

import json
import math
import sys
import tomllib

import numpy as np
import pyBigWig
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import Nothing, held_out

from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.errors import DataError, InputMissingError, ModelError, UsageError
from genomeconv.model import build_model
from genomeconv.train.config import from_dict
from genomeconv.train.config.template import template
from genomeconv.train.data.splits import Stretch
from genomeconv.train.data.windows import Sampler, Window
from genomeconv.train.evaluate import EvaluateOptions, evaluate
from genomeconv.train.objectives import IGNORED
from genomeconv.train.tracks.bigwig import read_tracks
from genomeconv.train.tracks.judge import (
    TrackBaselines,
    gc_content,
    predictions,
    track_metrics,
)
from genomeconv.train.tracks.objective import (
    SUM_WEIGHT,
    TrackBins,
    check_means,
    track_means,
)
from genomeconv.train.tracks.source import TrackSource, track_names

CONFIG = ModelConfig(
    width=8, layers=1, filters=(ExplicitFilter(taps=9, right=4),),
    head="none", outputs=("a", "b"),
)  # fmt: skip


def write(path, lengths, entries):
    """Make a BigWig file of (name, start, stop, value)."""
    file = pyBigWig.open(str(path), "w")
    file.addHeader(list(lengths.items()))
    names, starts, stops, values = zip(*entries, strict=True)
    file.addEntries(
        list(names), list(starts), ends=list(stops), values=[float(v) for v in values]
    )
    file.close()
    return str(path)


@pytest.fixture
def dense(tmp_path, helpers):
    """A value at every base of chr1 and chr2, none of "short"."""
    sizes = {name: helpers.RECORDS[name] for name in ("chr1", "chr2")}
    entries = [
        (name, i, min(i + 7, n), (i // 7) % 5 + (name == "chr2"))
        for name, n in sizes.items()
        for i in range(0, n, 7)
    ]
    return write(tmp_path / "dense.bw", sizes, entries)


@pytest.fixture
def sparse(tmp_path, helpers):
    """Values in parts of chr1 alone."""
    entries = [("chr1", 10, 20, 2), ("chr1", 20, 25, 4), ("chr1", 800, 1600, 1)]
    return write(tmp_path / "sparse.bw", {"chr1": helpers.RECORDS["chr1"]}, entries)


def test_bins(corpus, sparse, helpers):
    """Means of the bases that have a value; NaN where none has; whole bins alone."""
    said = []
    values = read_tracks([sparse], corpus, 16, "skip", lambda *w: said.append(w))
    assert [v.shape for v in values] == [(312, 1), (187, 1), (5, 1)]
    column = values[0][:, 0]
    assert column[0] == 2
    assert column[1] == pytest.approx((4 * 2 + 5 * 4) / 9)
    assert np.isnan(column[2:50]).all()
    assert column[50:100].tolist() == [1] * 50
    assert np.isnan(values[1]).all()
    assert said == [("warning", f"{sparse}: has no 'chr2', 'short'; not learned from")]
    zero = read_tracks([sparse], corpus, 16, "zero", helpers.quiet)
    assert zero[0][:2, 0].tolist() == [6 * 2 / 16, (4 * 2 + 5 * 4) / 16]
    assert not zero[0][2:50].any()
    assert np.isnan(zero[1]).all()


@pytest.mark.parametrize("size", [1, 7, 64, 5000, 6000])
def test_bins_are_absolute(corpus, dense, helpers, size):
    """Bin i is bases i size to (i + 1) size, however the file is read."""
    values = read_tracks([dense], corpus, size, "skip", helpers.quiet)[0]
    by_base = np.arange(5000) // 7 % 5
    wanted = by_base[: 5000 // size * size].reshape(-1, size).mean(1)
    assert values[:, 0] == pytest.approx(wanted, abs=1e-6)


def test_pieces_change_no_bin(corpus, dense, helpers, monkeypatch):
    whole = read_tracks([dense], corpus, 24, "skip", helpers.quiet)
    monkeypatch.setattr("genomeconv.train.tracks.bigwig._PIECE", 100)
    pieces = read_tracks([dense], corpus, 24, "skip", helpers.quiet)
    for a, b in zip(whole, pieces, strict=True):
        assert np.array_equal(a, b, equal_nan=True)


def test_files_that_are_refused(corpus, tmp_path, helpers, dense):
    def refusal(path, kind=DataError):
        with pytest.raises(kind) as caught:
            read_tracks([str(path)], corpus, 16, "skip", helpers.quiet)
        return str(caught.value)

    path = tmp_path / "x.bw"
    assert refusal(path, InputMissingError).startswith(f"{path}: no such file")
    path.write_text("fixedStep chrom=chr1 start=1\n")
    assert refusal(path) == f"{path}: is not a BigWig file, or is damaged"
    write(path, {"chr1": 4000}, [("chr1", 0, 5, 1)])
    assert refusal(path) == (
        f"{path}: 'chr1' has 4,000 bases, in {corpus.label} 5,000; give the track of "
        "this assembly"
    )
    write(path, {"1": 5000}, [("1", 0, 5, 1)])
    assert refusal(path) == (
        f"{path}: no sequence '1' in {corpus.label}; did you mean 'chr1'?"
    )
    write(path, {"chr1": 5000}, [("chr1", 0, 5, 1), ("chr1", 40, 50, -2.5)])
    assert refusal(path) == (
        f"{path}: chr1:41 holds -2.5; values of 0 or more are wanted, as of counts or "
        "coverage"
    )
    write(path, {"chr1": 5000}, [("chr1", 7, 8, math.inf)])
    assert "chr1:8 holds inf" in refusal(path)


def test_without_pybigwig(corpus, dense, helpers, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyBigWig", None)
    with pytest.raises(UsageError) as caught:
        read_tracks([dense], corpus, 16, "skip", helpers.quiet)
    assert str(caught.value) == (
        f"{dense}: BigWig files need pyBigWig; pip install 'genomeconv[bigwig]'"
    )


def test_targets_of_both_strands():
    """The other strand sees the same bins in the other order."""
    values = [np.arange(24, dtype=np.float32).reshape(12, 2)]
    values[0][5, 1] = np.nan
    objective = TrackBins(CONFIG, values, np.ones(2), 4, "poisson")
    codes = np.zeros(16, np.uint8)
    window = Window(record=0, start=12, stop=28, reverse=False)
    _, targets = objective.example(window, codes, None)
    assert targets.tolist() == [[6, 7], [8, 9], [10, IGNORED], [12, 13]]
    window = Window(record=0, start=12, stop=28, reverse=True)
    _, targets = objective.example(window, codes, None)
    assert targets.tolist() == [[12, 13], [10, IGNORED], [8, 9], [6, 7]]
    window = Window(record=0, start=40, stop=48, reverse=True)
    _, targets = objective.example(window, codes, None)
    assert targets.tolist() == [[22, 23], [20, 21], [IGNORED] * 2, [IGNORED] * 2]


@given(st.integers(1, 40), st.integers(0, 50), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_windows_lie_on_the_grid(grid, start, seed):
    class Zeros:
        def codes(self, record, a, b):
            return np.zeros(b - a, np.uint8)

    size = 3 * grid
    stretches = [Stretch(0, start, start + 5 * grid), Stretch(1, 7, 7 + grid)]
    sampler = Sampler(Zeros(), stretches, seed, True, grid)
    for i in range(20):
        drawn = [sampler.draw(0, i, size)[0], sampler.spread(i, 20, size)[0]]
        for window in drawn:
            assert window.start % grid == window.stop % grid == 0
            whole = stretches[window.record]
            assert whole.start <= window.start < window.stop <= whole.stop


@given(st.integers(0, 2**32 - 1), st.sampled_from(["poisson", "multinomial"]))
@settings(max_examples=30, deadline=None)
def test_the_loss(seed, kind):
    """Beside the formulas, in float64, a window, a track and a bin at a time."""
    rng = np.random.default_rng(seed)
    model = build_model(CONFIG, 1)
    with torch.no_grad():
        model.outputs.weight.mul_(20)
    means = rng.uniform(0.1, 30, 2)
    objective = TrackBins(CONFIG, [np.zeros((1, 2), np.float32)], means, 4, kind)
    x = rng.normal(size=(3, 20, 8)).astype(np.float32)
    y = rng.poisson(means, (3, 5, 2)).astype(np.float32)
    missing = rng.random((3, 5, 2)) < 0.3
    missing[0, :, 0] = True
    given_y = torch.from_numpy(np.where(missing, IGNORED, y).astype(np.float32))
    found = float(objective.loss(model, torch.from_numpy(x), given_y).detach())
    a = model.outputs.weight.detach().numpy().astype(float)
    b = model.outputs.bias.detach().numpy().astype(float)
    total = 0.0
    for row in range(3):
        for t in range(2):
            there = [i for i in range(5) if not missing[row, i, t]]
            if not there:
                continue
            rate = {
                i: math.exp(a[t] @ x[row, 4 * i : 4 * i + 4].astype(float).mean(0)
                            + b[t])
                for i in there
            }  # fmt: skip
            counts = {i: float(y[row, i, t]) for i in there}
            if kind == "poisson":
                parts = [rate[i] - counts[i] * math.log(rate[i]) for i in there]
                # Its constant, so that units change nothing: y log m.
                parts += [counts[i] * math.log(means[t]) for i in there]
                total += sum(parts) / means[t]
                continue
            whole, sum_ = sum(rate.values()), sum(counts.values())
            shape = -sum(counts[i] * math.log(rate[i] / whole) for i in there)
            size = whole - sum_ * math.log(whole / means[t])
            total += (shape + SUM_WEIGHT * size) / means[t]
    assert found == pytest.approx(total, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", ["poisson", "multinomial"])
def test_bins_without_a_value_have_no_gradient(kind):
    model = build_model(CONFIG, 1)
    values = [np.zeros((1, 2), np.float32)]
    objective = TrackBins(CONFIG, values, np.array([1.0, 2.0]), 4, kind)
    x = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(0))
    x.requires_grad_(True)
    targets = torch.tensor([[[1.0, 3.0], [IGNORED, IGNORED], [2.0, 0.0]]])
    torch.autograd.backward(objective.loss(model, x, targets))
    assert not x.grad[0, 4:8].any()
    assert x.grad[0, :4].any()
    assert x.grad[0, 8:].any()
    nothing = torch.full_like(targets, IGNORED)
    loss = objective.loss(model, x, nothing)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-30)


def test_means_of_the_training_text():
    values = [np.array([[1, np.nan], [3, np.nan], [9, 7]], np.float32)]
    parts = [Stretch(0, 0, 9)]
    found = track_means(values, parts, 4)
    assert found[0] == 2
    assert np.isnan(found[1])
    with pytest.raises(DataError) as caught:
        check_means(found, ["a.bw", "b.bw"])
    assert str(caught.value) == (
        "b.bw: has no value above 0 in the training text; choose another split, or "
        "leave the track out"
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_metrics(seed):
    """Correlation by numpy; the deviance from twice the log-likelihood ratio."""
    rng = np.random.default_rng(seed)
    found = rng.uniform(0.1, 9, 12)
    right = rng.poisson(2, 12).astype(float)
    right[:2] = 0, 5
    row = track_metrics(found, right)
    assert row["pearson"] == pytest.approx(np.corrcoef(found, right)[0, 1], abs=1e-4)
    total = 0.0
    for y, rate in zip(right, found, strict=True):
        best = y * math.log(y) - y if y else 0.0
        total += 2 * (best - (y * math.log(rate) - rate))
    assert row["deviance"] == pytest.approx(total / 12, abs=1e-4)


def test_metrics_of_what_is_constant():
    right = np.array([1.0, 2.0, 3.0])
    assert track_metrics(np.full(3, 2 / 3), right)["pearson"] is None
    assert track_metrics(right, np.full(3, 0.1))["pearson"] is None
    assert track_metrics(right, right) == {"pearson": 1.0, "deviance": 0.0}
    empty = np.empty(0)
    assert track_metrics(empty, empty) == {"pearson": None, "deviance": None}


def test_the_regression_on_gc(corpus):
    """It finds a track that is a square of the GC content."""
    part = [Stretch(0, 0, 5000)]
    gc = gc_content(corpus, part, 50)
    codes = np.asarray(corpus.codes(0, 0, 5000)).reshape(-1, 50)
    assert gc.tolist() == [sum(c in (1, 2) for c in row) / 50 for row in codes.tolist()]
    values = [(1 + 2 * gc + 3 * gc**2)[:, None].astype(np.float32)]
    values[0][3] = np.nan
    baselines = TrackBaselines(corpus, values, part, 50)
    found = baselines.predictions(gc)
    assert found["gc"][:, 0] == pytest.approx(1 + 2 * gc + 3 * gc**2, rel=1e-4)
    assert found["mean"][0, 0] == pytest.approx(np.nanmean(values[0]), rel=1e-6)


def test_predictions_are_those_of_the_whole_sequence(corpus):
    """Streamed over stretches, they are the training pass's over all of it."""
    model = build_model(CONFIG, 1)
    codes = torch.from_numpy(np.asarray(corpus.codes(0, 0, 5000)).astype(np.int64))
    x = model.trunk(codes[None])[0]
    z = model.outputs(x[:4992].reshape(-1, 64, 8).mean(1))
    wanted = z.double().exp().detach().numpy()
    parts = [Stretch(0, 100, 1000), Stretch(0, 2000, 4999)]
    found = predictions(model, corpus, parts, 64)
    rows = np.concatenate([wanted[2:15], wanted[32:78]])
    assert found == pytest.approx(rows, rel=1e-4)


def settings_of(*files):
    return (
        "objective.kind=tracks",
        f"objective.tracks={json.dumps(list(files))}",
        "objective.bin=16",
        "model.head=none",
        "model.filters.0.taps=25",
        "model.filters.0.right=12",
    )


@pytest.mark.parametrize("kind", ["poisson", "multinomial"])
def test_a_run(train, tmp_path, dense, sparse, kind):
    """From FASTA and BigWig to a model with a card that has all the numbers."""
    folder = tmp_path / "tracks.run"
    given_ = (*settings_of(dense, sparse), f"objective.loss={kind}")
    train(folder, *given_)
    record = json.loads((folder / "run.json").read_text())
    assert record["config"]["model"]["outputs"] == ["dense", "sparse"]
    assert [d["bases"] for d in record["data"]] == [8090, 8000, 815]
    card = json.loads((folder / "report" / "card.json").read_text())
    assert card["objective"]["tracks"] == ["dense.bw", "sparse.bw"]
    for part in ("valid", "test"):
        found = card["results"][part]["tracks"]
        assert set(found) == {"dense", "sparse"}
        assert set(found["dense"]["baselines"]) == {"mean", "gc"}
        assert found["dense"]["bins"] > 10
    text = (folder / "report" / "card.md").read_text()
    assert "| track | bins | | Pearson | Poisson deviance |" in text
    assert "| regression on GC |" in text
    assert str(tmp_path) not in text + (folder / "model" / "model.json").read_text()
    train(folder, *given_, resume=True)
    write(dense, {"chr1": 5000}, [("chr1", 0, 5000, 1)])
    with pytest.raises(ModelError, match="the data changed since the run began"):
        train(folder, *given_, resume=True)


def test_it_learns(train, tmp_path, corpus, helpers):
    """A track that is the share of A: the mean of the training text is left behind."""
    sizes = {name: helpers.RECORDS[name] for name in ("chr1", "chr2")}
    entries = []
    for record, (name, n) in enumerate(sizes.items()):
        for i in range(0, n - n % 16, 16):
            a = np.count_nonzero(np.asarray(corpus.codes(record, i, i + 16)) == 0)
            entries.append((name, i, i + 16, 8 * float(a)))
    file = write(tmp_path / "a.bw", sizes, entries)
    train(tmp_path / "a.run", *settings_of(file), "schedule.steps=90",
          "checkpoint.every=30", "data.reverse_complement=false")  # fmt: skip
    card = json.loads((tmp_path / "a.run" / "report" / "card.json").read_text())
    found = card["results"]["test"]["tracks"]["a"]
    assert found["pearson"] > 0.8
    assert found["deviance"] < 0.5 * found["baselines"]["mean"]["deviance"]


def test_evaluate(train, tmp_path, dense, fasta, helpers):
    """The numbers of the card again, through the command's function."""
    folder = tmp_path / "tracks.run"
    train(folder, *settings_of(dense))
    bed = held_out(folder, tmp_path / "test.bed")
    asked = {"fasta": str(fasta), "model": str(folder / "model"), "device": "cpu"}

    def judged(**more):
        return evaluate(EvaluateOptions(**asked, **more), Nothing(), helpers.quiet)

    found = judged(tracks=(dense,), bed=bed)
    card = json.loads((folder / "report" / "card.json").read_text())
    test = card["results"]["test"]["tracks"]["dense"]
    assert list(found) == [
        "model", "model_sha256", "fasta", "fasta_sha256", "tracks", "bin", "objective",
        "baselines_learned_from", "rows",
    ]  # fmt: skip
    assert (found["model"], found["fasta"]) == ("tracks", str(fasta))
    rows = {row["metric"]: row for row in found["rows"]}
    assert rows["Pearson"]["model"] == test["pearson"]
    assert rows["Poisson deviance"]["model"] == test["deviance"]
    assert set(rows["Pearson"]) == {"what", "bins", "metric", "model", "mean", "gc"}
    with pytest.raises(UsageError) as caught:
        judged(tracks=(dense, dense))
    assert str(caught.value) == (
        "--track: 2 given, the model has 1: dense; give one for each, in this order"
    )
    with pytest.raises(UsageError, match="leave them out with --track"):
        judged(tracks=(dense,), order=3)
    asked["model"] = "human"
    with pytest.raises(ModelError) as refused:
        judged(tracks=(dense,))
    assert str(refused.value) == (
        "model human: predicts no tracks; evaluate it without --track"
    )


def test_the_template_is_a_config():
    config = from_dict(tomllib.loads(template("tracks", "a.fa")))
    assert config.objective.tracks == ("track.bw",)
    assert not config.model.causal


def test_names(make_config, dense):
    assert track_names(["a/x.bw", "b/y.bigWig"]) == ("x", "y")
    with pytest.raises(ModelError) as caught:
        track_names(["a/x.bw", "b/x.bw"])
    assert str(caught.value) == (
        "config: objective.tracks has two files 'x'; name the tracks in model.outputs"
    )
    config = make_config(*settings_of(dense), 'model.outputs=["coverage"]')
    source = TrackSource(config, lambda *_: None)
    assert source.config.model.outputs == ("coverage",)


REFUSALS = {
    "objective.bin=10": "config: data.window must be a multiple of objective.bin (10), "
    "got 64",
    "objective.tracks=[]": "config: objective.tracks must be at least one BigWig file, "
    "got ()",
    "objective.loss=mse": "objective.loss must be one of poisson, multinomial, got "
    "'mse'",
    "objective.annotation=x.gtf": "config: objective.annotation must be absent where "
    "objective.kind is not labels or classes, got 'x.gtf'",
    'model.outputs=["a", "b"]': "config: model.outputs must be absent, or a name for "
    "each of 1 tracks, got ('a', 'b')",
}


@pytest.mark.parametrize("setting", REFUSALS)
def test_refusals(make_config, setting):
    with pytest.raises(ModelError) as caught:
        make_config(*settings_of("x.bw"), setting)
    assert str(caught.value) == REFUSALS[setting]
