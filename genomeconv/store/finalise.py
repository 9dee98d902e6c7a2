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
from genomeconv.store.checksums import damage
from genomeconv.store.disk import remove, storage_errors, write_at
from genomeconv.store.hdf5_file import DiskFile, create_hdf5
from genomeconv.store.journal import Journal
from genomeconv.store.layout import Places

COMPRESSIONS = ("none", "gzip", "zstd")


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
    """Verify all rows against the journal, store the checksums, mark it complete.

    Raises
    ------
    StorageError
        Rows are no longer what was written; the next run computes them again.
    """
    crc = np.zeros((len(places.x), 2), "<u4")
    for a, b in table.spans():
        parts, (_, wanted) = table.parts(a, b), journal.entries["X", a]
        if not table.agrees(parts, wanted):
            raise StorageError(
                f"{table.path}: rows {a} to {b} changed on the disk after they were "
                "written: check the disk, then run the same command to mend them"
            )
        block = crc[a // places.block_rows]
        block[:] = [zlib.crc32(p, int(c)) for p, c in zip(parts, block, strict=True)]
    status = schema.COMPLETE.ljust(schema.STATUS_BYTES, b"\0")
    with storage_errors(table.path, "finishing"):
        write_at(table.fd, crc[:, 0].tobytes(), places.crc_x)
        write_at(table.fd, crc[:, 1].tobytes(), places.crc_n_bases)
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
    with storage_errors(target, "compressing"):
        with (
            h5py.File(source, "r", locking=False) as old,
            create_hdf5(target) as (new, disk),
        ):
            _copy(old, new, method, disk)
        with h5py.File(target, "r", locking=False) as new:
            if (bad := next(damage(new), None)) is not None:
                raise OSError(f"rows {bad.start} to {bad.stop} read back differently")


def _copy(old: Any, new: Any, method: str, disk: DiskFile) -> None:
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
        disk.check()


def _filter(method: str) -> dict[str, Any]:
    if method == "gzip":
        # Higher levels cost twice the time and save under 2 % on embeddings.
        return {"compression": "gzip", "compression_opts": 1}
    plugin: Any = importlib.import_module("hdf5plugin")
    return dict(plugin.Zstd(clevel=3))
