"""Models to folders and back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from genomeconv.config import ModelConfig, to_dict
from genomeconv.errors import ModelError
from genomeconv.model import Model
from genomeconv.weights.catalogue import DEFAULT_MODEL, find_folder
from genomeconv.weights.files import write_folder
from genomeconv.weights.manifest import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    ModelFolder,
    manifest_json,
    open_folder,
)
from genomeconv.weights.tensors import Entry, read_header

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types that weights may be stored in; all become float32."""
_NAMED = 5
_SLACK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to run, and where it came from."""

    model: Model
    """In evaluation mode, float32, on the CPU, without gradients asked for."""
    name: str
    sha256: str
    """Of configuration and weights: equal numbers have equal values."""
    path: Path
    card: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    """What a user should know, a sentence each."""


def save_model(
    model: Model, folder: Path, *, name: str, card: Mapping[str, Any]
) -> None:
    """Write a model as a folder; it appears only when whole and on disk.

    Parameters
    ----------
    model : Model
        Left as it is.
    folder : Path
        Must not exist; the folder above it must.
    name : str
        What the model is called.
    card : Mapping
        Description (one sentence, key "description"), training data, metrics: JSON.

    Raises
    ------
    ModelError
        If a weight is NaN or infinite, a weight matrix all zero, or the name bad.
    CannotCreateError, PermissionDeniedError, StorageError
        If the folder cannot be made.
    """
    tensors = {
        key: value.detach().to("cpu", torch.float32).contiguous()
        for key, value in model.state_dict().items()
    }
    for key, value in tensors.items():
        check_values(key, value, str(folder))
    config = json.dumps(to_dict(model.config), indent=2) + "\n"
    parts = {CONFIG: config.encode(), WEIGHTS: save(tensors)}
    parts[MANIFEST] = manifest_json(name, card, parts).encode()
    write_folder(folder, parts)


def load_model(model: str | Path = DEFAULT_MODEL) -> LoadedModel:
    """Load a model by name (see :func:`list_models`) or from its folder.

    Nothing is fetched and no code of the folder runs. Memory for the model is
    taken only where its weights back it.

    Raises
    ------
    ModelError
        If there is no such model, or anything about it is not as it must be.
    PermissionDeniedError
        If the system refuses to read it.
    """
    folder = open_folder(find_folder(model))
    where = str(folder.path / WEIGHTS)
    data = folder.read_weights()
    entries = read_header(io.BytesIO(data), len(data), where)
    _check_size(entries.values(), folder.config, where)
    built = _build(folder.config)
    targets = built.state_dict()
    _check_entries(entries, targets, where)
    for key, target in targets.items():
        value = _tensor(data, entries[key])
        check_values(key, value, where)
        target.copy_(value)
    return LoadedModel(
        model=built,
        name=folder.name,
        sha256=folder.sha256,
        path=folder.path,
        card=folder.card,
        notes=_notes(folder, entries.values()),
    )


def _check_size(entries: Iterable[Entry], config: ModelConfig, where: str) -> None:
    """Refuse a configuration that asks for far more memory than the file backs."""
    found = sum(entry.elements for entry in entries)
    if config.parameters() > 2 * found + _SLACK:
        raise ModelError(
            f"{where}: does not fit {CONFIG}: {found:,} numbers instead of "
            f"{config.parameters():,}"
        )


def _check_entries(
    entries: Mapping[str, Entry], targets: Mapping[str, Tensor], where: str
) -> None:
    """Refuse other names, types or shapes than the model's; name the first five."""
    _refuse(where, "missing", [key for key in targets if key not in entries])
    _refuse(where, "unknown", [key for key in entries if key not in targets])
    wrong = [f"{k} ({e.dtype})" for k, e in entries.items() if e.dtype not in TYPES]
    _refuse(where, f"not {', '.join(TYPES)}", wrong)
    wrong = [
        f"{key} {list(entries[key].shape)} instead of {list(target.shape)}"
        for key, target in targets.items()
        if entries[key].shape != target.shape
    ]
    _refuse(where, "wrong shape", wrong)


def check_values(name: str, value: Tensor, where: str) -> None:
    """Raise ModelError if a tensor is not finite, or all zero and no bias."""
    if not torch.isfinite(value).all():
        raise ModelError(
            f"{where}: {name} holds NaN or infinite numbers; the weights are damaged"
        )
    if not name.endswith("bias") and not value.any():
        raise ModelError(f"{where}: {name} is all zero; the weights are damaged")


def _refuse(where: str, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        raise ModelError(
            f"{where}: does not fit {CONFIG}: {what}: {', '.join(names[:_NAMED])}{more}"
        )


def _build(config: ModelConfig) -> Model:
    """Return a model to be filled; the random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        return Model(config).eval().requires_grad_(False)


def _tensor(data: bytes, entry: Entry) -> Tensor:
    if not entry.elements:
        return torch.empty(entry.shape, dtype=TYPES[entry.dtype])
    buffer = bytearray(memoryview(data)[entry.start : entry.stop])
    return torch.frombuffer(buffer, dtype=TYPES[entry.dtype]).reshape(entry.shape)


def _notes(folder: ModelFolder, entries: Iterable[Entry]) -> tuple[str, ...]:
    narrow = sorted({entry.dtype for entry in entries} - {"F32"})
    if not narrow:
        return ()
    where = folder.path / WEIGHTS
    return (f"{where}: stored as {' and '.join(narrow)}, computed in float32",)
