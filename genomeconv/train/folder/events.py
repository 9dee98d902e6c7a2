"""TensorBoard's events: what metrics.jsonl has, as curves; written without TensorBoard.

A file is a row of records: length (uint64), masked CRC-32C of the length (uint32), the
data, masked CRC-32C of the data; little-endian (TensorFlow, ``lib/io/record_writer``).
The data are a protocol buffer ``Event``, of which a few fields suffice:

    1 wall_time double    2 step int64     3 file_version string
    5 summary { 1 value { 1 tag string, 2 simple_value float } }     7 session { 1 int }
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genomeconv.train.folder.files import writing

_VERSION = b"brain.Event:2"
_SESSION_STARTS = 1
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8


def _table() -> list[int]:
    out = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        out.append(value)
    return out


_TABLE = _table()


class EventLog:
    """The events of one process; a run that is resumed has several files.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    step : int
        Steps done so far; of later ones, which a killed run has left in other files,
        TensorBoard is told that they do not count.

    Raises
    ------
    PermissionDeniedError, StorageError
        They cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{step:08d}.genomeconv"
        self._path = folder / name
        with writing(self._path):
            folder.mkdir(exist_ok=True)
            self._file = self._path.open("wb")
        self._write(step, _field(3, _BYTES, _VERSION))
        session = _field(1, _VARINT, _varint(_SESSION_STARTS))
        self._write(step + 1, _field(7, _BYTES, session))

    def write(self, values: Mapping[str, Any]) -> None:
        """Write the numbers of a line of the log, ``<kind>/<name>`` each."""
        kind = values["kind"]
        scalars = b"".join(
            _field(1, _BYTES, _scalar(f"{kind}/{name}", value))
            for name, value in values.items()
            if name != "step" and isinstance(value, int | float)
        )
        self._write(values["step"], _field(5, _BYTES, scalars))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, step: int, what: bytes) -> None:
        now = _field(1, _DOUBLE, struct.pack("<d", time.time()))
        with writing(self._path):
            self._file.write(record(now + _field(2, _VARINT, _varint(step)) + what))
            self._file.flush()


def record(data: bytes) -> bytes:
    """Return a record of a file of events."""
    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", _masked(crc32c(part))) for part in (length, data))
    return length + next(sums) + data + next(sums)


def crc32c(data: bytes) -> int:
    """Return the cyclic redundancy check of Castagnoli (RFC 3720, appendix B.4)."""
    out = 0xFFFFFFFF
    for byte in data:
        out = _TABLE[(out ^ byte) & 0xFF] ^ out >> 8
    return out ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _scalar(tag: str, value: float) -> bytes:
    number = struct.pack("<f", value)
    return _field(1, _BYTES, tag.encode()) + _field(2, _FLOAT, number)


def _field(number: int, kind: int, data: bytes) -> bytes:
    """Return a field of a protocol buffer; bytes carry their length."""
    length = _varint(len(data)) if kind == _BYTES else b""
    return _varint(number << 3 | kind) + length + data


def _varint(value: int) -> bytes:
    """Return a number, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
