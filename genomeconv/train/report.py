"""The end of a run: model folder, model card, numbers beside baselines, curves."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from genomeconv.alphabet import Codes
from genomeconv.model import Model
from genomeconv.train.bits import Scorer, Totals, markov_bits, tally
from genomeconv.train.card import card_text, make_card
from genomeconv.train.config import ObjectiveConfig
from genomeconv.train.corpus import Corpus
from genomeconv.train.curves import draw_curves
from genomeconv.train.files import replace_text, writing
from genomeconv.train.judge_labels import judge_labels
from genomeconv.train.log import read_log
from genomeconv.train.markov import Markov, longest_order
from genomeconv.train.notify import Notify
from genomeconv.train.record import read_record
from genomeconv.train.splits import Splits, Stretch, bases
from genomeconv.weights import save_model
from genomeconv.weights.manifest import NAME

JUDGED_BASES = 4_000_000
"""Most bases of a split that are judged at the end."""
MODEL, REPORT = "model", "report"


def write_report(
    *,
    folder: Path,
    model: Model,
    objective: ObjectiveConfig,
    corpus: Corpus,
    splits: Splits,
    progress: Mapping[str, Any],
    notify: Notify,
) -> None:
    """Judge the final model and write RUN/model and RUN/report.

    Raises
    ------
    StorageError, PermissionDeniedError
        Something cannot be written.
    """
    model.requires_grad_(False).eval()
    notify("info", "judging the model beside baselines of the training text")
    if objective.kind == "labels":
        path = objective.annotation
        results = judge_labels(model, path, corpus, splits, notify)
    else:
        results = judge(model, objective, corpus, splits)
    record = read_record(folder)
    parameters = sum(p.numel() for p in model.parameters())
    card = make_card(_name(folder, record), parameters, record, results, progress)
    with _new_folder(folder / MODEL) as new:
        save_model(model, new, name=card["name"], card=card)
    report = folder / REPORT
    with writing(report):
        report.mkdir(exist_ok=True)
    replace_text(report / "card.json", json.dumps(card, indent=1) + "\n")
    replace_text(report / "card.md", card_text(card))
    if find_spec("matplotlib") is None:
        notify(
            "warning",
            "no curves were drawn: that needs matplotlib; pip install "
            "'genomeconv[plot]', then the same command with --resume",
        )
    else:
        with writing(report / "curves.png"):
            draw_curves(read_log(folder / "metrics.jsonl"), card, report / "curves.png")


def _name(folder: Path, record: Mapping[str, Any]) -> str:
    """Return what the model is called: as the config says, or as the run folder."""
    given: str = record["config"]["card"]["name"]
    stem = folder.resolve().name.removesuffix(".run")
    return given or (stem if NAME.fullmatch(stem) else "model")


def judge(
    model: Model, objective: ObjectiveConfig, corpus: Corpus, splits: Splits
) -> dict[str, Any]:
    """Return bits per base on the held-out splits, the model's and the baselines'.

    The Markov models learn from the training text; how they are interpolated is
    chosen on the validation text (without one, on the test itself: in their favour).
    """
    two_sided = objective.kind == "mask"
    scorer = Scorer(model, objective.mask_id if two_sided else None)
    held_out = {
        part: limited(splits[part], JUDGED_BASES)
        for part in ("valid", "test")
        if splits[part]
    }
    if not held_out:
        return {}
    markov = Markov(
        longest_order(bases(splits["train"]), two_sided=two_sided), two_sided=two_sided
    )
    for record, start, stop in splits["train"]:
        markov.count(corpus.codes(record, start, stop))
    watched = held_out.get("valid", held_out.get("test", []))
    markov.choose_strengths([np.asarray(corpus.codes(*s)) for s in watched])
    return {
        part: _bits(scorer, markov, corpus, stretches)
        for part, stretches in held_out.items()
    }


def _bits(
    scorer: Scorer, markov: Markov, corpus: Corpus, stretches: Sequence[Stretch]
) -> dict[str, Any]:
    ours, theirs = Totals(), Totals()
    for record, start, stop in stretches:
        read, length = partial(_within, corpus, record, start), stop - start
        ours.add(tally(scorer.bits(read, length), length))
        theirs.add(tally(markov_bits(markov, read, length), length))
    model, baselines = ours.bits(), theirs.bits()
    return {
        "bases": ours.counts().get("all", 0),
        "bits_per_base": _rounded(model["all"][0]) if model else None,
        "markov_bits_per_base": [_rounded(b) for b in baselines.get("all", [])],
    }


def _within(corpus: Corpus, record: int, offset: int, a: int, b: int) -> Codes:
    return corpus.codes(record, offset + a, offset + b)


def limited(stretches: Sequence[Stretch], most: int) -> list[Stretch]:
    """Return the same share of each stretch, ``most`` bases in all."""
    share = min(1.0, most / max(1, bases(stretches)))
    return [Stretch(r, a, a + max(1, round(share * (b - a)))) for r, a, b in stretches]


def _rounded(bits: float) -> float | None:
    return None if math.isnan(bits) else round(bits, 4)


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a name to make a folder under; it then takes the place of the old one."""
    new, old = (
        folder.with_name(f".{folder.name}.new"),
        folder.with_name(f".{folder.name}.old"),
    )
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    yield new
    with writing(folder):
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
