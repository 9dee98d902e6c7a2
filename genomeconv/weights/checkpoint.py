"""Published checkpoints as named tensors, read one at a time and never executed.

Three containers: safetensors, torch's zip archive, torch's older row of pickles.
Nothing of a tensor is read before it is asked for.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from genomeconv.errors import ModelError
from genomeconv.weights.files import open_regular
from genomeconv.weights.tensors import ITEM_BYTES, Entry, read_header
from genomeconv.weights.unpickle import Bounded, StorageRef, TensorRef, read_pickle

PICKLE_CAP = 64 << 20
"""Most bytes of a pickle that are read; those of published models take 0.1 MB."""
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_MAGIC = b"PK\x03\x04"

ReadStorage = Callable[[StorageRef], bytes]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor of a checkpoint: its shape, and how to read it."""

    dtype: str
    shape: tuple[int, ...]
    load: Callable[[], Tensor]
    """Reads it, in its own type."""


@contextlib.contextmanager
def open_checkpoint(path: Path) -> Iterator[dict[str, Stored]]:
    """Open a checkpoint and yield its tensors by name, in the order of the file.

    Raises
    ------
    InputMissingError
        If it is not there.
    ModelError
        If it is none of the three containers, or damaged.
    PermissionDeniedError
        If the system refuses to read it.
    """
    where = str(path)
    if path.is_dir():
        raise ModelError(f"{where}: a folder; the checkpoint file itself was wanted")
    with open_regular(path) as (file, size):
        start = file.read(9)
        file.seek(0)
        if start.startswith(_ZIP_MAGIC):
            yield _from_zip(file, size, where)
        elif start[:1] == b"\x80":
            yield _from_legacy(file, size, where)
        elif start[8:] == b"{":
            yield _from_safetensors(file, size, where)
        else:
            raise ModelError(
                f"{where}: not a checkpoint: wanted safetensors or a file of torch.save"
            )


def _from_safetensors(file: BinaryIO, size: int, where: str) -> dict[str, Stored]:
    def stored(name: str, entry: Entry) -> Stored:
        def load() -> Tensor:
            data = _read_at(file, entry.start, entry.stop, where)
            return _numbers(data, entry.dtype, f"{where}: {name}").reshape(entry.shape)

        return Stored(dtype=entry.dtype, shape=entry.shape, load=load)

    entries = read_header(file, size, where)
    return {name: stored(name, entry) for name, entry in entries.items()}


def _from_zip(file: BinaryIO, size: int, where: str) -> dict[str, Stored]:
    """Read torch's archive: ROOT/data.pkl, and ROOT/data/KEY for each storage."""
    with _damage(where):
        archive = zipfile.ZipFile(file)
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ModelError(f"{where}: an archive, but not one of torch.save")
        root = pickles[0].removesuffix("data.pkl")

        def member(name: str, limit: int) -> bytes:
            info = archive.getinfo(root + name)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
                raise ModelError(f"{where}: {root + name} is compressed or too long")
            return archive.read(info)

        told = root + "byteorder" in archive.namelist()
        if told and member("byteorder", 100) != b"little":
            raise ModelError(f"{where}: written big-endian, which is not read")
        top, _ = read_pickle(io.BytesIO(member("data.pkl", PICKLE_CAP)), where)

    def read(storage: StorageRef) -> bytes:
        with _damage(where):
            return member(f"data/{storage.key}", size)

    return _tensors(top, read, size, where)


