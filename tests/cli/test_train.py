"""`genomeconv train` and `evaluate` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from random import Random

import pyBigWig
import pytest

from genomeconv_cli.train_progress import LogTrainProgress, TrainProgress

BASES = "".join(Random(3).choices(["ACGT", "GGCA", "TTAC"], k=2000))
TINY = (
    "model.width=8",
    "model.layers=1",
    "model.filters=[{family='sgconv', taps=16}]",
    "data.window=64",
    "data.windows=2",
    "split.block=1000",
    "split.gap=20",
    "schedule.steps=6",
    "checkpoint.every=3",
    "checkpoint.valid_windows=4",
    "checkpoint.log_every=1",
    "compute.device=cpu",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENOMECONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("genomeconv.train.report.write.find_spec", lambda name: None)
    (tmp_path / "x.fa").write_text(f">one\n{BASES}\n")
    return tmp_path


def settings(*more):
    return [word for setting in (*TINY, *more) for word in ("--set", setting)]


def test_from_fasta_to_embeddings(genomeconv, folder):
    """The README's course: train, look, embed, judge."""
    outcome = genomeconv("train", "x.fa", *settings())
    assert (outcome.code, outcome.out) == (0, "")
    assert "x.run/model: 6 steps, 768 bases in " in outcome.err
    assert "see x.run/report/card.md" in outcome.err
    outcome = genomeconv("info", "x.run/model")
    assert "Predicts the next base; trained on x.fa." in outcome.out
    assert "licence              not stated" in outcome.out
    facts = json.loads(genomeconv("info", "x.run", "--json").out)
    assert (facts["kind"], facts["steps"]) == ("training run", 6)
    assert facts["last training"]["step"] == facts["last validation"]["step"] == 6
    assert facts["checkpoints"][-1] == "step-00000006"
    outcome = genomeconv("embed", "x.fa", "-m", "x.run/model", "-o", "x.h5")
    assert outcome.code == 0
    outcome = genomeconv("evaluate", "x.run/model", "x.fa", "--json")
    (row,) = json.loads(outcome.out)["rows"]
    assert (row["sequence"], row["bases"]) == ("one", 7999)
    assert 0.3 < row["markov_bits_per_base"] < row["bits_per_base"] < 2.5
    outcome = genomeconv("evaluate", "x.run/model", "x.fa", "--order", 2)
    head, line = outcome.out.splitlines()
    assert head.split() == [
        "sequence", "bases", "bits", "per", "base", "markov", "bits", "per", "base",
        "markov", "order",
    ]  # fmt: skip
    assert line.split()[:2] == ["one", "7,999"]


@pytest.mark.parametrize("kind", ["lm", "mask"])
def test_the_template_runs_as_written(genomeconv, folder, kind):
    outcome = genomeconv("train", "x.fa", "--init", kind)
    assert outcome.code == 0
    (folder / "genomeconv.toml").write_text(outcome.out)
    tiny = [s for s in TINY if "filters" not in s]
    words = [w for s in tiny for w in ("--set", s)]
    outcome = genomeconv("train", "-q", *words, "--set", "model.filters.0.taps=600")
    assert (outcome.code, outcome.err, outcome.out) == (0, "", "")
    assert (folder / "genomeconv.run" / "report" / "card.md").exists()


def small(*more):
    """Words of a small model in place of a template's."""
    return settings("model.start=", "model.head=none", *more)


def test_classes_of_sequences(genomeconv, folder):
    """The template, a CSV file beside it, and what the model is good for."""
    random = Random(4)
    rows = [
        "".join(random.choices("ACGT", k=30))
        + ("AAAAAA", "CCCCCC")[i % 2]
        + f",{i % 2}"
        for i in range(60)
    ]
    (folder / "train.csv").write_text("\n".join(["sequence,label", *rows]))
    outcome = genomeconv("train", "--init", "classes")
    (folder / "genomeconv.toml").write_text(outcome.out)
    outcome = genomeconv("train", *small())
    assert outcome.code == 0
    assert "; validation loss 0." in outcome.err.splitlines()[-1]
    outcome = genomeconv("evaluate", "genomeconv.run/model", "train.csv")
    assert outcome.out.split()[:5] == ["what", "metric", "model", "kmers", "majority"]
    outcome = genomeconv("info", "genomeconv.run/model")
    assert "Predicts the class of a sequence; trained on train.csv." in outcome.out
    words = ("embed", "x.fa", "-m", "genomeconv.run/model", "-o", "x.h5")
    assert genomeconv(*words).code == 0
    outcome = genomeconv("evaluate", "genomeconv.run/model", "x.fa")
    assert outcome.code == 65
    assert "x.fa:1: no column 'sequence' in the header ('>one')" in outcome.err


def test_tracks(genomeconv, folder):
    """The template with a FASTA, a BigWig file, and the numbers beside baselines."""
    file = pyBigWig.open("track.bw", "w")
    file.addHeader([("one", len(BASES))])
    file.addEntries("one", 0, values=[float(b == "A") for b in BASES], span=1, step=1)
    file.close()
    outcome = genomeconv("train", "x.fa", "--init", "tracks")
    (folder / "genomeconv.toml").write_text(outcome.out)
    words = small("objective.bin=16")
    assert genomeconv("train", "-q", *words).code == 0
    words = ("evaluate", "genomeconv.run/model", "x.fa", "--track", "track.bw")
    outcome = genomeconv(*words)
    assert outcome.out.split()[:6] == ["what", "bins", "metric", "model", "mean", "gc"]
    assert "Predicts tracks along the genome" in genomeconv(
        "info", "genomeconv.run/model"
    ).out  # fmt: skip


