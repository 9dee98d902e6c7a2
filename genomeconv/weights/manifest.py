"""A model as a folder: config.json, weights.safetensors, and model.json over them.

model.json is the manifest: the model's name, its card, and size and sha256 of the
other two files. It is written last, so a folder without it is not a model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from genomeconv.config import PARAMETER_CAP, ModelConfig, from_dict
from genomeconv.errors import ModelError
from genomeconv.weights.files import open_regular

MANIFEST = "model.json"
CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
FORMAT_VERSION = 1
"""Version of the folder's layout that is written, and the newest that is read."""
JSON_CAP = 1 << 20
"""Longest JSON file in bytes that is read."""
WEIGHTS_CAP = 4 * PARAMETER_CAP + (100 << 20)
"""Longest weights in bytes that are read."""
PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a model may be called; also safe as a folder's name."""


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What the manifest says of a file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model folder whose manifest and configuration have been read and checked."""

    path: Path
    name: str
    config: ModelConfig
    card: Mapping[str, Any]
    """What the model was trained on, how, and how good it is; free JSON."""
    weights: FileFacts
    sha256: str
    """Of the configuration and the weights together: what the numbers depend on."""

    def check_size(self, size: int) -> None:
        """Raise ModelError if the weights do not have so many bytes."""
        _check_size(self.path / WEIGHTS, size, self.weights)

    def read_weights(self) -> bytes:
        """Return the bytes of the weights, verified.

        Raises
        ------
        ModelError
            If they are missing or not those of the manifest.
        """
        return _read_verified(self.path, WEIGHTS, self.weights, WEIGHTS_CAP)


def open_folder(path: Path) -> ModelFolder:
    """Read a model folder up to its weights.

    Raises
    ------
    ModelError
        If a part is missing, damaged or impossible.
    PermissionDeniedError
        If the system refuses to read it.
    """
    refuse_pickle(path)
    if not path.is_dir():
        raise ModelError(
            f"{path}: not a folder; a model is a folder of {CONFIG}, {WEIGHTS} and "
            f"{MANIFEST} (published weights: genomeconv import hyenadna {path} -o DIR)"
        )
    values = _parse(path / MANIFEST, _read_part(path, MANIFEST, JSON_CAP))
    name, card, files = _manifest(path / MANIFEST, values)
    text = _read_verified(path, CONFIG, files[CONFIG], JSON_CAP)
    try:
        config = from_dict(_parse(path / CONFIG, text))
    except ModelError as error:
        raise ModelError(f"{path / CONFIG}: {error}") from None
    return ModelFolder(
        path=path,
        name=name,
        config=config,
        card=card,
        weights=files[WEIGHTS],
        sha256=combined_sha256(files[CONFIG].sha256, files[WEIGHTS].sha256),
    )


def combined_sha256(config: str, weights: str) -> str:
    """Return the model's sha256 from those of its two files, in hexadecimal."""
    return hashlib.sha256(f"{config}\n{weights}\n".encode()).hexdigest()


def manifest_json(
    name: str, card: Mapping[str, Any], parts: Mapping[str, bytes]
) -> str:
    """Return the text of model.json for the files ``parts``.

    Raises
    ------
    ModelError
        If ``name`` cannot be a model's name.
    ValueError, TypeError
        If the card is not JSON.
    """
    if not NAME.fullmatch(name):
        raise ModelError(
            f"model name {name!r}: wanted letters, digits, '.', '_' and '-', "
            "a letter or digit first, at most 100"
        )
    files = {
        part: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for part, data in parts.items()
    }
    values = {
        "format": "genomeconv-model",
        "format_version": FORMAT_VERSION,
        "name": name,
        "card": dict(card),
        "files": files,
    }
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def refuse_pickle(path: Path) -> None:
    """Raise ModelError if ``path`` is a pickle, or a folder of torch's that is one."""
    if path.is_dir():
        pickled = (path / ".metadata").is_file() and not (path / MANIFEST).exists()
        what = "a folder of torch.distributed, which is read by running code"
    else:
        pickled = path.suffix.lower() in PICKLE_SUFFIXES
        what = "a pickle file, which can run code"
    if pickled:
        raise ModelError(
            f"{path}: {what}; models are read from safetensors only (published "
            f"HyenaDNA weights: genomeconv import hyenadna {path} -o DIR)"
        )


@contextlib.contextmanager
def open_part(folder: Path, part: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file of a model folder and yield it with its size in bytes."""
    path = folder / part
    # A link that leads out of the folder could name any file of the machine.
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{path}: leads outside the model folder; copy the file there")
    if not path.exists():
        raise ModelError(
            f"{folder}: {part} is missing; a model folder holds {CONFIG}, {WEIGHTS} "
            f"and {MANIFEST}"
        )
    with open_regular(path) as opened:
        yield opened


def _read_part(folder: Path, part: str, limit: int) -> bytes:
    with open_part(folder, part) as (file, size):
        if size > limit:
            raise ModelError(
                f"{folder / part}: {size:,} bytes, at most {limit:,} are read"
            )
        return file.read(limit)


def _read_verified(folder: Path, part: str, facts: FileFacts, limit: int) -> bytes:
    data = _read_part(folder, part, limit)
    _check_size(folder / part, len(data), facts)
    found = hashlib.sha256(data).hexdigest()
    if found != facts.sha256:
        raise ModelError(
            f"{folder / part}: damaged or changed: sha256 is {found[:12]}…, {MANIFEST} "
            f"says {facts.sha256[:12]}…; copy the model again"
        )
    return data


def _check_size(path: Path, size: int, facts: FileFacts) -> None:
    if size != facts.bytes:
        raise ModelError(
            f"{path}: damaged: {size:,} bytes, {MANIFEST} says {facts.bytes:,}; "
            "copy the model again"
        )


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        values = json.loads(text.decode())
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path}: a JSON object was wanted, got {str(values)[:40]!r}")
    return values


def _manifest(
    path: Path, values: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, FileFacts]]:
    """Return name, card and files of a parsed model.json."""
    version = values.get("format_version")
    if values.get("format") != "genomeconv-model" or type(version) is not int:
        raise ModelError(f"{path}: not the manifest of a genomeconv model")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{path}: model format {version}, this genomeconv reads {FORMAT_VERSION}; "
            "update genomeconv"
        )
    if unknown := values.keys() - {"format", "format_version", "name", "card", "files"}:
        raise ModelError(f"{path}: unknown key {min(unknown)[:60]!r}")
    name, card, files = (values.get(key) for key in ("name", "card", "files"))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ModelError(f"{path}: name must be a model's name, got {str(name)[:60]!r}")
    if not isinstance(card, dict):
        raise ModelError(f"{path}: card must be an object")
    if not isinstance(files, dict) or set(files) != {CONFIG, WEIGHTS}:
        raise ModelError(f"{path}: files must be {CONFIG} and {WEIGHTS}, nothing else")
    return name, card, {part: _facts(path, part, files[part]) for part in files}


def _facts(path: Path, part: str, values: Any) -> FileFacts:
    match values:
        case {"bytes": int(size), "sha256": str(digest)} if (
            len(values) == 2 and size >= 0 and re.fullmatch("[0-9a-f]{64}", digest)
        ):
            return FileFacts(sha256=digest, bytes=size)
    raise ModelError(f"{path}: files: {part} must have bytes and a sha256")
