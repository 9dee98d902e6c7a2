"""The header is read as the safetensors library reads it, or refused."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import load, save

from genomeconv.errors import ModelError
from genomeconv.weights.tensors import Entry, read_header

TYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
shapes = st.lists(st.integers(0, 4), max_size=3)
tensors = st.dictionaries(
    st.text(min_size=1, max_size=10), st.tuples(st.sampled_from(sorted(TYPES)), shapes)
)


def read(data: bytes) -> dict[str, Entry]:
    return read_header(io.BytesIO(data), len(data), "x.safetensors")


def container(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@given(tensors)
@settings(max_examples=50, deadline=None)
def test_reads_what_the_library_writes(made: dict[str, tuple[str, list[int]]]) -> None:
    made.pop("__metadata__", None)
    values = {k: torch.ones(shape, dtype=TYPES[t]) for k, (t, shape) in made.items()}
    data = save(values, metadata={"format": "pt"})
    found = read(data)
    assert {k: (e.dtype, list(e.shape)) for k, e in found.items()} == made
    for name, entry in found.items():
        expected = values[name].numpy().tobytes()
        assert data[entry.start : entry.stop] == expected


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    """What we accept the library accepts too, with the same names and shapes."""
    whole = save({"a": torch.ones(3, 2), "b": torch.ones(2, dtype=torch.int64)})
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(damaged))
    except ModelError:
        return
    expected = {k: tuple(v["shape"]) for k, v in deserialize(bytes(damaged))}
    assert {k: e.shape for k, e in found.items()} == expected


def test_every_truncation_is_refused() -> None:
    whole = save({"a": torch.ones(3, 2), "b": torch.ones(2)})
    for n in range(len(whole)):
        with pytest.raises(ModelError, match="damaged or not safetensors"):
            read(whole[:n])


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
FAULTS = {
    "short": (b"abc", "the header asks for .* bytes of 3"),
    "endless header": (
        b"\xff" * 8 + b"{}",
        "header asks for 18,446,744,073,709,551,615 bytes of 10",
    ),
    "not json": (container(b"{x}"), r"the header is not JSON \(Expecting property"),
    "not utf-8": (container(b"\xff{}"), "the header is not JSON"),
    "deep": (container(b"[" * 100_000), "the header is not JSON"),
    "not an object": (container([1]), "the header is not a JSON object"),
    "twice": (
        container(b'{"a": 1, "a": 1}'),
        r"the header is not JSON \(a name stands there twice\)",
    ),
    "no entry": (container({"a": 1}), "the entry of 'a' is not that of a tensor"),
    "more keys": (
        container({"a": {**ONE, "code": "x"}}, b"1234"),
        "the entry of 'a' is not that of a tensor",
    ),
    "unknown type": (
        container({"a": {**ONE, "dtype": "F5"}}, b"1234"),
        "x.safetensors: 'a' has the unknown type 'F5'",
    ),
    "shape": (
        container({"a": {**ONE, "shape": [2]}}, b"1234"),
        "the shape of 'a' does not go with its bytes",
    ),
    "overflow": (
        container({"a": {**ONE, "shape": [1 << 62, 4, 0]}}, b"1234"),
        "the shape of 'a' does not go with its bytes",
    ),
    "negative": (
        container({"a": {**ONE, "shape": [-1, -1]}}, b"1234"),
        "the shape of 'a' does not go with its bytes",
    ),
    "not whole": (
        container({"a": {**ONE, "shape": [1.0]}}, b"1234"),
        "the shape of 'a' does not go with its bytes",
    ),
    "overlap": (
        container({"a": ONE, "b": ONE}, b"1234"),
        "'b' starts at byte .*, not ",
    ),
    "gap": (
        container({"a": {**ONE, "data_offsets": [4, 8]}}, b"12345678"),
        "'a' starts at byte 73, not 69",
    ),
    "truth for a number": (
        container({"a": {**ONE, "data_offsets": [False, 4]}}, b"1234"),
        "the entry of 'a' is not that of a tensor",
    ),
    "metadata of numbers": (
        container({"__metadata__": {"format": 1}}),
        "the metadata are not texts by name",
    ),
    "metadata in a list": (
        container({"__metadata__": ["pt"]}),
        "the metadata are not texts by name",
    ),
    "trailing bytes": (
        container({"a": ONE}, b"12345"),
        "its tensors end at byte 73, the file at 74",
    ),
    "past the end": (
        container({"a": ONE}, b"12"),
        "its tensors end at byte 73, the file at 71",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault: str) -> None:
    data, message = FAULTS[fault]
    with pytest.raises(ModelError, match=message):
        read(data)


@pytest.mark.parametrize(
    "fault",
    [
        "overlap",
        "gap",
        "trailing bytes",
        "past the end",
        "truth for a number",
        "metadata of numbers",
        "metadata in a list",
    ],
)
def test_the_library_refuses_too(fault: str) -> None:
    with pytest.raises(SafetensorError):
        load(FAULTS[fault][0])


def test_the_header_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = container({"a": ONE}, b"1234")
    monkeypatch.setattr("genomeconv.weights.tensors.HEADER_CAP", 20)
    with pytest.raises(ModelError, match="header takes 61 bytes, at most 20 are read"):
        read(data)
