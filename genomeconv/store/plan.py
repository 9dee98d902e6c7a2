"""What an output is going to hold, said before anything is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genomeconv._version import __version__
from genomeconv.errors import DataError
from genomeconv.store import schema

JSON: TypeAlias = (
    "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
)
Column: TypeAlias = "Sequence[str] | NDArray[Any]"

SLICE_ROWS = 65_536
"""Rows described at a time while the coordinates are written."""


@dataclass(frozen=True, kw_only=True)
class RowSlice:
    """Coordinates of some consecutive rows, R of them.

    Attributes
    ----------
    sequence : (R,) int32
        Index into `Rows.sequence_names`.
    start, end : (R,) int64
        0-based half-open.
    name : list of str, optional
        Names of the regions; given for all rows or for none.
    index : list of str, optional
        Labels of the rows, "name:start-end" where they are not given. Rows that
        differ in their coordinates must differ in their labels.
    """

    sequence: NDArray[np.integer[Any]]
    start: NDArray[np.integer[Any]]
    end: NDArray[np.integer[Any]]
    name: Sequence[str] | None = None
    index: Sequence[str] | None = None


class Rows(Protocol):
    """The rows of an output; described by slices, for there can be 10^9 of them."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def sequence_names(self) -> Sequence[str]:
        """Name of every sequence."""
        ...

    def slice(self, a: int, b: int, /) -> RowSlice:
        """Rows `a` to `b`, half-open."""
        ...


@dataclass(frozen=True, kw_only=True)
class OutputPlan:
    """Everything about an output except the numbers.

    Attributes
    ----------
    rows : Rows
        The rows, at least one.
    columns : sequence of str
        Names of the columns, unique.
    dtype : str
        Stored type, "float32" or "float16".
    strand : str
        "+", "-", or "both".
    sequences : mapping
        Table of the sequences in the order of `rows.sequence_names`: "length" (int64)
        and "md5" (str), any further column of integers or strings beside them.
    provenance : mapping
        What goes to /uns/genomeconv: command, options (a mapping, stored as JSON),
        model, model_sha256 and device; more keys, nested mappings too, as one likes.
    fingerprint : mapping
        JSON values that decide whether an unfinished file may be continued.
    scratch : bool
        Whether a private float32 table of the size of X is needed on the way.
    together : int or None
        Rows to be kept or lost together when a run is killed, a power of two; None: as
        many as are stored together, a block.
    """

    rows: Rows
    columns: Sequence[str]
    dtype: str
    strand: str
    sequences: Mapping[str, Column]
    provenance: Mapping[str, Any]
    fingerprint: Mapping[str, JSON] = field(default_factory=dict)
    scratch: bool = False
    together: int | None = None

    def __post_init__(self) -> None:
        if self.rows.n_rows < 1:
            raise ValueError("rows: wanted at least one row, got none")
        if self.dtype not in schema.DTYPES:
            raise ValueError(
                f"dtype: wanted one of {', '.join(schema.DTYPES)}, got {self.dtype!r}"
            )
        if self.strand not in ("+", "-", "both"):
            raise ValueError(f"strand: wanted +, - or both, got {self.strand!r}")
        check_labels("column", self.columns)
        check_labels("sequence", self.rows.sequence_names)
        if missing := {"length", "md5"} - set(self.sequences):
            raise ValueError(f"sequences: column {min(missing)!r} is missing")
        for name, column in self.sequences.items():
            if name in ("name", "row_start", "row_stop"):
                raise ValueError(f"sequences: column {name!r} is the writer's to fill")
            if len(column) != len(self.rows.sequence_names):
                raise ValueError(
                    f"sequences: column {name!r} has {len(column)} entries for "
                    f"{len(self.rows.sequence_names)} sequences"
                )
        self._check_provenance()

    def _check_provenance(self) -> None:
        for key in schema.REQUIRED_PROVENANCE:
            if key not in self.provenance:
                raise ValueError(f"provenance: {key!r} is missing")
        for key in self.provenance:
            if key in schema.RESERVED:
                raise ValueError(f"provenance: {key!r} is the writer's to fill")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of X."""
        return self.rows.n_rows, len(self.columns)

    @property
    def block_rows(self) -> int:
        """Rows of one block."""
        return schema.rows_per_block(*self.shape, self.dtype)

    @property
    def commit_rows(self) -> int:
        """Rows of one commit: a block, or a power of two of them that divides it."""
        return min(self.together or self.block_rows, self.block_rows)

    @property
    def identity(self) -> dict[str, JSON]:
        """Fingerprint of the output: the caller's fields and the shape of the file."""
        columns = hashlib.sha256("\0".join(self.columns).encode()).hexdigest()
        own: dict[str, JSON] = {
            "rows": self.rows.n_rows,
            "columns": len(self.columns),
            "column names (sha256)": columns,
            "dtype": self.dtype,
            "strand": self.strand,
            "scratch": self.scratch,
            "format version": schema.FORMAT_VERSION,
            "genomeconv version": __version__,
        }
        # Through JSON and back, as it will be read from the journal.
        merged: dict[str, JSON] = json.loads(json.dumps({**self.fingerprint, **own}))
        return merged

    def slices(self) -> Iterator[tuple[int, RowSlice]]:
        """First row and description of one slice after the other."""
        for a in range(0, self.rows.n_rows, SLICE_ROWS):
            yield a, self.rows.slice(a, min(a + SLICE_ROWS, self.rows.n_rows))


