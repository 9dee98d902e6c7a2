"""Embeddings and predictions for DNA of any length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genomeconv._version import __version__

if TYPE_CHECKING:
    from genomeconv.store import Reader

__all__ = ["__version__", "open"]


def open(path: str | Path) -> Reader:
    """Open an output for reading: rows by number or by region.

    For files you trust: HDF5 is not safe against files that are damaged or made to
    harm. `genomeconv verify FILE` and `genomeconv info FILE` read in a process of
    their own; verify first what comes from elsewhere.

    Parameters
    ----------
    path : path
        What `genomeconv embed` wrote.

    Returns
    -------
    Reader
        Close it, or use it in a ``with`` statement.

    Examples
    --------
    >>> with genomeconv.open("genome.embeddings.h5") as reader:  # doctest: +SKIP
    ...     rows = reader.fetch("chr1:1-1,000")
    ...     rows.X, rows.start, rows.end
    """
    from genomeconv.store import Reader

    return Reader(path)
