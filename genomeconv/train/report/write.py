"""The end of a run: model folder, model card, numbers beside baselines, curves."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from genomeconv.model import Model
from genomeconv.train.folder.files import replace_text, writing
from genomeconv.train.folder.log import read_log
from genomeconv.train.folder.record import read_record
from genomeconv.train.notify import Notify
from genomeconv.train.report.card import card_text, make_card
from genomeconv.train.report.curves import draw_curves
from genomeconv.weights import save_model
from genomeconv.weights.manifest import NAME

MODEL, REPORT = "model", "report"


def write_report(
    *,
    folder: Path,
    model: Model,
    judge: Callable[[Model], dict[str, Any]],
    progress: Mapping[str, Any],
    notify: Notify,
) -> None:
    """Judge the final model and write RUN/model and RUN/report.

    Parameters
    ----------
    folder : Path
        The run.
    model : Model
    judge : callable
        Returns the results of a model on the held-out splits, ready for JSON.
    progress : Mapping
        How far the run came.
    notify : callable

    Raises
    ------
    StorageError, PermissionDeniedError
        Something cannot be written.
    """
    model.requires_grad_(False).eval()
    notify("info", "judging the model beside baselines of the training text")
    results = judge(model)
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
