"""Whole runs of `genomeconv embed` with the bundled model, as a user makes them."""

from __future__ import annotations

import gzip
import json
import os
import signal
from random import Random

import numpy as np
import pytest

import genomeconv as library
from genomeconv_cli.progress import LogProgress

BASES = "".join(Random(3).choices("ACGT", k=40_000))
FASTA = f">one first\n{BASES[:30_000]}\n>two/2\n{BASES[30_000:]}\n".encode()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_bytes(FASTA)
    return tmp_path


def rows_of(path):
    with library.open(path) as reader:
        return reader.rows(0, reader.n_rows)


def test_a_run_without_options(genomeconv, folder):
    outcome = genomeconv("embed", "x.fa")
    assert (outcome.code, outcome.out) == (0, "")
    assert "x.embeddings.h5: 40 rows x" in outcome.err
    assert {path.name for path in folder.iterdir()} == {"x.fa", "x.embeddings.h5"}
    rows = rows_of("x.embeddings.h5")
    assert rows.index[[0, 29, 30]].tolist() == [
        "one:0-1024",
        "one:29696-30000",
        "two/2:0-1024",
    ]
    assert np.isfinite(rows.X).all()
    assert (rows.X.std(axis=0) > 0).all()


def test_a_quiet_run_says_nothing(genomeconv, folder):
    outcome = genomeconv("embed", "x.fa", "-q")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_a_dry_run_writes_nothing(genomeconv, folder):
    outcome = genomeconv("embed", "x.fa", "-n")
    assert outcome.code == 0
    plan = dict(line.split("  ", 1) for line in outcome.out.splitlines())
    assert plan["rows"].strip() == "40"
    assert plan["records"].strip() == "2"
    assert [path.name for path in folder.iterdir()] == ["x.fa"]


@pytest.mark.parametrize(
    ("code", "number"), [(130, signal.SIGINT), (143, signal.SIGTERM)]
)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_stopped_run_continues_to_the_same_bytes(
    genomeconv, folder, monkeypatch, code, number, share
):
    command = ["embed", "x.fa", "--bin", 16, "--chunk", 4096]
    assert genomeconv(*command, "-o", "whole.h5").code == 0
    advance, seen = LogProgress.advance, []

    def stop(self, bases):
        advance(self, bases)
        seen.append(bases)
        if sum(seen) >= share * len(BASES):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(LogProgress, "advance", stop)
    outcome = genomeconv(*command, "-o", "stopped.h5")
    assert outcome.code == code, outcome.err
    assert outcome.err.endswith("the blocks already written\n")
    assert not (folder / "stopped.h5").exists()

    monkeypatch.setattr(LogProgress, "advance", advance)
    assert genomeconv(*command, "-o", "stopped.h5").code == 0
    whole, stopped = rows_of("whole.h5"), rows_of("stopped.h5")
    assert whole.X.tobytes() == stopped.X.tobytes()
    assert whole.n_bases.tolist() == stopped.n_bases.tolist()
    left = {path.name for path in folder.iterdir()}
    assert left == {"x.fa", "whole.h5", "stopped.h5"}


def test_stdin_gzip_and_file_give_the_same(genomeconv, folder, monkeypatch):
    (folder / "x.fa.gz").write_bytes(gzip.compress(FASTA))
    genomeconv("embed", "x.fa", "-o", "file.h5")
    genomeconv("embed", "x.fa.gz", "-o", "gzip.h5")
    with (folder / "x.fa.gz").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert genomeconv("embed", "-", "-o", "pipe.h5").code == 0
    expected = rows_of("file.h5").X.tobytes()
    assert rows_of("gzip.h5").X.tobytes() == expected
    assert rows_of("pipe.h5").X.tobytes() == expected


def test_what_is_made_can_be_looked_at(genomeconv, folder):
    genomeconv("embed", "x.fa", "--bin", "1k", "-o", "out.h5")
    facts = json.loads(genomeconv("info", "out.h5", "--json").out)
    assert facts["rows"] == 40
    assert facts["sequences"] == 2
    assert facts["command"] == "genomeconv embed x.fa --bin 1k -o out.h5"
    (model, *_) = json.loads(genomeconv("models", "--json").out)
    assert facts["model"] == model["name"]
    assert genomeconv("info", model["folder"]).code == 0


def test_regions_are_one_based_and_bed_is_zero_based(genomeconv, folder):
    (folder / "b.bed").write_bytes(b"one\t999\t2000\tfirst\n")
    assert genomeconv("embed", "x.fa", "--bed", "b.bed", "-o", "bed.h5").code == 0
    words = "embed x.fa --region one:1,000-2,000 --whole -o region.h5"
    assert genomeconv(*words.split()).code == 0
    bed, region = rows_of("bed.h5"), rows_of("region.h5")
    assert bed.start.tolist() == region.start.tolist() == [999]
    assert bed.end.tolist() == region.end.tolist() == [2000]
    assert bed.X.tobytes() == region.X.tobytes()
    assert bed.name.tolist() == ["first"]
