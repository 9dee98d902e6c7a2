"""Pickles give their plain values and nothing else; no damage makes us fall over."""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv.errors import ModelError
from genomeconv.weights.unpickle import Bounded, Inert, read_pickle

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def read(data: bytes) -> Any:
    return read_pickle(io.BytesIO(data), "x.pkl")[0]


def read_or_refuse(data: bytes) -> None:
    with contextlib.suppress(ModelError):
        read(data)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@given(value=plain)
@settings(max_examples=40, deadline=None)
def test_plain_values(protocol: int, value: Any) -> None:
    data = pickle.dumps(value, protocol)
    if protocol < 3 and (b"_codecs" in data or b"bytes\n" in data):
        # These protocols write bytes as a call of what makes them.
        read(data)
    else:
        assert read(data) == value


def test_ordered_dicts_are_dicts() -> None:
    value = collections.OrderedDict(b=1, a=2)
    for protocol in range(2, 6):
        assert list(read(pickle.dumps(value, protocol)).items()) == [("b", 1), ("a", 2)]


class Recorder:
    """Records every way in which a pickle can make a class act."""

    acted: ClassVar[list[str]] = []

    def __new__(cls, *args: Any) -> Recorder:
        cls.acted.append("new")
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        self.acted.append("init")

    def __setstate__(self, state: Any) -> None:
        self.acted.append("setstate")

    def __reduce__(self) -> tuple[Any, ...]:
        return Recorder, (1,), {"x": 1}


class Appender(list[int]):
    """A class whose methods a pickle calls."""

    def extend(self, values: Any) -> None:
        Recorder.acted.append("extend")

    def append(self, value: Any) -> None:
        Recorder.acted.append("append")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_acts(protocol: int) -> None:
    values = [Recorder(), Appender([1, 2]), Path("x"), {3}, frozenset((4,)), complex(1)]
    data = pickle.dumps({"all": values, "after": 5}, protocol)
    Recorder.acted.clear()
    found = read(data)
    assert Recorder.acted == []
    assert found["after"] == 5
    assert all(isinstance(value, Inert) for value in found["all"])
    pickle.loads(data)
    assert Recorder.acted  # it would have acted


def test_keys_without_end_are_dropped() -> None:
    """The hash of a tuple nested 60 times in itself takes 2 ** 60 steps."""
    nested = b")" + b"q\x00h\x00\x86" * 60
    assert read(b"\x80\x02}" + nested + b"K\x01s.") == {}


def test_claimed_sizes_take_no_memory() -> None:
    for opcode in (b"\x8e", b"\x96", b"\x8d"):  # BINBYTES8, BYTEARRAY8, BINUNICODE8
        with pytest.raises(ModelError, match="damaged pickle"):
            read(b"\x80\x05" + opcode + struct.pack("<Q", 1 << 40) + b"x.")
    with pytest.raises(ModelError, match="damaged pickle"):
        read(b"\x80\x02]r\xff\xff\xff\x7f")
    assert read(b"\x80\x02]r\xff\xff\xff\x7f.") == []


def test_nothing_behind_the_bound_is_read(tmp_path: Path) -> None:
    data = pickle.dumps("x" * 100)
    (tmp_path / "x").write_bytes(data)
    with (tmp_path / "x").open("rb") as file:
        assert read_pickle(Bounded(file, len(data)), "x")[0] == "x" * 100
        file.seek(0)
        with pytest.raises(ModelError, match="damaged pickle"):
            read_pickle(Bounded(file, 50), "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged pickle: pickle exhausted before seeing STOP"),
        (b".", "damaged pickle: not enough values to unpack"),
        (b"NN.", "damaged pickle: too many values to unpack"),
        (b"h\x05.", "damaged pickle: 5"),
        (b"a.", "damaged pickle: the stack is empty"),
        (b"t.", "damaged pickle: pop from empty list"),
        (b"NK\x01K\x02s.", "items set on what has none"),
        (b"NK\x01a.", "items appended to what has none"),
        (b"\x80\x02\x82\x01.", "opcode EXT1 has no place in a checkpoint"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER has no place in a checkpoint"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_faults(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=f"^x.pkl: .*{message}"):
        read(data)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes) -> None:
    read_or_refuse(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage(data: st.DataObject) -> None:
    value = {"state_dict": collections.OrderedDict(a=Recorder()), "list": [1, "x", {2}]}
    whole = bytearray(pickle.dumps(value, data.draw(st.integers(0, 5))))
    Recorder.acted.clear()
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(whole))
    assert Recorder.acted == []
