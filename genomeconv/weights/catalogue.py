"""Which models are at hand, and what a name stands for. Nothing is ever fetched."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import genomeconv_data
from genomeconv.config import ModelConfig
from genomeconv.errors import ModelError
from genomeconv.weights.files import open_regular
from genomeconv.weights.manifest import (
    MANIFEST,
    NAME,
    WEIGHTS,
    ModelFolder,
    open_folder,
    open_part,
)
from genomeconv.weights.tensors import Entry, read_header

DEFAULT_MODEL = "human"
"""The model that is used where none is named; it ships with genomeconv."""
SEARCH_VARIABLE = "GENOMECONV_MODELS"
"""Environment variable: folders, joined as in PATH, whose folders are models."""


class ModelInfo(TypedDict):
    """One line of the list of models."""

    name: str
    parameters: int
    width: int
    """Columns of its embeddings."""
    layers: int
    taps: int
    """Length of the longest filter."""
    context_bases: int
    """Bases, left and right together, that one embedding depends on."""
    description: str
    folder: str


def list_models() -> list[ModelInfo]:
    """Return the models that can be called by name, the default one first.

    A folder that is not usable is listed too, its fault as the description.
    """
    rows = [_info(name, folder) for name, folder in _folders().items()]
    return sorted(rows, key=lambda row: row["name"] != DEFAULT_MODEL)


def find_folder(model: str | Path) -> Path:
    """Return the folder of a model given by name or by path.

    A bare word is looked up among the models at hand first; ``./word`` is always a
    path.

    Raises
    ------
    ModelError
        If there is no such model, or the path is a pickle.
    """
    text = os.fspath(model)
    if "://" in text or "\0" in text:
        raise ModelError(
            f"model {text!r}: a name or a folder was wanted; nothing is fetched from "
            "a network"
        )
    known = _folders()
    if isinstance(model, str) and model in known:
        return known[model]
    path = Path(text)
    if text and os.path.lexists(path):
        return path
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    raise ModelError(
        f"no model {text!r}: not a folder, and not a model at hand "
        f"({', '.join(known) or 'there is none'})"
        + (f"; did you mean {near[0]}?" if near else "")
    )


def describe(path: str | Path) -> dict[str, Any]:
    """Return what `genomeconv info` shows of a model folder or a .safetensors file.

    Torch is not needed. Sizes are checked; the weights' sha256 is not.

    Raises
    ------
    InputMissingError
        If it is not there.
    ModelError
        If it is neither, or damaged.
    """
    path = Path(path)
    if path.suffix == ".safetensors" and not path.is_dir():
        with open_regular(path) as (file, size):
            entries = read_header(file, size, str(path))
        numbers = sum(entry.elements for entry in entries.values())
        return {"kind": "weights", "numbers": numbers, **_tensor_facts(entries)}
    folder = open_folder(path)
    config = folder.config
    return {
        "kind": "model",
        "name": folder.name,
        "description": _description(folder),
        "sha256": folder.sha256,
        "parameters": config.parameters(),
        **_weight_facts(folder),
        "width": config.width,
        "layers": config.layers,
        "filters": list(dict.fromkeys(f.family for f in config.filters)),
        "taps": max(f.taps for f in config.filters),
        "left_context_bases": config.left_context(),
        "right_context_bases": config.right_context(),
        "head": config.head,
        "card": {k: v for k, v in folder.card.items() if k != "description"},
    }


def _folders() -> dict[str, Path]:
    """Return the models at hand: what ships first, then those of the variable."""
    out: dict[str, Path] = {}
    for root in _roots():
        with contextlib.suppress(OSError):
            for folder in sorted(root.iterdir()):
                if NAME.fullmatch(folder.name) and (folder / MANIFEST).is_file():
                    out.setdefault(folder.name, folder)
    return out


def _roots() -> Iterator[Path]:
    yield Path(genomeconv_data.__file__).parent / "models"
    for root in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep):
        if root:
            yield Path(root)


def _info(name: str, path: Path) -> ModelInfo:
    try:
        folder = open_folder(path)
        _weight_facts(folder)
    except ModelError as error:
        return ModelInfo(
            name=name, parameters=0, width=0, layers=0, taps=0, context_bases=0,
            description=f"not usable: {error}", folder=str(path),
        )  # fmt: skip
    config = folder.config
    return ModelInfo(
        name=name,
        parameters=folder.config.parameters(),
        width=config.width,
        layers=config.layers,
        taps=max(f.taps for f in config.filters),
        context_bases=_context(config),
        description=_description(folder),
        folder=str(path),
    )


def _context(config: ModelConfig) -> int:
    return config.left_context() + 1 + config.right_context()


def _description(folder: ModelFolder) -> str:
    return str(folder.card.get("description", ""))


def _weight_facts(folder: ModelFolder) -> dict[str, Any]:
    with open_part(folder.path, WEIGHTS) as (file, size):
        folder.check_size(size)
        return _tensor_facts(read_header(file, size, str(folder.path / WEIGHTS)))


def _tensor_facts(entries: dict[str, Entry]) -> dict[str, Any]:
    return {
        "tensors": len(entries),
        "types": sorted({entry.dtype for entry in entries.values()}),
    }
