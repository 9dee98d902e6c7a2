"""Verifies an output: complete, of a known version, and every value as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from genomeconv.errors import DataError
from genomeconv.store import schema
from genomeconv.store.beside import beside, found_beside
from genomeconv.store.checksums import covers_all, damage, damage_text
from genomeconv.store.opening import compression
from genomeconv.store.reader import Reader

MOST_SHRUNK = 1100
"""Deflate makes at most 1,032 bytes of one; a file that claims more lies."""


def verify(path: str | Path, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Read all of an output and compare it with its checksums.

    Parameters
    ----------
    path : path
    tick : callable
        Called after every block.

    Returns
    -------
    dict
        What was checked, and what lies beside the file.

    Raises
    ------
    InputMissingError, PermissionDeniedError, UsageError
        As `Reader`.
    DataError
        It is no output, is not finished, or is damaged; the rows are named.
    """
    path = Path(path)
    if not path.exists() and beside(path, "partial").exists():
        raise DataError(
            f"{path} is not finished: {beside(path, 'partial')} is an unfinished run, "
            "run the same command again to finish it"
        )
    with Reader(path) as reader:
        file = reader._file
        _check_structure(path, file)
        found = list(damage(file, tick))
        if found:
            raise DataError(damage_text(path, found))
        return {
            "kind": "output",
            "path": str(path),
            "format_version": int(file[schema.UNS]["format_version"][()]),
            "rows": reader.n_rows,
            "columns": file["X"].shape[1],
            "blocks": len(file[schema.CHECKSUMS]["X"]),
            "size": path.stat().st_size,
            "compression": compression(file["X"]),
            "checked": "all values" if covers_all(file) else "numbers, not labels",
            "beside": [str(other) for other in found_beside(path)],
        }


def _check_structure(path: Path, file: Any) -> None:
    """Refuse what says it is of another shape than it can be."""
    x, obs = file["X"], file["obs"]
    said = file[schema.UNS]["dtype"].asstr()[()]
    if said not in schema.DTYPES or x.dtype != schema.DTYPES[said]:
        raise DataError(f"{path} is damaged: /X is {x.dtype}, not the {said} it says")
    if len(x.shape) != 2 or not x.chunks or 0 in x.shape:
        raise DataError(f"{path} is damaged: /X is no matrix in blocks")
    limit = path.stat().st_size * (1 if compression(x) == "none" else MOST_SHRUNK)
    if x.size * x.dtype.itemsize > limit:
        raise DataError(f"{path} is damaged: /X is larger than the file")
    for name in ("n_bases", "start", "end"):
        if obs[name].shape != x.shape[:1] or obs[name].dtype != "<i8":
            raise DataError(f"{path} is damaged: /obs/{name} does not fit /X")
