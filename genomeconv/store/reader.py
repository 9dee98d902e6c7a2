"""The reader: rows of an output by number or by region, as numpy, pandas or AnnData."""

from __future__ import annotations

import bisect
import contextlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from genomeconv.errors import DataError
from genomeconv.store import schema
from genomeconv.store.checksums import damage, damage_text
from genomeconv.store.opening import (
    check_output,
    compression,
    load_filter,
    open_file,
)
from genomeconv.store.selection import (
    Selection,
    SequenceEntry,
    categories,
    optional,
    texts,
)

SCAN_ROWS = 1 << 20


class Reader:
    """An output open for reading; close it, or use it in a ``with`` statement.

    Open files of sources you trust only: HDF5 is not safe against files made to harm.

    Parameters
    ----------
    path : path
        A file of format version 1.

    Attributes
    ----------
    path : Path
    X : h5py.Dataset
        (rows, columns); slices of it are numpy arrays.

    Raises
    ------
    InputMissingError
        There is no such file.
    PermissionDeniedError
        It may not be read.
    DataError
        It is no output of genomeconv, is cut short, unfinished, or of a newer format.
    UsageError
        It is compressed with zstd and hdf5plugin is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_file(self.path)
        try:
            with self._readable():
                check_output(self.path, self._file)
                self.X: Any = self._file["X"]
                self._obs: Any = self._file["obs"]
                self._n_rows = int(self.X.shape[0])
            load_filter(self.path, self.X)
        except BaseException:
            self._file.close()
            raise

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._n_rows

    @cached_property
    def columns(self) -> NDArray[Any]:
        """Names of the columns, (columns,) str objects."""
        with self._readable():
            return texts(self._file["var"][schema.INDEX][:])

    @cached_property
    def sequences(self) -> dict[str, SequenceEntry]:
        """The sequences by name, in the order of the input."""
        with self._readable():
            table = self._file[schema.SEQUENCES]
            fields = [table[key][:] for key in SequenceEntry._fields]
            names = texts(table["name"][:]).tolist()
        fields[1] = texts(fields[1])
        entries = zip(*(field.tolist() for field in fields), strict=True)
        return dict(zip(names, map(SequenceEntry._make, entries), strict=True))

    @cached_property
    def _lengths(self) -> dict[str, int]:
        return {name: entry.length for name, entry in self.sequences.items()}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where the output comes from: /uns/genomeconv without its tables."""
        with self._readable():
            found = _decode(self._file[schema.UNS], {"sequences", "checksums"})
        with contextlib.suppress(ValueError):
            found["options"] = json.loads(found["options"])
        return found

    def fetch(self, region: str) -> Selection:
        """Rows that overlap a region.

        Parameters
        ----------
        region : str
            "chr1", or "chr1:1-1,000": 1-based, both ends included.

        Raises
        ------
        DataError
            There is no such sequence, or the region does not lie in it.
        UsageError
            The text is not a region.
        """
        from genomeconv.intervals import parse_region

        interval = parse_region(region, self._lengths, str(self.path))
        with self._readable():
            return self._select(
                self._overlapping(interval.name, interval.start, interval.end)
            )

    def rows(self, start: int, stop: int) -> Selection:
        """Rows `start` to `stop`, half-open.

        Raises
        ------
        IndexError
            The file has no such rows.
        """
        if not 0 <= start <= stop <= self.n_rows:
            raise IndexError(
                f"rows {start} to {stop}: {self.path} has rows 0 to {self.n_rows}"
            )
        with self._readable():
            return self._select([(start, stop)])

    def to_pandas(self) -> Any:
        """Return all rows as one data frame: the coordinates, then the columns of X."""
        optional("pandas")
        return self.rows(0, self.n_rows).to_pandas()

    def to_anndata(self) -> Any:
        """Return the whole file as an `anndata.AnnData` in memory.

        Raises
        ------
        UsageError
            anndata is not installed.
        """
        anndata = optional("anndata")
        with self._readable():
            return anndata.io.read_elem(self._file)

    def verify(self) -> None:
        """Read everything that has a checksum.

        Raises
        ------
        DataError
            Names the first rows that are not what was written.
        """
        with self._readable():
            found = next(damage(self._file), None)
        if found is not None:
            raise DataError(damage_text(self.path, [found]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _overlapping(self, name: str, start: int, end: int) -> list[tuple[int, int]]:
        """Ranges of rows of sequence `name` that overlap `start` to `end`."""
        entry = self.sequences[name]
        low, high = entry.row_start, entry.row_stop
        starts, ends = self._obs["start"], self._obs["end"]
        order = self._file[f"{schema.UNS}/row_order"].asstr()[()]
        if order == schema.COORDINATE_ORDER:
            a = bisect.bisect_right(ends, start, low, high)
            b = bisect.bisect_left(starts, end, a, high)
            return [(a, b)]
        code = list(self.sequences).index(name)
        codes = self._obs["sequence/codes"]
        ranges = []
        for a in range(low, high, SCAN_ROWS):
            span = slice(a, min(a + SCAN_ROWS, high))
            hit = (codes[span] == code) & (starts[span] < end) & (ends[span] > start)
            edges = np.flatnonzero(np.diff(np.concatenate([[0], hit, [0]]))) + a
            ranges += [(p, q) for p, q in edges.reshape(-1, 2).tolist()]
        return ranges

    def _select(self, ranges: list[tuple[int, int]]) -> Selection:
        ranges = ranges or [(0, 0)]

        def take(data: Any) -> NDArray[Any]:
            return np.concatenate([data[a:b] for a, b in ranges])

        obs = self._obs
        return Selection(
            X=take(self.X),
            index=texts(take(obs[schema.INDEX])),
            sequence=categories(obs["sequence"])[take(obs["sequence/codes"])],
            start=take(obs["start"]),
            end=take(obs["end"]),
            strand=categories(obs["strand"])[take(obs["strand/codes"])],
            n_bases=take(obs["n_bases"]),
            name=texts(take(obs["name"])) if "name" in obs else None,
            columns=self.columns,
        )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, RuntimeError, AttributeError) as error:
            raise DataError(
                f"{self.path} is damaged ({str(error).splitlines()[0]}): make it "
                "again, or take it from a copy"
            ) from error


def describe(path: str | Path) -> dict[str, Any]:
    """Say what an output is, in plain values that JSON can hold.

    Raises
    ------
    InputMissingError, PermissionDeniedError, DataError, UsageError
        As `Reader`.
    """
    with Reader(path) as reader:
        facts = dict(reader.provenance)
        facts.pop("status")
        return {
            "kind": "output",
            "path": str(reader.path),
            "size": reader.path.stat().st_size,
            "rows": reader.n_rows,
            "columns": len(reader.columns),
            "dtype": facts.pop("dtype"),
            "compression": compression(reader.X),
            "sequences": len(reader.sequences),
            "bases": sum(entry.length for entry in reader.sequences.values()),
            **facts,
        }


def _decode(group: Mapping[str, Any], without: set[str]) -> dict[str, Any]:
    """Turn a group of values into a dict, nested as it is."""
    found: dict[str, Any] = {}
    for key, node in group.items():
        if key in without:
            continue
        if isinstance(node, h5py.Group):
            found[key] = _decode(node, set())
        elif h5py.check_string_dtype(node.dtype) is None:
            found[key] = node[()].tolist()
        elif node.shape:
            found[key] = texts(node[:]).tolist()
        else:
            found[key] = node.asstr()[()]
    return found
