"""The safetensors container: its header, read and checked without torch.

A file is 8 bytes (length of the header, little-endian), the header in JSON, then
the tensors back to back. Nothing is mapped: a mapped file that shrinks kills the
process with SIGBUS.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, BinaryIO

from genomeconv.errors import ModelError

HEADER_CAP = 100_000_000
"""Longest header in bytes that is read (the format's own limit)."""
ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
"""Bytes of one element, by the format's names of types."""
_MOST_AXES = 8
_LONGEST_AXIS = 1 << 48


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor of a file: its type, shape and place."""

    dtype: str
    """The format's name of the type, such as "F32"."""
    shape: tuple[int, ...]
    start: int
    """First byte, counted from the beginning of the file."""
    stop: int
    """Byte behind the last one."""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_header(file: BinaryIO, size: int, where: str) -> dict[str, Entry]:
    """Return the tensors a safetensors file says it holds, by name.

    Parameters
    ----------
    file : BinaryIO
        Stands at its beginning; is left behind the header.
    size : int
        Bytes in the file.
    where : str
        The file's name in messages.

    Raises
    ------
    ModelError
        If the file is not safetensors, is cut short, or its tensors overlap, leave
        gaps or do not have the size of their shape.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise _damaged(where, f"the header asks for {length:,} bytes of {size:,}")
    if length > HEADER_CAP:
        raise ModelError(
            f"{where}: the header takes {length:,} bytes, at most {HEADER_CAP:,} "
            "are read"
        )
    header = _parse(file.read(length), where)
    _check_metadata(header.pop("__metadata__", {}), where)
    base = 8 + length
    entries = {
        name: _entry(name, values, base, where) for name, values in header.items()
    }
    end = base
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        if entry.start != end:
            raise _damaged(
                where, f"{name!r} starts at byte {entry.start:,}, not {end:,}"
            )
        end = entry.stop
    if end != size:
        raise _damaged(where, f"its tensors end at byte {end:,}, the file at {size:,}")
    return entries


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, f"the header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(where, "the header is not a JSON object")
    return header


def _check_metadata(values: Any, where: str) -> None:
    texts = isinstance(values, dict) and all(type(v) is str for v in values.values())
    if not texts:
        raise _damaged(where, "the metadata are not texts by name")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError("a name stands there twice")
    return out


def _entry(name: str, values: Any, base: int, where: str) -> Entry:
    match values:
        case {
            "dtype": str(dtype),
            "shape": list(shape),
            "data_offsets": [int(start), int(stop)],
        } if len(values) == 3 and type(start) is type(stop) is int:
            pass
        case _:
            raise _damaged(where, f"the entry of {name!r} is not that of a tensor")
    if dtype not in ITEM_BYTES:
        raise ModelError(f"{where}: {name!r} has the unknown type {dtype[:20]!r}")
    axes_ok = len(shape) <= _MOST_AXES and all(
        type(n) is int and 0 <= n <= _LONGEST_AXIS for n in shape
    )
    if not axes_ok or stop - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise _damaged(where, f"the shape of {name!r} does not go with its bytes")
    return Entry(dtype=dtype, shape=tuple(shape), start=base + start, stop=base + stop)


def _damaged(where: str, why: str) -> ModelError:
    return ModelError(f"{where}: damaged or not safetensors: {why}; get the file again")