def test_a_start_has_its_own_shape(genomeconv, folder):
    """Of the default shape nothing is mixed in, in whatever order it is asked for."""
    outcome = genomeconv(
        "train", "x.fa", "--set", "model.width=64", "--set", "model.start=human"
    )
    assert outcome.code == 78
    assert outcome.err == (
        "genomeconv: error: config: model.width must be 128, as in model.start "
        "'human', got 64; leave the line out\n"
    )
    assert not list(folder.glob("*.run"))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)],
)
def test_a_signal_saves_and_leaves(genomeconv, folder, monkeypatch, number, code):
    advance = LogTrainProgress.advance

    def stop(self, step, bases, metrics):
        advance(self, step, bases, metrics)
        if step == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(LogTrainProgress, "advance", stop)
    outcome = genomeconv("train", "x.fa", *settings())
    assert outcome.code == code
    assert outcome.err.splitlines()[-1] == (
        f"genomeconv: warning: stopped by {signal.Signals(number).name} after step 4 "
        "of 6; saved: `genomeconv train x.run --resume` goes on"
    )
    monkeypatch.setattr(LogTrainProgress, "advance", advance)
    outcome = genomeconv("train", "x.run", "--resume")
    assert outcome.code == 0
    assert "x.run: going on from step 4" in outcome.err
    assert "6 steps, 768 bases in " in outcome.err


FAULTS = [
    (["train"], 66, "genomeconv.toml: no such file; `genomeconv train --init lm > "),
    (["train", "no.fa"], 66, "no.fa: no such file"),
    (["train", "x.fa", "--set", "a=1"], 2, "--set 'a=1': write section.key=value"),
    (["train", "x.fa", "--set", "data.windw=1"], 78, "data: unknown key 'windw'"),
    (["train", "x.fa", "--set", "model.layers=1000000000"], 78, "config: layers must"),
    (["train", "x.fa", "--set", "data.window=1M"], 78, "data.window must be a whole"),
    (["train", "x.fa", "--init", "lm", "--resume"], 2, "--init goes with a FASTA"),
    (["train", "x.fa", "--init", "peaks"], 2, "Invalid value for '--init'"),
    (["train", "x.fa", "-q", "-v"], 2, "-q and -v contradict each other"),
    (["train", "x.fa", "-o", "no/run"], 73, "no/run: the folder no does not exist"),
    (["train", "empty"], 78, "empty: holds no run of genomeconv train"),
    (["train", "x.fa", "--set", "card.name=a b"], 78, "config: card.name must be"),
    (["train", "x.fa", "--set", "data.window=1048576"], 78, "data.window smaller"),
    (["evaluate", "none", "x.fa"], 78, "no model 'none'"),
    (["evaluate", "human", "no.fa"], 66, "no.fa: no such file"),
    (
        ["evaluate", "human", "x.fa", "--bed", "x.bed"],
        65,
        "x.bed: one:1-9 has no",
    ),
]


@pytest.mark.parametrize(("words", "code", "message"), FAULTS)
def test_faults(genomeconv, folder, words, code, message):
    (folder / "empty").mkdir()
    (folder / "x.bed").write_text("one\t0\t9\n")
    outcome = genomeconv(*words)
    assert outcome.code == code
    assert message in outcome.err.splitlines()[-1]
    assert outcome.out == ""
    assert not list(folder.glob("*.run"))


def test_a_run_is_not_written_over(genomeconv, folder):
    assert genomeconv("train", "x.fa", *settings()).code == 0
    outcome = genomeconv("train", "x.fa", *settings())
    assert outcome.code == 73
    assert "x.run: holds a run; add --resume to go on with it" in outcome.err
    more = settings("schedule.steps=7")
    assert genomeconv("train", "x.fa", *more, "--resume").code == 78
    allowed = ["--resume", "--allow-config-change"]
    assert genomeconv("train", "x.fa", *more, *allowed).code == 0


def test_verbose(genomeconv, folder):
    outcome = genomeconv("train", "x.fa", "-v", *settings())
    lines = [line for line in outcome.err.splitlines() if line.endswith(": saved")]
    assert lines == [
        f"genomeconv: x.run/checkpoints/step-{step:08d}: saved" for step in (3, 6)
    ]


def test_progress_lines():
    now = [0.0]
    said = []
    progress = LogTrainProgress(clock=lambda: now[0])
    original = sys.modules["genomeconv_cli.train_progress"].say
    sys.modules["genomeconv_cli.train_progress"].say = said.append
    try:
        progress.start(200, 100)
        for step in range(101, 121):
            now[0] += 0.5
            progress.advance(step, 1000, {"loss": 1.25, "bits_per_base": 1.803})
        progress.finish()
    finally:
        sys.modules["genomeconv_cli.train_progress"].say = original
    assert said == [
        "step 110 of 200, loss 1.250, 1.803 bits per base, 2,000 bases/s, 45 s left",
        "step 120 of 200, loss 1.250, 1.803 bits per base, 2,000 bases/s, 40 s left",
    ]


def test_a_skipped_step_is_not_shown(monkeypatch):
    said = []
    monkeypatch.setattr("genomeconv_cli.train_progress.say", said.append)
    now = [0.0]
    progress = LogTrainProgress(clock=lambda: now[0])
    progress.start(10, 0)
    progress.advance(1, 10, {"loss": 1.0, "bits_per_base": 2.0})
    now[0] = 40.0
    progress.advance(2, 10, {"loss": float("nan"), "bits_per_base": float("nan")})
    assert said == [
        "step 2 of 10, loss 1.000, 2.000 bits per base, 0 bases/s, 5 min 20 s left"
    ]
    assert isinstance(progress, TrainProgress)


def test_help_does_not_import_torch():
    code = (
        "import sys; from genomeconv_cli.main import run; "
        "run(['train', '--help']); run(['evaluate', '--help']); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True)
    assert done.returncode == 0