def _from_legacy(file: BinaryIO, size: int, where: str) -> dict[str, Stored]:
    """Read five pickles (magic, version, system, value, keys), then the storages."""
    bounded = Bounded(file, min(size, PICKLE_CAP))
    magic, _ = read_pickle(bounded, where)
    if magic != _LEGACY_MAGIC:
        raise ModelError(f"{where}: a pickle, but not one of torch.save")
    protocol, _ = read_pickle(bounded, where)
    system, _ = read_pickle(bounded, where)
    little = system.get("little_endian") if isinstance(system, dict) else None
    if protocol != _LEGACY_PROTOCOL or little is not True:
        raise ModelError(f"{where}: written by a torch or a machine of unknown kind")
    top, storages = read_pickle(bounded, where)
    keys, _ = read_pickle(bounded, where)
    places = _places(file, keys, storages, where)

    def read(storage: StorageRef) -> bytes:
        if storage.key not in places:
            raise ModelError(f"{where}: damaged: storage {storage.key!r} is missing")
        return _read_at(file, *places[storage.key], where)

    return _tensors(top, read, size, where)


def _places(
    file: BinaryIO, keys: object, storages: dict[str, StorageRef], where: str
) -> dict[str, tuple[int, int]]:
    """Return first and last byte of each storage; each follows its own length."""
    places: dict[str, tuple[int, int]] = {}
    start = file.tell()
    for key in keys if isinstance(keys, list) else ():
        count = int.from_bytes(_read_at(file, start, start + 8, where), "little")
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or storage.elements != count:
            raise ModelError(
                f"{where}: damaged: a storage has not the length it should"
            )
        stop = start + 8 + count * ITEM_BYTES[storage.dtype]
        places[key] = start + 8, stop
        start = stop
    return places


def _tensors(
    top: object, read: ReadStorage, size: int, where: str
) -> dict[str, Stored]:
    """Return the tensors of a state dict, at the top or under "state_dict"."""
    state = top.get("state_dict", top) if isinstance(top, dict) else None
    if not isinstance(state, dict):
        raise ModelError(f"{where}: holds no state dict, the weights by name")
    views = {
        name: value
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, TensorRef)
    }
    for name, view in views.items():
        if not _fits(view, size):
            raise ModelError(f"{where}: damaged: {name} exceeds its storage")

    def stored(name: str, view: TensorRef) -> Stored:
        def load() -> Tensor:
            dtype = view.storage.dtype
            flat = _numbers(read(view.storage), dtype, f"{where}: {name}")
            if len(flat) != view.storage.elements:
                raise ModelError(f"{where}: damaged: a storage has not its length")
            return flat.as_strided(view.shape, view.stride, view.offset)

        return Stored(dtype=view.storage.dtype, shape=view.shape, load=load)

    return {name: stored(name, view) for name, view in views.items()}


def _fits(view: TensorRef, size: int) -> bool:
    """Return whether a view lies inside its storage, and that inside the file."""
    shape, stride, storage = view.shape, view.stride, view.storage
    if len(shape) != len(stride) or min((0, view.offset, *shape, *stride)) < 0:
        return False
    if storage.elements * ITEM_BYTES[storage.dtype] > size:
        return False
    if 0 in shape:
        return True
    last = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    return (
        math.prod(shape) <= storage.elements and view.offset + last < storage.elements
    )


def _numbers(data: bytes, dtype: str, where: str) -> Tensor:
    if dtype not in _TYPES:
        raise ModelError(f"{where} is of type {dtype}, not {', '.join(_TYPES)}")
    if not data or len(data) % ITEM_BYTES[dtype]:
        return torch.empty(0, dtype=_TYPES[dtype])
    return torch.frombuffer(bytearray(data), dtype=_TYPES[dtype])


def _read_at(file: BinaryIO, start: int, stop: int, where: str) -> bytes:
    size = file.seek(0, os.SEEK_END)
    if stop > size:
        raise ModelError(
            f"{where}: damaged: ends at byte {size:,}, {stop:,} were wanted; "
            "get the file again"
        )
    file.seek(start)
    return file.read(stop - start)


@contextlib.contextmanager
def _damage(where: str) -> Iterator[None]:
    """Turn what zipfile raises on a damaged archive into one line."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, OSError,
        NotImplementedError, RuntimeError, struct.error, OverflowError,
    ) as error:  # fmt: skip
        raise ModelError(
            f"{where}: damaged archive ({error}); get the file again"
        ) from None
