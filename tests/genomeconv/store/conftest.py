"""Small outputs to test with; tests reach them through the fixture `outputs`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genomeconv.store import OutputPlan, OutputWriter, RowSlice


@dataclass
class ListRows:
    """Rows held as lists: (sequence code, start, end) each."""

    sequence_names: list[str]
    triples: list[tuple[int, int, int]]
    labels: list[str] | None = None

    @property
    def n_rows(self) -> int:
        return len(self.triples)

    def slice(self, a: int, b: int, /) -> RowSlice:
        part = np.array(self.triples[a:b], np.int64).reshape(-1, 3)
        return RowSlice(
            sequence=part[:, 0].astype(np.int32),
            start=part[:, 1],
            end=part[:, 2],
            name=None if self.labels is None else self.labels[a:b],
        )


def binned(lengths: dict[str, int], size: int) -> ListRows:
    triples = [
        (code, start, min(start + size, length))
        for code, length in enumerate(lengths.values())
        for start in range(0, length, size)
    ]
    return ListRows(list(lengths), triples)


def plan_of(rows: ListRows, columns: int = 4, **changes) -> OutputPlan:
    lengths = [
        max([end for code, _, end in rows.triples if code == i], default=0)
        for i in range(len(rows.sequence_names))
    ]
    fields = {
        "rows": rows,
        "columns": [f"dim{i}" for i in range(columns)],
        "dtype": "float32",
        "strand": "+",
        "sequences": {
            "length": np.array(lengths),
            "md5": [
                hashlib.md5(ascii(name).encode()).hexdigest()
                for name in rows.sequence_names
            ],
        },
        "provenance": {
            "command": "genomeconv embed genome.fa",
            "options": {"bin": 10, "region": None},
            "model": "tiny",
            "model_sha256": "0" * 64,
            "device": "cpu",
            "versions": {"torch": "2.13.0"},
            "letters": {"N": 3, "A": 5},
        },
        "fingerprint": {"fasta": "sha", "model": "0" * 64, "bin": 10},
    }
    return OutputPlan(**{**fields, **changes})


def numbers_of(plan: OutputPlan) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    X = generator.normal(size=plan.shape).astype(np.float32)
    return X, generator.integers(0, 99, plan.shape[0])


def fill(writer: OutputWriter, blocks: int = 1) -> int:
    """Write what is missing, some blocks a call; returns the rows written."""
    X, n_bases = numbers_of(writer.plan)
    step, count = blocks * writer.commit_rows, 0
    for a, b in writer.missing():
        for p in range(a, b, step):
            q = min(p + step, b)
            writer.write(p, X[p:q], n_bases[p:q])
            count += q - p
    return count


def make(path: Path, plan: OutputPlan, **options) -> Path:
    with OutputWriter.open(path, plan, **options) as writer:
        fill(writer)
        writer.finish()
    return path


@pytest.fixture
def outputs() -> SimpleNamespace:
    return SimpleNamespace(
        ListRows=ListRows,
        binned=binned,
        fill=fill,
        make=make,
        numbers_of=numbers_of,
        plan_of=plan_of,
    )


@pytest.fixture(autouse=True)
def _same_time(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """Tests end processes, not machines: the disk need not be waited for.

    It is asked after every commit, not after a time, so that all runs do the same.
    """
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("genomeconv.store.journal.SYNC_SECONDS", 0)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 16 rows of 4 float32, so that small outputs have several."""
    monkeypatch.setattr("genomeconv.store.schema.BLOCK_BYTES", 256)


@pytest.fixture
def plan():
    return plan_of(binned({"chr1": 735, "a/b": 95, "..": 4}, 10))
