"""Checkpoints: folders of safetensors and JSON under a manifest of sha256 sums.

A checkpoint is made under a private name, its manifest last, synced, and renamed; so
under its name it is whole, and what does not agree with its manifest is passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from genomeconv.errors import InputMissingError, ModelError
from genomeconv.train.notify import Notify
from genomeconv.weights.files import open_regular, write_folder

MANIFEST = "manifest.json"
STATE = "state.json"
TENSORS = ("model", "optimiser", "ema")
"""Sets of tensors; the last is there where the run keeps a mean of its weights."""
FORMAT_VERSION = 1
_NAME = re.compile(r"step-(\d{8,})")
_LARGEST = 1 << 40


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything that decides how a run goes on.

    Attributes
    ----------
    step : int
        Steps that are done.
    state : Mapping
        Counters, ready for JSON.
    tensors : Mapping
        Sets of tensors by the names of TENSORS, each by its own names.
    """

    step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    folder : Path
        Made when the first is written; the folder above it must exist.
    keep : int
        How many of the newest are kept.
    notify : callable
        Told of what is saved ("debug") and what is passed over ("warning").
    """

    def __init__(self, folder: Path, keep: int, notify: Notify) -> None:
        self.folder = folder
        self._keep = keep
        self._notify = notify

    def save(self, checkpoint: Checkpoint, best: int | None = None) -> None:
        """Write a checkpoint; then remove what is old and what kills left behind.

        Parameters
        ----------
        checkpoint : Checkpoint
            One of the same step that is there and whole is left as it is.
        best : int, optional
            Step that is kept however old it is.

        Raises
        ------
        PermissionDeniedError, StorageError
            It cannot be written; those before it are untouched.
        """
        target = self._path(checkpoint.step)
        if not self._whole(checkpoint.step):
            self.folder.mkdir(exist_ok=True)
            self._sweep()
            self._remove(target)
            write_folder(target, _parts(checkpoint))
            self._notify("debug", f"{target}: saved")
        for step in self.steps()[self._keep :]:
            if step != best:
                self._remove(self._path(step))
        self._sweep()

    def steps(self) -> list[int]:
        """Return the steps there are checkpoints of, whole or not, newest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; None where there is none at all.

        Raises
        ------
        ModelError
            There are checkpoints, and all are damaged.
        """
        steps = self.steps()
        for step in steps:
            try:
                return self.read(step)
            except (InputMissingError, ModelError) as error:
                self._notify("warning", f"{error}; passed over")
        if steps:
            raise ModelError(
                f"{self.folder}: all {len(steps)} checkpoints are damaged; start anew "
                "in another folder"
            )
        return None

    def read(self, step: int) -> Checkpoint:
        """Return a checkpoint, verified.

        Raises
        ------
        InputMissingError, ModelError
            A part is missing or damaged.
        """
        path = self._path(step)
        parts = {}
        for name, facts in _manifest(path, step).items():
            parts[name] = _read(path / name)
            _check(path / name, parts[name], facts)
        tensors = {
            name: load(parts[file])
            for name in TENSORS
            if (file := f"{name}.safetensors") in parts
        }
        return Checkpoint(step=step, state=json.loads(parts[STATE]), tensors=tensors)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _whole(self, step: int) -> bool:
        try:
            self.read(step)
        except (InputMissingError, ModelError):
            return False
        return True

    def _sweep(self) -> None:
        """Remove what was being written or removed when a run was killed."""
        for path in self.folder.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def _remove(self, path: Path) -> None:
        """Take the name away first, so that no half of it is ever looked at."""
        aside = path.with_name(f".{path.name}.old")
        with contextlib.suppress(OSError):  # to be tried again next time
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)


def _parts(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return the files of a checkpoint, the manifest last."""
    parts = {
        f"{name}.safetensors": save(
            {key: t.detach().cpu().contiguous() for key, t in tensors.items()}
        )
        for name, tensors in checkpoint.tensors.items()
    }
    parts[STATE] = (json.dumps(checkpoint.state, indent=1) + "\n").encode()
    files = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in parts.items()
    }
    manifest = {
        "format": "genomeconv-checkpoint",
        "format_version": FORMAT_VERSION,
        "step": checkpoint.step,
        "files": files,
    }
    parts[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    return parts


def _read(path: Path) -> bytes:
    with open_regular(path) as (file, size):
        return file.read(min(size, _LARGEST))


def _manifest(path: Path, step: int) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of each part, as the manifest has them."""
    where = path / MANIFEST
    try:
        values = json.loads(_read(where))
        version, files = values["format_version"], values["files"]
        known = {STATE, *(f"{name}.safetensors" for name in TENSORS)}
        ok = values["format"] == "genomeconv-checkpoint" and values["step"] == step
        if not ok or not {STATE, "model.safetensors"} <= set(files) <= known:
            raise ValueError("not the manifest of this checkpoint")
        facts = {
            name: {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])}
            for name, f in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{where}: damaged: {error}") from None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{where}: checkpoint format {version}, this genomeconv reads "
            f"{FORMAT_VERSION}; update genomeconv"
        )
    return facts


def _check(path: Path, data: bytes, facts: Mapping[str, Any]) -> None:
    if len(data) != facts["bytes"]:
        raise ModelError(
            f"{path}: damaged: {len(data):,} bytes, {MANIFEST} says {facts['bytes']:,}"
        )
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise ModelError(f"{path}: damaged: its sha256 is not that of {MANIFEST}")
