"""Rows that were read, and the small things they are made of."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genomeconv.errors import UsageError


class SequenceEntry(NamedTuple):
    """One sequence of an output.

    Attributes
    ----------
    length : int
        Bases.
    md5 : str
        Of the upper-case sequence.
    row_start, row_stop : int
        All its rows lie in this range; equal if there are none.
    """

    length: int
    md5: str
    row_start: int
    row_stop: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Some rows of an output, R of them with C columns.

    Attributes
    ----------
    X : (R, C) float32 or float16
    index : (R,) str objects
        Labels of the rows.
    sequence : (R,) str objects
    start, end : (R,) int64
        0-based half-open.
    strand : (R,) str objects
        "+", "-", or "." for the mean of both.
    n_bases : (R,) int64
        Called bases (A, C, G, T).
    name : (R,) str objects, or None
        Names of the regions, if the rows have any.
    columns : (C,) str objects
    """

    X: NDArray[Any]
    index: NDArray[Any]
    sequence: NDArray[Any]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    strand: NDArray[Any]
    n_bases: NDArray[np.int64]
    name: NDArray[Any] | None
    columns: NDArray[Any]

    def __len__(self) -> int:
        return len(self.start)

    def to_pandas(self) -> Any:
        """Return a data frame: the coordinates, then the columns of X.

        Raises
        ------
        UsageError
            pandas is not installed.
        """
        pandas = optional("pandas")
        obs = {
            "sequence": self.sequence,
            "start": self.start,
            "end": self.end,
            "strand": self.strand,
            **({} if self.name is None else {"name": self.name}),
            "n_bases": self.n_bases,
        }
        left = pandas.DataFrame(obs, index=self.index)
        right = pandas.DataFrame(self.X, index=self.index, columns=self.columns)
        return pandas.concat([left, right], axis=1)


def optional(module: str) -> Any:
    """Import pandas or anndata, or say what to install."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"{module} is not installed: install it with pip install "
            "'genomeconv[anndata]'"
        )
    return importlib.import_module(module)


def texts(data: NDArray[Any]) -> NDArray[Any]:
    """Decode strings as HDF5 gives them, (R,) bytes objects, to str objects."""
    out = np.empty(len(data), object)
    out[:] = [item.decode() for item in data.tolist()]
    return out


def categories(column: Any) -> NDArray[Any]:
    """Return the categories of a categorical column, (C,) str objects."""
    return texts(column["categories"][:])
