"""A file that HDF5 writes to: gathered in memory, and the same in the end."""

from __future__ import annotations

import errno
import itertools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomeconv.store import hdf5_file
from genomeconv.store.hdf5_file import DiskFile, create_hdf5, spans

PLACES = st.integers(0, 20_000)
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "read", "cut", "end"]), PLACES, PLACES),
    max_size=40,
)


def same_file(path, steps, broken=False) -> bytearray:
    """Do the steps to a file and to plain memory; every answer has to be the same."""
    model = bytearray()
    with DiskFile(path) as file:
        for number, (step, at, size) in enumerate(steps, 1):
            file.seek(at)
            if step == "write":
                data = bytes([number]) * (size % 5000)
                if data:
                    model.extend(bytes(max(0, at + len(data) - len(model))))
                    model[at : at + len(data)] = data
                assert file.write(data) == len(data)
            elif step == "read":
                found = bytearray(size)
                file.readinto(found)
                assert found == bytes(model[at : at + size]).ljust(size, b"\0")
            elif not broken and step == "cut":
                file.truncate(at)
                model[at:] = bytes(max(0, at - len(model)))
            elif not broken:
                assert file.seek(0, os.SEEK_END) == len(model)
    return model


@given(steps=STEPS, limit=st.sampled_from([1, 4000, 1 << 20]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_a_file(tmp_path, monkeypatch, steps, limit):
    monkeypatch.setattr(hdf5_file, "GATHERED_BYTES", limit)
    path = tmp_path / "f"
    path.unlink(missing_ok=True)
    assert same_file(path, steps) == path.read_bytes()


@given(steps=STEPS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_disk_that_fails_is_not_seen(tmp_path, monkeypatch, steps):
    """HDF5 reads back what it wrote, and the failure is raised when it is asked for."""

    def fail(fd, data, offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hdf5_file, "GATHERED_BYTES", 4000)
    monkeypatch.setattr(hdf5_file, "write_at", fail)
    path = tmp_path / "f"
    path.unlink(missing_ok=True)
    same_file(path, steps, broken=True)
    path.unlink()
    with DiskFile(path) as file:
        file.write(b"x")
        with pytest.raises(OSError, match="No space left"):
            file.check()


@given(st.lists(st.tuples(PLACES, PLACES).map(lambda p: tuple(sorted(p)))))
def test_spans_cover_all_and_lie_apart(pieces):
    found = spans(pieces)
    assert all(any(a <= p and q <= b for a, b in found) for p, q in pieces)
    apart = itertools.pairwise(found)
    assert all(q - b > hdf5_file.NEAR_BYTES for (_, b), (q, _) in apart)


def test_a_header_takes_few_writes(tmp_path, monkeypatch):
    """Each piece would be a call: HDF5 makes hundreds of a file like an output."""
    calls, real = [], hdf5_file.write_at
    monkeypatch.setattr(
        hdf5_file, "write_at", lambda *args: (calls.append(args), real(*args))
    )
    with create_hdf5(tmp_path / "f.h5") as (file, _):
        for number in range(50):
            file.create_group(f"g{number}").attrs["x"] = number
    assert 0 < len(calls) < 10
