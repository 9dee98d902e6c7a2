"""Makes the file with everything but the numbers, and finds the numbers' places.

HDF5 writes the file once and closes it. X, n_bases, the checksums and the status are
allocated then, so that all later writes go to known offsets and no metadata ever
changes: a crash can tear a block, which its checksum tells, and nothing else.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from genomeconv._version import __version__
from genomeconv.store import encode, schema
from genomeconv.store.checksums import header_crc
from genomeconv.store.coordinates import write_obs
from genomeconv.store.hdf5_file import create_hdf5
from genomeconv.store.plan import OutputPlan


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where in the file the numbers are, in bytes.

    Attributes
    ----------
    block_rows : int
        Rows of a chunk of X.
    x : (blocks,) int64
        Offset of every chunk of X.
    n_bases, crc_x, crc_n_bases, status : int
        Offsets of the others.
    """

    block_rows: int
    x: NDArray[np.int64]
    n_bases: int
    crc_x: int
    crc_n_bases: int
    status: int


def create(path: Path, plan: OutputPlan) -> None:
    """Write a new file at `path`: all of format version 1, X and n_bases still zero."""
    rows, columns = plan.shape
    with create_hdf5(path) as (file, disk):
        encode.mark(file, "anndata", "0.1.0")
        dtype = schema.DTYPES[plan.dtype].str
        encode.empty_matrix(file, "X", (rows, columns), dtype, plan.block_rows)
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            encode.group(file, name)
        encode.strings(
            encode.dataframe(file, "var", schema.INDEX, ()), schema.INDEX, plan.columns
        )
        uns = encode.group(file["uns"], schema.TOOL)
        _write_provenance(uns, plan)
        crc = _write_checksum_table(uns, plan)
        ranges, ordered = write_obs(file, plan, crc, disk.check)
        _write_sequences(uns, plan, ranges)
        order = schema.COORDINATE_ORDER if ordered else schema.INPUT_ORDER
        encode.value(uns, "row_order", order)
        header = np.array(list(header_crc(file).values()), "<u4")
        encode.array(crc, "header", header)


def locate(path: Path, plan: OutputPlan) -> Places:
    """Find the places in a file made by `create` with the same plan.

    Raises
    ------
    OSError, KeyError, ValueError
        The file is not such a file, or is damaged.
    """
    with h5py.File(path, "r", locking=False) as file:
        x = file["X"]
        if x.shape != plan.shape or x.dtype != schema.DTYPES[plan.dtype]:
            raise ValueError(f"X is {x.shape} {x.dtype}")
        if x.chunks is None or x.chunks[0] != plan.block_rows or x.id.get_offset():
            raise ValueError("X has other chunks")
        return Places(
            block_rows=plan.block_rows,
            x=_chunk_offsets(x.id, plan.block_rows),
            n_bases=_offset(file, schema.N_BASES),
            crc_x=_offset(file, f"{schema.CHECKSUMS}/X"),
            crc_n_bases=_offset(file, f"{schema.CHECKSUMS}/n_bases"),
            status=_offset(file, schema.STATUS),
        )


def _chunk_offsets(x: Any, block_rows: int) -> NDArray[np.int64]:
    count = -(-x.shape[0] // block_rows)
    offsets = np.zeros(count, np.int64)

    def note(chunk: Any) -> None:
        offsets[chunk.chunk_offset[0] // block_rows] = chunk.byte_offset

    if hasattr(x, "chunk_iter"):
        x.chunk_iter(note)
    else:
        for number in range(x.get_num_chunks()):
            note(x.get_chunk_info(number))
    if not offsets.all():
        raise ValueError("X is not allocated")
    return offsets


def _offset(file: Any, name: str) -> int:
    offset = file[name].id.get_offset()
    if not offset:
        raise ValueError(f"{name} is not allocated")
    return int(offset)


def _write_provenance(uns: Any, plan: OutputPlan) -> None:
    encode.value(uns, "format_version", schema.FORMAT_VERSION)
    encode.value(uns, "tool", schema.TOOL)
    encode.value(uns, "tool_version", __version__)
    encode.value(uns, "created", _now())
    encode.value(uns, "dtype", plan.dtype)
    encode.fixed_string(uns, "status", schema.UNFINISHED, schema.STATUS_BYTES)
    for key, item in plan.provenance.items():
        if key == "options" and not isinstance(item, str):
            item = json.dumps(item, sort_keys=True)
        encode.value(uns, key, item)


def _now() -> str:
    """Time in UTC, of SOURCE_DATE_EPOCH where a reproducible file is wanted."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = int(epoch) if epoch.isdecimal() else int(time.time())
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _write_checksum_table(uns: Any, plan: OutputPlan) -> Any:
    """Table of blocks; returns it."""
    starts = np.arange(0, plan.rows.n_rows, plan.block_rows, dtype=np.int64)
    table = encode.group(uns, "checksums")
    encode.array(table, "row_start", starts)
    stops = np.minimum(starts + plan.block_rows, plan.rows.n_rows)
    encode.array(table, "row_stop", stops)
    for part in schema.PARTS:
        encode.empty_array(table, part, len(starts), "<u4")
    return table


def _write_sequences(uns: Any, plan: OutputPlan, ranges: NDArray[np.int64]) -> None:
    given = plan.sequences
    columns = [*given, "row_start", "row_stop"]
    frame = encode.dataframe(uns, "sequences", "name", columns)
    encode.strings(frame, "name", plan.rows.sequence_names)
    for key, column in given.items():
        if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
            encode.array(frame, key, column.astype(np.int64))
        elif isinstance(column[0], str):
            encode.strings(frame, key, list(column))
        else:
            encode.array(frame, key, np.asarray(column, np.int64))
    encode.array(frame, "row_start", ranges[0])
    encode.array(frame, "row_stop", ranges[1])
