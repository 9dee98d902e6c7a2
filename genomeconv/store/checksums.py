"""The checksums of an output: every value of the file is under one of them.

Rows are covered block by block, in four parts: X, n_bases, the coordinates and the
labels. Everything else (names, provenance, attributes, types and shapes) is the header,
covered object by object. `docs/format.md` says what each is taken of.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from genomeconv.store import schema

NAMED = 5
"""Damaged places that a message names."""
SLICE = 65_536
"""Values of the header read at a time."""
UNREADABLE = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError,
    OverflowError, MemoryError,
)  # fmt: skip
"""What h5py and numpy raise on a damaged file."""


class Damage(NamedTuple):
    """A place that is not what was written.

    Attributes
    ----------
    start, stop : int
        Rows concerned, half-open.
    part : str
        What of them: "X", "n_bases", "coordinates", "labels", or the path of an object
        of the header.
    """

    start: int
    stop: int
    part: str


def coordinate_crc(*columns: NDArray[Any]) -> int:
    """crc32 of the stored bytes of codes, start and end, one after the other."""
    crc = 0
    for column in columns:
        crc = zlib.crc32(np.ascontiguousarray(column).data, crc)
    return crc


def label_crc(strand: NDArray[Any], *texts: Iterable[bytes]) -> int:
    """crc32 of the codes of strand, then of each text and a NUL: labels, names."""
    crc = zlib.crc32(np.ascontiguousarray(strand).data)
    for column in texts:
        crc = zlib.crc32(b"".join(text + b"\0" for text in column), crc)
    return crc


def header_crc(file: Any) -> dict[str, int]:
    """crc32 of every object of the file but for rows, checksums and status, by path.

    It is taken of the kind, type, shape and attributes of an object, and of its values
    unless these are rows; paths are in order.
    """
    found: dict[str, int] = {}

    def visit(path: str, node: Any) -> None:
        group = isinstance(node, h5py.Group)
        kind = "group" if group else f"{_type(node.dtype)} {node.shape}"
        crc = zlib.crc32(f"{path} {kind}".encode())
        for name in sorted(node.attrs):
            crc = zlib.crc32(name.encode() + _bytes(node.attrs[name]), crc)
        if group:
            for name in sorted(node):
                visit(f"{path}/{name}".lstrip("/"), node[name])
        elif path not in schema.ROWS:
            for part in _slices(node):
                crc = zlib.crc32(_bytes(part), crc)
        if not f"{path}/".startswith((f"{schema.CHECKSUMS}/", f"{schema.STATUS}/")):
            found[path] = crc

    visit("", file)
    return dict(sorted(found.items()))


def damage(file: Any, tick: Callable[[], None] = lambda: None) -> Iterator[Damage]:
    """Yield every place of a finished output that differs from its checksums.

    Parameters
    ----------
    file : h5py.File
    tick : callable
        Called after every block.
    """
    rows = file["X"].shape[0]
    table = file[schema.CHECKSUMS]
    if covers_all(file):
        yield from _damaged_header(file, table["header"][:].tolist(), rows)
    crc = {part: table[part][:].tolist() for part in schema.PARTS if part in table}
    for i, (a, b) in enumerate(_grid(file, table)):
        for part, wanted in crc.items():
            if (fault := _fault(file, part, a, b, wanted[i])) is not None:
                yield Damage(a, b, fault)
        tick()


def damage_text(path: Path, found: Sequence[Damage]) -> str:
    """Say in one line what is damaged, the first five places by their rows."""
    places = [f"rows {a} to {b} ({part})" for a, b, part in found[:NAMED]]
    if len(found) > NAMED:
        places.append(f"{len(found) - NAMED:,} more places")
    return (
        f"{path}: damaged: {', '.join(places)}: make the file again, or take it from "
        "a copy"
    )


def covers_all(file: Any) -> bool:
    """Whether the header and the labels have checksums; early files lack them."""
    table = file[schema.CHECKSUMS]
    return "header" in table or "labels" in table


def _grid(file: Any, table: Any) -> Iterator[tuple[int, int]]:
    """Blocks as the chunks have them; the table has to say the same."""
    rows, size = file["X"].shape[0], file["X"].chunks[0]
    starts = np.arange(0, rows, size)
    stops = np.minimum(starts + size, rows)
    for name, wanted in (("row_start", starts), ("row_stop", stops)):
        if not np.array_equal(table[name][:], wanted):
            raise ValueError(f"/{schema.CHECKSUMS}/{name} does not fit X")
    return zip(starts.tolist(), stops.tolist(), strict=True)


def _damaged_header(file: Any, wanted: list[int], rows: int) -> Iterator[Damage]:
    try:
        found = header_crc(file)
    except UNREADABLE:
        yield Damage(0, rows, "header")
        return
    if len(found) != len(wanted):
        yield Damage(0, rows, "header")
        return
    for (path, crc), other in zip(found.items(), wanted, strict=True):
        if crc != other:
            yield Damage(0, rows, path or "/")


def _fault(file: Any, part: str, a: int, b: int, wanted: int) -> str | None:
    """Say what is wrong with a part of a block, None if nothing is."""
    try:
        if part != "X":
            return part if _part_crc(file["obs"], part, a, b) != wanted else None
        X = file["X"][a:b]  # noqa: N806
        if zlib.crc32(X.data) != wanted:
            return part
        return None if np.isfinite(X).all() else "X: not finite"
    except UNREADABLE:
        return part


def _part_crc(obs: Any, part: str, a: int, b: int) -> int:
    match part:
        case "n_bases":
            return zlib.crc32(obs["n_bases"][a:b].data)
        case "coordinates":
            names = ("sequence/codes", "start", "end")
            return coordinate_crc(*(obs[name][a:b] for name in names))
    texts = (obs[name][a:b].tolist() for name in schema.LABELS if name in obs)
    return label_crc(obs["strand/codes"][a:b], *texts)


def _type(dtype: np.dtype[Any]) -> str:
    text = h5py.check_string_dtype(dtype)
    return dtype.str if text is None else f"text {text.encoding} {text.length}"


def _slices(node: Any) -> Iterator[Any]:
    if not node.shape:
        yield node[()]
        return
    for a in range(0, node.shape[0], SLICE):
        yield node[a : a + SLICE]


def _bytes(value: Any) -> bytes:
    """Values as bytes, texts with a NUL behind each."""
    array = np.asarray(value)
    if array.dtype.kind not in "OUS":
        return np.ascontiguousarray(array).tobytes()
    return b"".join(
        (text if isinstance(text, bytes) else text.encode()) + b"\0"
        for text in array.ravel().tolist()
    )
