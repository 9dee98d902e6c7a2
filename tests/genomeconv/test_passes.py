"""Passes: rows in order, and bases told that add up to what was announced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv.embed import EmbedOptions, run_embedding
from genomeconv.fasta import ReadPolicy, read_genome
from genomeconv.intervals import Interval
from genomeconv.passes import Pass
from genomeconv.rows import plan_intervals, plan_records
from genomeconv.store import schema
from genomeconv.stream import TrunkStream
from genomeconv.weights import load_model

INTERVALS = [
    Interval("chr1", 0, 40_000),
    Interval("chr1", 20_000, 20_010),
    Interval("short", 0, 61),
    Interval("chr2", 1000, 19_000),
    Interval("chr1", 39_990, 40_000),
    Interval("one", 0, 1),
    Interval("chr2", 20_000, 20_011),
]


@pytest.fixture(scope="module")
def genome(fasta, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    with read_genome(fasta, folder, ReadPolicy(), warn=pytest.fail) as genome:
        yield genome


@pytest.fixture(scope="module")
def engine(two_sided_folder):
    return TrunkStream(load_model(two_sided_folder).model.trunk)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bin", [None, 100, 9000])
@pytest.mark.parametrize("whole", [False, True])
@settings(max_examples=10)
@given(data=st.data())
def test_a_part_of_the_rows(data, whole, bin, reverse, genome, engine):
    rows = (
        plan_records(genome.records, bin)
        if whole
        else plan_intervals(genome.records, INTERVALS, bin, named=False)
    )
    which = Pass(engine, genome, rows, reverse=reverse, chunk=1 << 20)
    a = data.draw(st.integers(0, rows.n_rows - 1))
    b = data.draw(st.integers(a + 1, rows.n_rows))
    told: list[int] = []
    parts = list(which.run(a, b, told.append))
    given_rows = np.concatenate([row + np.arange(len(x)) for row, x in parts])
    assert sorted(given_rows.tolist()) == list(range(a, b))
    assert min(told) >= 0
    assert sum(told) == which.cost(a, b)
    assert which.cost(0, rows.n_rows) == which.bases


@pytest.mark.parametrize("reverse", [False, True])
def test_a_record_of_any_length_a_row_a_base(reverse, engine):
    length = 10**12
    records = SimpleNamespace(lengths=np.array([length]), names=["endless"])
    genome = SimpleNamespace(
        records=records,
        codes=lambda record, start, stop: np.zeros(stop - start, dtype=np.uint8),
    )
    rows = plan_records(records, 1)
    which = Pass(engine, genome, rows, reverse=reverse, chunk=1 << 16)
    assert which.cost(0, length) == which.bases == length
    row, x = next(which.run(0, length, lambda bases: None))
    assert (row + len(x) == length) if reverse else (row == 0)


class Stopping:
    """A progress that ends the run after some rows, and keeps what it was told."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told: list[int] = []
        self.stop_after = stop_after

    def start(self, total: int, description: str) -> None:
        self.total = total

    def advance(self, bases: int) -> None:
        self.told.append(bases)
        if self.stop_after is not None and len(self.told) > self.stop_after:
            raise KeyboardInterrupt

    def finish(self) -> None:
        pass


@pytest.fixture
def uneven(tmp_path):
    """Many short records, then a long one: rows that cost very different amounts."""
    rng = np.random.default_rng(3)

    def letters(size: int) -> str:
        return "".join(rng.choice(list("ACGT"), size))

    text = "".join(f">s{i}\n{letters(30)}\n" for i in range(600))
    path = tmp_path / "uneven.fa"
    path.write_text(f"{text}>long\n{letters(60_000)}\n>end\n{letters(30)}\n")
    return path


STOPS = {"forward": (4, 9, 13), "reverse": (13, 15), "both": (4, 20, 33)}


@pytest.mark.parametrize(
    ("strand", "stop_after"), [(s, n) for s, stops in STOPS.items() for n in stops]
)
def test_progress_of_a_continued_run(
    strand, stop_after, uneven, model_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(schema, "BLOCK_BYTES", 16 * 32)  # 16 rows a block
    options = EmbedOptions(
        fasta=str(uneven),
        output=Path(tmp_path / "out.h5"),
        model=str(model_folder),
        rows="whole",
        strand=strand,
    )
    with pytest.raises(KeyboardInterrupt):
        run_embedding(options, Stopping(stop_after), lambda level, text: None)
    messages: list[str] = []
    progress = Stopping()
    summary = run_embedding(
        options, progress, lambda level, text: messages.append(text)
    )
    assert summary.resumed_rows > 0
    assert any(text.startswith("continuing: ") for text in messages)
    # The first report tells what was done, all later ones what is run now.
    units = 3 * 7168  # a tile at either end of what was done is run again
    assert progress.told[0] > 0
    assert abs(sum(progress.told) - progress.total) <= units
    assert sum(progress.told) <= progress.total