def check_labels(kind: str, labels: Sequence[str]) -> None:
    """Refuse labels that HDF5 or AnnData cannot hold.

    Raises
    ------
    DataError
        A label is empty, is there twice, holds a NUL, or is not valid text.
    """
    if not labels:
        raise DataError(f"no {kind} to write: wanted at least one")
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        check_text(f"{kind} {number}", label)
        if not label:
            raise DataError(f"{kind} {number} has an empty name: give it one")
        if label in seen:
            raise DataError(
                f"{kind} {number} has the name {shown(label)}, which an earlier one "
                "has too: names have to differ"
            )
        seen.add(label)


def check_text(where: str, text: str) -> None:
    """Refuse what an HDF5 string cannot hold: NUL and bytes that are not UTF-8."""
    if "\0" in text:
        raise DataError(
            f"{where}: the name {shown(text)} holds a NUL byte, which HDF5 strings "
            "cannot: rename it"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: the name {shown(text)} is not valid UTF-8: rename it"
        ) from None


def shown(text: str) -> str:
    """`text` quoted, with control characters escaped, at most 60 characters long."""
    quoted = ascii(text) if not text.isprintable() else f"'{text}'"
    return quoted if len(quoted) <= 60 else f"{quoted[:57]}..."


def predicted_bytes(plan: OutputPlan, compress: str = "none") -> int:
    """Bytes of disk the run needs at its peak, scratch and second copy included.

    Parameters
    ----------
    plan : OutputPlan
    compress : str
        With any compression the packed copy stands beside the plain one for a while.
    """
    rows, columns = plan.shape
    x = rows * columns * schema.DTYPES[plan.dtype].itemsize
    sample = plan.rows.slice(0, min(rows, 1000))
    texts = labels(plan.rows.sequence_names, sample), sample.name or []
    text = sum(len(t.encode()) + 40 for column in texts for t in column)
    coordinates = int(rows * (30 + text / len(texts[0])))
    names = sum(
        len(t.encode()) + 150 for t in (*plan.rows.sequence_names, *plan.columns)
    )
    checksums = 32 * (rows // plan.block_rows + 1)
    fixed = coordinates + names + checksums + 200_000
    scratch = rows * columns * 4 if plan.scratch else 0
    copy = 0 if compress == "none" else x + fixed
    return x + fixed + scratch + copy


def labels(names: Sequence[str], rows: RowSlice) -> list[str]:
    """Label of every row, "name:start-end" unless the rows bring their own."""
    if rows.index is not None:
        return list(rows.index)
    return [
        f"{names[s]}:{a}-{b}"
        for s, a, b in zip(
            rows.sequence.tolist(), rows.start.tolist(), rows.end.tolist(), strict=True
        )
    ]
