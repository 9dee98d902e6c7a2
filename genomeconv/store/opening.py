"""Opens an output for reading, or says in one line why it is none."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import h5py

from genomeconv.errors import (
    DataError,
    InputMissingError,
    PermissionDeniedError,
    UsageError,
)
from genomeconv.store import schema

ZSTD_FILTER = 32015


def open_file(path: Path) -> Any:
    """Open an HDF5 file for reading."""
    if not path.exists():
        raise InputMissingError(f"{path} does not exist: check the path")
    if path.is_dir():
        raise InputMissingError(f"{path} is a folder: give an output file")
    try:
        return _open_hdf5(path)
    except PermissionError as error:
        raise PermissionDeniedError(
            f"{path} may not be read: change its permissions"
        ) from error
    except (OSError, RuntimeError) as error:
        text = str(error)
        if "truncated file" in text:
            why = "is cut short, as by an incomplete copy: copy or make it again"
        elif "signature not found" in text:
            why = "is not an HDF5 file: give an output of genomeconv"
        else:
            why = f"cannot be read as HDF5 ({text.splitlines()[0]})"
        raise DataError(f"{path} {why}") from error


def _open_hdf5(path: Path) -> Any:
    """Open for reading, with HDF5's lock where the file system has locks.

    HDF5 refuses to open a file twice in a process with and without lock, so this one
    does as other libraries do, and without only where they could not read at all.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "lock" not in str(error):
            raise
    return h5py.File(path, "r", locking=False)


def check_output(path: Path, file: Any) -> None:
    """Refuse what is not a finished output of a format this version knows."""
    if schema.UNS not in file or "format_version" not in file[schema.UNS]:
        raise DataError(
            f"{path} is an HDF5 file of another kind: /{schema.UNS} is not there, "
            "give an output of genomeconv"
        )
    version = int(file[schema.UNS]["format_version"][()])
    if version > schema.FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {version}, this genomeconv reads up to "
            f"{schema.FORMAT_VERSION}: install a newer genomeconv"
        )
    status = file[schema.STATUS].asstr()[()]
    if status != schema.COMPLETE.decode():
        raise DataError(
            f"{path} is {status}: run the command that made it again to finish it"
        )


def _filters(x: Any) -> list[int]:
    settings = x.id.get_create_plist()
    return [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]


def compression(x: Any) -> str:
    """Name the compression of X."""
    found = _filters(x)
    if ZSTD_FILTER in found:
        return "zstd"
    return "gzip" if h5py.h5z.FILTER_DEFLATE in found else "none"


def load_filter(path: Path, x: Any) -> None:
    """Make the filters of X available."""
    if ZSTD_FILTER not in _filters(x):
        return
    if importlib.util.find_spec("hdf5plugin") is None:
        raise UsageError(
            f"{path} is compressed with zstd: install hdf5plugin with pip install "
            "'genomeconv[compression]'"
        )
    importlib.import_module("hdf5plugin")
