"""A small genome, a small config, and runs of it; reached through fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from training_processes import quiet

from genomeconv.train.config import TrainConfig, from_dict
from genomeconv.train.config.settings import apply
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.notify import Silent
from genomeconv.train.run import TrainOptions, TrainSummary, run_training

RECORDS = {"chr1": 5000, "chr2": 3000, "short": 90}
VALUES: dict[str, Any] = {
    "model": {
        "width": 8,
        "layers": 2,
        "filters": [{"family": "sgconv", "taps": 24, "scale_taps": 8}],
    },
    "data": {"window": 64, "windows": 6},
    "split": {"block": 800, "gap": 30, "valid_fraction": 0.1, "test_fraction": 0.1},
    "schedule": {"steps": 8},
    "checkpoint": {"every": 4, "log_every": 2, "valid_windows": 5},
    "compute": {"device": "cpu"},
}
HIDDEN = (
    "objective.kind=mask",
    "model.vocabulary=6",
    "model.filters.0.taps=25",
    "model.filters.0.right=12",
)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "encoded"
    monkeypatch.setenv("GENOMECONV_CACHE", str(folder))


@pytest.fixture(scope="session")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three records with structure to be learned, and a run of N."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    with path.open("w") as file:
        for name, size in RECORDS.items():
            words = rng.choice(["ACGT", "GGCA", "TTAC", "AAAC"], size // 4 + 1)
            text = "".join(words)[:size]
            if size > 1000:
                text = text[:500] + "N" * 100 + text[600:]
            file.write(f">{name}\n{text}\n")
    return path


@pytest.fixture
def make_config(fasta: Path) -> Callable[..., TrainConfig]:
    """Return the small config with some settings changed."""

    def make(*settings: str) -> TrainConfig:
        values = apply(VALUES, [f'data.fasta=["{fasta}"]', *settings])
        return from_dict(values)

    return make


@pytest.fixture
def corpus(make_config: Callable[..., TrainConfig]) -> Corpus:
    return Corpus.open(make_config().data, quiet)


@pytest.fixture
def asked(make_config: Callable[..., TrainConfig]) -> Callable[..., TrainOptions]:
    """Return what a training into a folder is asked for."""

    def make(folder: Path, *settings: str, **options: Any) -> TrainOptions:
        return TrainOptions(config=make_config(*settings), folder=folder, **options)

    return make


@pytest.fixture
def train(asked: Callable[..., TrainOptions]) -> Callable[..., TrainSummary]:
    """Run a training into a folder."""

    def run(
        folder: Path, *settings: str, notify: Any = quiet, **options: Any
    ) -> TrainSummary:
        progress = options.pop("progress", None) or Silent()
        return run_training(asked(folder, *settings, **options), progress, notify)

    return run


def curve(folder: Path) -> list[dict[str, Any]]:
    """Return the log of a run without what depends on the clock."""
    from genomeconv.train.folder.log import read_log

    clock = {"seconds", "bases_per_second", "waiting_share"}
    return [
        {k: v for k, v in line.items() if k not in clock}
        for line in read_log(folder / "metrics.jsonl")
    ]


def final_bytes(folder: Path) -> dict[str, bytes]:
    """Return the tensors of the newest checkpoint and of the model, as bytes."""
    newest = max((folder / "checkpoints").iterdir())
    names = ("model.safetensors", "optimiser.safetensors")
    out = {name: (newest / name).read_bytes() for name in names}
    weights = folder / "model" / "weights.safetensors"
    return {**out, "weights": weights.read_bytes()}


@pytest.fixture
def helpers() -> SimpleNamespace:
    return SimpleNamespace(
        HIDDEN=HIDDEN,
        RECORDS=RECORDS,
        VALUES=VALUES,
        curve=curve,
        final_bytes=final_bytes,
        quiet=quiet,
    )


@pytest.fixture
def no_waiting(monkeypatch: Any) -> None:
    """Tests end processes, not machines: the disk need not be waited for."""
    monkeypatch.setattr("os.fsync", lambda fd: None)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: Any, request: pytest.FixtureRequest) -> None:
    """Drawing takes a second; the tests of the report draw."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(
            "genomeconv.train.report.write.find_spec", lambda name: None
        )


@pytest.fixture
def pictures() -> None:
    """Let the report draw."""


@pytest.fixture(scope="session")
def corpus_of(
    fasta: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[TrainConfig, Corpus]]:
    """Return the small config with some settings changed, and its genome."""
    folder = tmp_path_factory.mktemp("cache")
    given = [f'data.fasta=["{fasta}"]', f"data.cache='{folder}'"]
    opened = Corpus.open(from_dict(apply(VALUES, given)).data, quiet)

    def make(*settings: str) -> tuple[TrainConfig, Corpus]:
        return from_dict(apply(VALUES, [*given, *settings])), opened

    return make
