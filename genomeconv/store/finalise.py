"""From all rows written to a whole file: verify, complete, compress."""

from __future__ import annotations

import importlib
import importlib.util
import os
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from genomeconv.errors import StorageError, UsageError
from genomeconv.store import schema
from genomeconv.store.blocks import BlockTable
from genomeconv.store.coordinates import coordinate_crc
from genomeconv.store.disk import remove, storage_errors, write_at
from genomeconv.store.journal import Journal
from genomeconv.store.layout import Places

COMPRESSIONS = ("none", "gzip", "zstd")
CHECKED = ("row_start", "row_stop", "X", "n_bases", "coordinates")


def check_compression(method: str) -> None:
    """Refuse a compression that cannot be done here.

    Raises
    ------
    UsageError
        It is unknown, or its plugin is not installed.
    """
    if method not in COMPRESSIONS:
        raise UsageError(
            f"--compress: wanted one of {', '.join(COMPRESSIONS)}, got {method!r}"
        )
    if method == "zstd" and importlib.util.find_spec("hdf5plugin") is None:
        raise UsageError(
            "--compress zstd needs hdf5plugin: install it with pip install "
            "'genomeconv[compression]', or use --compress gzip"
        )


def complete(table: BlockTable, places: Places, journal: Journal) -> None:
    """Verify every block against the journal, store the checksums, mark it complete.

    Raises
    ------
    StorageError
        A block is no longer what was written; the next run computes it again.
    """
    crc = []
    for a, b in table.spans():
        _, wanted = journal.entries["X", a]
        if table.checksums(a, b) != wanted:
            raise StorageError(
                f"{table.path}: rows {a} to {b} changed on the disk after they were "
                "written: check the disk, then run the same command to mend them"
            )
        crc.append(wanted)
    columns = np.array(crc, "<u4")
    status = schema.COMPLETE.ljust(schema.STATUS_BYTES, b"\0")
    with storage_errors(table.path, "finishing"):
        write_at(table.fd, columns[:, 0].tobytes(), places.crc_x)
        write_at(table.fd, columns[:, 1].tobytes(), places.crc_n_bases)
        write_at(table.fd, status, places.status)
        os.fsync(table.fd)


def pack(source: Path, target: Path, method: str) -> None:
    """Copy a complete file with X compressed and fletcher32 on every chunk, verified.

    Raises
    ------
    StorageError
        The disk is full or fails.
    """
    remove(target)
    with storage_errors(target, "compressing", hdf5=True):
        with (
            h5py.File(source, "r", locking=False) as old,
            h5py.File(target, "x", locking=False) as new,
        ):
            _copy(old, new, method)
        with target.open("rb") as file:
            os.fsync(file.fileno())
        with h5py.File(target, "r", locking=False) as new:
            if (bad := damaged_block(new)) is not None:
                raise OSError(f"rows {bad[0]} to {bad[1]} read back differently")


def _copy(old: Any, new: Any, method: str) -> None:
    for key, attribute in old.attrs.items():
        new.attrs[key] = attribute
    for name in old:
        if name != "X":
            old.copy(name, new)
    x = old["X"]
    packed = new.create_dataset(
        "X",
        x.shape,
        x.dtype,
        chunks=x.chunks,
        shuffle=True,
        fletcher32=True,
        **_filter(method),
    )
    for key, attribute in x.attrs.items():
        packed.attrs[key] = attribute
    for a in range(0, x.shape[0], x.chunks[0]):
        packed[a : a + x.chunks[0]] = x[a : a + x.chunks[0]]


def _filter(method: str) -> dict[str, Any]:
    if method == "gzip":
        # Higher levels cost twice the time and save under 2 % on embeddings.
        return {"compression": "gzip", "compression_opts": 1}
    plugin: Any = importlib.import_module("hdf5plugin")
    return dict(plugin.Zstd(clevel=3))


def damaged_block(file: Any) -> tuple[int, int] | None:
    """Find the first block of rows that differs from its checksums."""
    table = file[schema.CHECKSUMS]
    wanted = zip(*(table[key][:].tolist() for key in CHECKED), strict=True)
    coordinates = [file[f"obs/{name}"] for name in ("sequence/codes", "start", "end")]
    for a, b, crc_x, crc_n, crc_c in wanted:
        found = (
            zlib.crc32(file["X"][a:b].data),
            zlib.crc32(file[schema.N_BASES][a:b].data),
            coordinate_crc(*(column[a:b] for column in coordinates)),
        )
        if found != (crc_x, crc_n, crc_c):
            return a, b
    return None
