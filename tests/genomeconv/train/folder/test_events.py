"""Events that TensorBoard reads, read here by a reader of its own."""

from __future__ import annotations

import struct

import pytest

from genomeconv.errors import StorageError
from genomeconv.train.folder.events import EventLog, crc32c
from genomeconv.train.folder.log import read_log


def crc_bit_by_bit(data):
    """Division by the polynomial 0x1EDC6F41, bits reflected."""
    out = 0xFFFFFFFF
    for byte in data:
        for i in range(8):
            bit = (out ^ byte >> i) & 1
            out = out >> 1 ^ (0x82F63B78 if bit else 0)
    return out ^ 0xFFFFFFFF


def records(path):
    """The data of a file's records; every sum is looked at."""
    data, out = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        parts = data[:8], data[12 : 12 + length]
        sums = data[8:12], data[12 + length : 16 + length]
        for part, stored in zip(parts, sums, strict=True):
            crc = crc_bit_by_bit(part)
            rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
            assert struct.unpack("<I", stored)[0] == (rotated + 0xA282EAD8) % 2**32
        out.append(parts[1])
        data = data[16 + length :]
    return out


def varint(data):
    out = 0
    for i, byte in enumerate(data):
        out |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return out, data[i + 1 :]
    raise ValueError("cut off")


def fields(data):
    """(number, value) of a protocol buffer."""
    out = []
    while data:
        key, data = varint(data)
        match key & 7:
            case 0:
                value, data = varint(data)
            case 1:
                (value,), data = struct.unpack("<d", data[:8]), data[8:]
            case 5:
                (value,), data = struct.unpack("<f", data[:4]), data[4:]
            case 2:
                length, data = varint(data)
                value, data = data[:length], data[length:]
        out.append((key >> 3, value))
    return out


def events(path):
    """(step, tag, value) of all scalars, and the steps at which sessions start."""
    found, starts = [], []
    first, *rest = records(path)
    assert dict(fields(first))[3] == b"brain.Event:2"
    for data in rest:
        event = dict(fields(data))
        if 7 in event:
            assert fields(event[7]) == [(1, 1)]
            starts.append(event[2])
        for _, value in fields(event.get(5, b"")):
            (_, tag), (_, number) = fields(value)
            found.append((event[2], tag.decode(), number))
    return found, starts


def test_the_check_sum():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's own example is longer
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_the_numbers_are_those_of_the_log(train, tmp_path):
    folder = tmp_path / "run"
    train(folder, "checkpoint.tensorboard=true")
    train(tmp_path / "plain")
    assert not (tmp_path / "plain" / "tensorboard").exists()
    (path,) = (folder / "tensorboard").iterdir()
    found, starts = events(path)
    assert starts == [1]
    wanted = [
        (line["step"], f"{line['kind']}/{name}", value)
        for line in read_log(folder / "metrics.jsonl")
        for name, value in line.items()
        if name not in ("kind", "step") and value is not None
    ]
    assert [f[:2] for f in found] == [w[:2] for w in wanted]
    for (*_, ours), (*_, theirs) in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-7)


def test_steps_that_are_done_again_are_told_of(tmp_path):
    folder = tmp_path / "events"
    for step in (0, 200):
        log = EventLog(folder, step)
        log.write({"kind": "train", "step": step + 300, "loss": 1.5, "rate": None})
        log.close()
    first, second = sorted(folder.iterdir(), key=lambda path: path.name[-20:])
    assert events(first) == ([(300, "train/loss", 1.5)], [1])
    assert events(second) == ([(500, "train/loss", 1.5)], [201])


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "events").write_text("a file")
    with pytest.raises(StorageError, match="events"):
        EventLog(tmp_path / "events", 0)
