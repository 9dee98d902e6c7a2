"""Names, types and sizes of output format version 1; `docs/format.md` explains them.

Nothing else in the library spells an HDF5 path of the output.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

FORMAT_VERSION: Final = 1
TOOL: Final = "genomeconv"

UNS: Final = "uns/genomeconv"
STATUS: Final = f"{UNS}/status"
SEQUENCES: Final = f"{UNS}/sequences"
CHECKSUMS: Final = f"{UNS}/checksums"
N_BASES: Final = "obs/n_bases"
INDEX: Final = "_index"
LABELS: Final = (INDEX, "name")
ROWS: Final = frozenset(
    {
        "X",
        *(f"obs/{name}" for name in ("n_bases", "start", "end", *LABELS)),
        "obs/sequence/codes",
        "obs/strand/codes",
    }
)
"""What has an entry a row; all of it is under the checksums of blocks."""
PARTS: Final = ("X", "n_bases", "coordinates", "labels")
"""Parts of a block, each with its own checksum."""

UNFINISHED: Final = b"unfinished"
COMPLETE: Final = b"complete"
STATUS_BYTES: Final = 10
"""Status has a fixed length so that it can be changed in place, without metadata."""

STRANDS: Final = ("+", "-", ".")
"""Categories of obs/strand; "." is the mean of both strands."""

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
}
"""Types of /X, little-endian on every machine."""

COORDINATE_ORDER: Final = "coordinate"
INPUT_ORDER: Final = "input"

REQUIRED_PROVENANCE: Final = ("command", "options", "model", "model_sha256", "device")
RESERVED: Final = frozenset(
    {
        "format_version",
        "tool",
        "tool_version",
        "created",
        "dtype",
        "status",
        "row_order",
        "sequences",
        "checksums",
    }
)

BLOCK_BYTES: Final = 512 * 1024
"""Upper size of a block: one HDF5 chunk, one checksum, one unit of resuming."""


def rows_per_block(rows: int, columns: int, dtype: str) -> int:
    """Rows of one block: a power of two of at most 512 KiB, within 1 and `rows`.

    Parameters
    ----------
    rows, columns : int
        Shape of /X, both at least 1.
    dtype : str
        "float32" or "float16".
    """
    fit = BLOCK_BYTES // (columns * DTYPES[dtype].itemsize)
    power: int = 1 << max(0, fit.bit_length() - 1)
    return min(power, rows)
