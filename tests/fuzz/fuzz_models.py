"""Configurations and headers of strangers: values in bounds, or refused by name."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import safetensors
from judge import answer, folder, placed

from genomeconv import config
from genomeconv.errors import ModelError, UsageError
from genomeconv.train import config as train_config
from genomeconv.train.config.settings import apply, read_toml
from genomeconv.weights.manifest import CONFIG, MANIFEST, WEIGHTS, open_folder
from genomeconv.weights.tensors import Entry, read_header

SMALLEST = config.ModelConfig(
    width=1, layers=1, filters=(config.ExplicitFilter(taps=1),)
)
MOST_DATA = 1 << 12


def check_config(data: bytes) -> None:
    """Judge the data as each of the configurations a user or a stranger writes."""
    check_model(data)
    check_model(plain(SMALLEST), manifest=data)
    toml = placed("run.toml", data)
    values = answer(lambda: read_toml(toml), ModelError, names=str(toml))
    check_run(values)
    setting = data.decode("utf-8", "surrogateescape")
    check_run(answer(lambda: apply({}, [setting]), UsageError, names="--set"))


def check_model(text: bytes, manifest: bytes | None = None) -> None:
    model = answer(lambda: opened(text, manifest), ModelError, names="model")
    if model is not None:
        assert model.parameters() <= config.PARAMETER_CAP
        assert config.from_dict(config.to_dict(model)) == model


def check_run(values: dict | None) -> None:
    if values is not None:
        run = answer(lambda: train_config.from_dict(values), ModelError, names="")
        if run is not None:
            assert train_config.from_dict(train_config.to_dict(run)) == run


def plain(model: config.ModelConfig) -> bytes:
    return json.dumps(config.to_dict(model)).encode()


def opened(text: bytes, manifest: bytes | None) -> config.ModelConfig:
    """Open a folder of a configuration; its manifest is right or as given."""
    path: Path = folder() / "model"
    path.mkdir(exist_ok=True)
    (path / CONFIG).write_bytes(text)
    facts = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    right = {
        "format": "genomeconv-model",
        "format_version": 1,
        "name": "model",
        "card": {},
        "files": {CONFIG: facts, WEIGHTS: {"bytes": 0, "sha256": "0" * 64}},
    }
    (path / MANIFEST).write_bytes(manifest or json.dumps(right).encode())
    return open_folder(path).config


def check_safetensors(data: bytes) -> None:
    """Judge the data as a file, and as the header of a file that fits it."""
    check_container(data)
    ends = [int(n) for n in re.findall(rb"[0-9]{1,4}", data)]
    for size in {0, *(n for n in ends if n <= MOST_DATA)}:
        check_container(len(data).to_bytes(8, "little") + data + bytes(size))


def check_container(data: bytes) -> None:
    found = answer(
        lambda: read_header(io.BytesIO(data), len(data), "w.safetensors"),
        ModelError,
        names="w.safetensors",
    )
    if found is None:
        return
    peers = dict(safetensors.deserialize(data))
    assert found.keys() == peers.keys()
    for name, entry in found.items():
        assert (entry.dtype, list(entry.shape)) == (
            peers[name]["dtype"],
            list(peers[name]["shape"]),
        )
        assert data[entry.start : entry.stop] == bytes(peers[name]["data"])
        check_place(entry, len(data))


def check_place(entry: Entry, size: int) -> None:
    assert 8 <= entry.start <= entry.stop <= size
    assert entry.elements <= size or 0 in entry.shape
