"""The model human fine-tuned beside k-mers and a small CNN, to short sequences.

    python recipes/finetune/finetune.py FOLDER -o benchmarks/results/finetune.json

FOLDER has NAME.train.csv.gz and NAME.dev.csv.gz for each task of TASKS. Each method
learns from the same sample of the training file and is judged on all of the dev file,
which chooses nothing. Numbers that the output has already are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cnn import fitted
from cnn import probabilities as cnn_probabilities

from genomeconv.train.classes.judge import metrics, probabilities
from genomeconv.train.classes.kmers import best_fit
from genomeconv.train.config import from_dict
from genomeconv.train.config.settings import apply, read_toml
from genomeconv.train.notify import Silent
from genomeconv.train.run import TrainOptions, run_training
from genomeconv.weights import load_model

HERE = Path(__file__).parent
METHODS = ("kmers", "cnn", "frozen", "full")
SEEDS = (0, 1, 2)
PASSES = {"frozen": 2, "full": 2}
PROBE_RATE = 0.03
WATCHED = 0.1
"""Share of the sample that k-mers choose their size and penalty on."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A pair of files, and how many training sequences are looked at."""

    name: str
    file: str
    sample: int
    both_strands: bool
    """Whether a sequence and its reverse complement have the same class."""


TASKS = (
    Task(name="core promoters", file="prom_prom_core_all", sample=4000,
         both_strands=False),
    Task(name="TATA promoters", file="prom_prom_300_tata", sample=1500,
         both_strands=False),
    Task(name="tf_0", file="tf_0", sample=4000, both_strands=True),
    Task(name="mouse_0", file="mouse_0", sample=4000, both_strands=True),
    Task(name="mouse_4", file="mouse_4", sample=4000, both_strands=True),
)  # fmt: skip
_CODES = np.full(256, 4, np.uint8)
_CODES[list(b"ACGT")] = range(4)
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
Rows = list[tuple[str, int]]


def rows(path: Path) -> Rows:
    """Read sequences and classes of a file."""
    with gzip.open(path, "rt") as file:
        return [(r["sequence"], int(r["label"])) for r in csv.DictReader(file)]


def sampled(task: Task, folder: Path, seed: int) -> Rows:
    """Return training sequences by chance, none of which the dev file has."""
    held = {s for s, _ in rows(folder / f"{task.file}.dev.csv.gz")}
    held |= {s.translate(_COMPLEMENT)[::-1] for s in held}
    found = rows(folder / f"{task.file}.train.csv.gz")
    found = [row for row in found if row[0] not in held]
    return random.Random(seed).sample(found, min(task.sample, len(found)))


def coded(found: Rows) -> tuple[np.ndarray, list[int]]:
    """Return codes (I, L) and classes of sequences of one length."""
    text = b"".join(s.encode() for s, _ in found)
    codes = _CODES[np.frombuffer(text, np.uint8)]
    return codes.reshape(len(found), -1), [c for _, c in found]


def predicted(
    method: str, task: Task, seed: int, train: Rows, dev: np.ndarray
) -> np.ndarray:
    """Return the probabilities a method gives the dev sequences, (I, C)."""
    codes, classes = coded(train)
    if method == "kmers":
        cut = round((1 - WATCHED) * len(codes))
        chosen = best_fit(codes[:cut], classes[:cut], codes[cut:], classes[cut:], 2)
        return chosen.probabilities(dev)
    if method == "cnn":
        model = fitted(codes, classes, seed, both_strands=task.both_strands)
        return cnn_probabilities(model, dev)
    with tempfile.TemporaryDirectory() as folder:
        return tuned(method, task, seed, train, dev, Path(folder))


def tuned(
    method: str, task: Task, seed: int, train: Rows, dev: np.ndarray, folder: Path
) -> np.ndarray:
    """Train as `genomeconv train` does and predict with the model it makes."""
    file = folder / "train.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("sequence", "label"), *train])
    values = read_toml(HERE / "genomeconv.toml")
    frozen = method == "frozen"
    steps = PASSES[method] * len(train) // values["data"]["windows"]
    config = from_dict(
        apply(
            values,
            [
                f"objective.annotation={json.dumps(str(file))}",
                f"data.reverse_complement={json.dumps(task.both_strands)}",
                f"model.freeze={json.dumps(frozen)}",
                f"schedule.steps={steps}",
                f"schedule.seed={seed}",
                *([f"optimiser.lr={PROBE_RATE}"] if frozen else []),
            ],
        )
    )
    run = folder / "run"
    options = TrainOptions(config=config, folder=run)
    run_training(options, Silent(), lambda level, text: None)
    model = load_model(run / "model").model
    return probabilities(model, list(dev), config.objective.pooling)


def wanted(folder: Path, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Measure what is not there yet, a seed at a time."""
    known = {(r["task"], r["method"], r["seed"]) for r in done}
    for seed in SEEDS:
        for task in TASKS:
            dev, right = coded(rows(folder / f"{task.file}.dev.csv.gz"))
            train = sampled(task, folder, seed)
            for method in METHODS:
                if (task.name, method, seed) in known:
                    continue
                began = time.process_time()
                found = predicted(method, task, seed, train, dev)
                yield {
                    "task": task.name,
                    "method": method,
                    "seed": seed,
                    "train_sequences": len(train),
                    "dev_sequences": len(dev),
                    **metrics(found, np.asarray(right)),
                    "cpu_seconds": round(time.process_time() - began, 1),
                }


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: mean and range over the seeds."""
    yield "| task | training sequences | " + " | ".join(METHODS) + " |"
    yield "| --- | --- |" + " --- |" * len(METHODS)
    for task in TASKS:
        cells = []
        for method in METHODS:
            got = [
                r["matthews"]
                for r in found
                if (r["task"], r["method"]) == (task.name, method)
            ]
            spread = f" ({min(got):.3f} to {max(got):.3f})" if len(got) > 1 else ""
            cells.append(f"{np.mean(got):.3f}{spread}" if got else "-")
        yield f"| {task.name} | {task.sample:,} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, write after every number, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    if given.output.exists():
        found = json.loads(given.output.read_text())["rows"]
    for row in wanted(given.folder, found):
        found.append(row)
        values = {"torch": torch.__version__, "passes": PASSES, "rows": found}
        given.output.write_text(json.dumps(values, indent=1) + "\n")
        print(row["task"], row["method"], row["seed"], row["matthews"], flush=True)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
