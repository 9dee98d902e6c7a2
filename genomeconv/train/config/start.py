"""Weights to begin from: those of a model at hand, of a folder, or of another run.

The trunk has to be the same; the head and the outputs are taken over where they fit
and are new where they do not. Nothing here needs torch before weights are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomeconv.config import ModelConfig, to_dict
from genomeconv.errors import ModelError
from genomeconv.fields import shown_value
from genomeconv.weights.catalogue import find_folder
from genomeconv.weights.manifest import ModelFolder, open_folder

if TYPE_CHECKING:
    from torch import nn

    from genomeconv.model import Model
    from genomeconv.train.config import TrainConfig

_RUN, _MODEL = "run.json", "model"
_OUTPUTS = "outputs"
_HEAD = "head"


def find_start(start: str) -> ModelFolder:
    """Return the model folder that ``model.start`` means; its weights are not read.

    Raises
    ------
    ModelError
        There is no such model, or the run has made none yet.
    """
    try:
        path = find_folder(start)
        if (path / _RUN).is_file():
            path = _of_run(path)
        return open_folder(path)
    except ModelError as error:
        raise ModelError(f"config: model.start: {error}") from None


def _of_run(run: Path) -> Path:
    if not (run / _MODEL).is_dir():
        raise ModelError(
            f"{run}: this run has made no model yet; let it end with "
            f"`genomeconv train {run} --resume`"
        )
    return run / _MODEL


def shape_of(start: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the start says of the model that ``given`` does not say.

    Empty without a start, and where all is given, as in the record of a run.
    """
    fields = {f.name for f in dataclasses.fields(ModelConfig)} - {_OUTPUTS}
    if not start or fields <= given.keys():
        return {}
    shape = to_dict(find_start(start).config)
    return {key: value for key, value in shape.items() if key in fields - given.keys()}


def opened_start(config: TrainConfig) -> ModelFolder | None:
    """Return the folder of the start, once it is known to fit; None without a start.

    Raises
    ------
    ModelError
        It is not there, or a field of the model differs; the message names it.
    """
    if not config.start.start:
        return None
    folder = find_start(config.start.start)
    ours, theirs = to_dict(config.model), to_dict(folder.config)
    for name, value in ours.items():
        free = name == _OUTPUTS or (name == _HEAD and value == "none")
        if not free and value != theirs[name]:
            raise ModelError(
                f"config: model.{name} must be {shown_value(theirs[name])}, as in "
                f"model.start {config.start.start!r}, got {shown_value(value)}; leave "
                "the line out"
            )
    return folder


def take_weights(model: Model, folder: ModelFolder) -> None:
    """Copy the weights of a start that fit into a model.

    The trunk always; the head where both have one of its own; the outputs where their
    names are the same.
    """
    from genomeconv.weights.folder import load_model

    source = load_model(folder.path).model
    parts: list[tuple[nn.Module, nn.Module]] = [(model.trunk, source.trunk)]
    if model.head is not None and source.head is not None:
        parts.append((model.head, source.head))
    same = model.config.outputs == source.config.outputs
    if same and model.outputs is not None and source.outputs is not None:
        parts.append((model.outputs, source.outputs))
    for ours, theirs in parts:
        ours.load_state_dict(theirs.state_dict())


def start_facts(folder: ModelFolder | None) -> dict[str, str] | None:
    """Return what a run notes of its start, ready for JSON."""
    if folder is None:
        return None
    return {"name": folder.name, "sha256": folder.sha256}
