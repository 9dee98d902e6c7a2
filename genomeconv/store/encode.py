"""AnnData's on-disk elements in HDF5: what `anndata` 0.12 writes, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

TEXT = h5py.string_dtype("utf-8")


def mark(node: Any, kind: str, version: str = "0.2.0") -> Any:
    """Name the encoding of a group or dataset; returns the node."""
    node.attrs["encoding-type"] = kind
    node.attrs["encoding-version"] = version
    return node


def group(parent: Any, name: str) -> Any:
    """Make an empty mapping."""
    return mark(parent.create_group(name), "dict", "0.1.0")


def dataframe(parent: Any, name: str, index: str, columns: Sequence[str]) -> Any:
    """Make a data frame; its columns and its index are then written into it."""
    node = mark(parent.create_group(name), "dataframe")
    node.attrs["_index"] = index
    node.attrs.create("column-order", list(columns), (len(columns),), TEXT)
    return node


def array(parent: Any, name: str, data: NDArray[Any]) -> Any:
    """Write an array of numbers."""
    little = data.dtype.newbyteorder("<")
    return mark(parent.create_dataset(name, data=data, dtype=little), "array")


def strings(parent: Any, name: str, data: Sequence[str]) -> Any:
    """Write an array of strings."""
    values = np.array(list(data), dtype=object)
    return mark(parent.create_dataset(name, data=values, dtype=TEXT), "string-array")


def empty_array(parent: Any, name: str, size: int, dtype: str) -> Any:
    """Allocate an array, to be filled by slices or in place.

    Allocation is early and nothing is filled in: bytes never written are zeros, and
    no metadata changes afterwards.
    """
    return mark(h5py.Dataset(_early(parent, name, (size,), dtype)), "array")


def empty_strings(parent: Any, name: str, size: int) -> Any:
    """Make an array of strings, to be filled by slices."""
    return mark(parent.create_dataset(name, (size,), TEXT), "string-array")


def empty_matrix(
    parent: Any, name: str, shape: tuple[int, int], dtype: str, rows: int
) -> Any:
    """Allocate a matrix in chunks of `rows` whole rows."""
    return mark(h5py.Dataset(_early(parent, name, shape, dtype, rows)), "array")


def categorical(
    parent: Any, name: str, categories: Sequence[str], size: int
) -> tuple[Any, np.dtype[Any]]:
    """Make a categorical column, whose codes are to be filled by slices.

    Returns
    -------
    codes : h5py.Dataset
    dtype : numpy.dtype
        Type of the codes, the smallest that pandas would take.
    """
    node = mark(parent.create_group(name), "categorical")
    node.attrs["ordered"] = False
    strings(node, "categories", categories)
    width = next(w for w in (1, 2, 4, 8) if len(categories) < 1 << (8 * w - 1))
    dtype = np.dtype(f"<i{width}")
    return empty_array(node, "codes", size, dtype.str), dtype


def fixed_string(parent: Any, name: str, value: bytes, size: int) -> Any:
    """Write a string of fixed length, which can be changed in place."""
    data = np.array(value, dtype=h5py.string_dtype("utf-8", size))
    return mark(parent.create_dataset(name, data=data), "string")


def value(parent: Any, name: str, data: Any) -> None:
    """Write any value out of a provenance mapping.

    Raises
    ------
    TypeError
        The value, or the key, cannot be written.
    """
    if not isinstance(name, str) or not name or "/" in name or name == ".":
        raise TypeError(f"provenance: {name!r} is no key: wanted a word without '/'")
    if data is None:
        return
    if isinstance(data, Mapping):
        node = group(parent, name)
        for key, item in data.items():
            value(node, key, item)
    elif isinstance(data, str):
        mark(parent.create_dataset(name, data=data, dtype=TEXT), "string")
    elif isinstance(data, bool | int | float | np.number | np.bool_):
        mark(parent.create_dataset(name, data=data), "numeric-scalar")
    elif isinstance(data, np.ndarray) and data.dtype.kind in "biuf":
        array(parent, name, data)
    elif isinstance(data, list | tuple) and all(isinstance(x, str) for x in data):
        strings(parent, name, data)
    else:
        raise TypeError(f"provenance: {name!r} is a {type(data).__name__}")


def _early(
    parent: Any, name: str, shape: tuple[int, ...], dtype: str, rows: int = 0
) -> Any:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    if rows:
        settings.set_chunk((rows, *shape[1:]))
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    space = h5py.h5s.create_simple(shape)
    return h5py.h5d.create(parent.id, name.encode(), kind, space, settings)
