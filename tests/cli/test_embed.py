"""`genomeconv embed`: words of the command line against the library's options."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest


@dataclass(frozen=True, kw_only=True)
class Summary:
    output: Path = Path("x.embeddings.h5")
    rows: int = 2190
    columns: int = 128
    records: int = 1
    bases: int = 2_241_765
    seconds: float = 20.0
    resumed_rows: int = 0
    warnings: tuple[str, ...] = ()


@pytest.fixture
def library(monkeypatch):
    """Stand in for genomeconv.embed; remembers what it was called with."""
    calls = SimpleNamespace(options=None, summary=Summary(), stop=None)

    def run_embedding(options, progress, notify):
        calls.options = options
        if calls.stop:
            raise calls.stop
        progress.start(options.get("chunk", 100), "embed")
        progress.advance(100)
        notify("debug", "details")
        notify("info", "hello")
        notify("warning", "careful")
        return calls.summary

    def describe_embedding(options, notify):
        calls.options = options
        return {"rows": 2190, "disk_bytes": 1_121_280, "time_seconds": 65, "model": "m"}

    fake = SimpleNamespace(
        EmbedOptions=lambda **options: options,
        run_embedding=run_embedding,
        describe_embedding=describe_embedding,
    )
    monkeypatch.setitem(sys.modules, "genomeconv.embed", fake)
    return calls


def test_nothing_but_the_fasta(genomeconv, library):
    outcome = genomeconv("embed", "data/x.fa.gz")
    assert outcome.code == 0
    assert library.options == {
        "fasta": "data/x.fa.gz",
        "output": None,
        "rows": "bin",
        "bed": None,
        "regions": (),
        "empty": "error",
        "gaps": "error",
        "soft_mask": "keep",
        "duplicates": "error",
        "names": "strict",
        "max_length": None,
        "allow_truncated": False,
        "layer": "last",
        "strand": "forward",
        "dtype": "float32",
        "device": "auto",
        "threads": None,
        "kernels": "auto",
        "precision": "float32",
        "compress": "none",
        "overwrite": False,
        "break_lock": False,
        "command": "genomeconv embed data/x.fa.gz",
    }  # what is not said here has the library's default


def test_every_option_reaches_the_library(genomeconv, library):
    words = (
        "embed - -o out.h5 -m tiny --bin 1k --region a:1-2 --region b --layer 3 "
        "--strand both --chunk 64k --dtype float16 --precision bfloat16 "
        "--device cuda:1 -@ 3 --compress zstd --empty skip --overwrite -q --gaps n "
        "--soft-mask n --duplicates number --names replace --max-length 2M "
        "--allow-truncated --break-lock --kernels torch"
    )
    assert genomeconv(*words.split()).code == 0
    assert library.options == {
        "fasta": "-",
        "output": Path("out.h5"),
        "model": "tiny",
        "rows": "bin",
        "bin": 1000,
        "bed": None,
        "regions": ("a:1-2", "b"),
        "layer": 3,
        "strand": "both",
        "chunk": 64_000,
        "dtype": "float16",
        "kernels": "torch",
        "precision": "bfloat16",
        "device": "cuda:1",
        "threads": 3,
        "compress": "zstd",
        "empty": "skip",
        "gaps": "n",
        "soft_mask": "n",
        "duplicates": "number",
        "names": "replace",
        "max_length": 2_000_000,
        "allow_truncated": True,
        "overwrite": True,
        "break_lock": True,
        "command": f"genomeconv {words}",
    }


@pytest.mark.parametrize(
    ("words", "rows"),
    [("--per-base", "per-base"), ("--whole", "whole"), ("--bed b.bed", "bed")],
)
def test_what_a_row_is(genomeconv, library, words, rows):
    genomeconv("embed", "x.fa", *words.split())
    assert library.options["rows"] == rows
    assert library.options["bed"] == (Path("b.bed") if rows == "bed" else None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bin 5 --whole", "--bin and --whole contradict each other; choose what"),
        ("--per-base --bed b", "--per-base and --bed contradict each other; choose"),
        ("--bed b --region a", "--bed and --region contradict each other; a region"),
        ("-o -", "-o -: HDF5 cannot be written to a pipe; give a file name"),
        ("-q -v", "-q and -v contradict each other"),
        ("--bin 1.5", "Invalid value for '--bin': '1.5' is not a size; write 8192"),
        ("--device mps", "Invalid value for '--device': 'mps' is not a device; write"),
        ("--strand up", "Invalid value for '--strand': 'up' is not one of 'forward'"),
    ],
)
def test_contradictions_are_usage_errors(genomeconv, library, words, message):
    outcome = genomeconv("embed", "x.fa", *words.split())
    assert outcome.code == 2
    assert outcome.err.startswith(f"genomeconv: error: {message}")
    assert outcome.err.endswith("(see genomeconv embed --help)\n")
    assert library.options is None


def test_messages_go_to_stderr_by_level(genomeconv, library):
    summary = (
        "genomeconv: x.embeddings.h5: 2,190 rows x 128 columns from 2,241,765 bases of "
        "1 sequence in 20 s (112,088 bases/s)\n"
    )
    hello, careful = "genomeconv: hello\n", "genomeconv: warning: careful\n"
    assert genomeconv("embed", "x.fa").err == hello + careful + summary
    assert genomeconv("embed", "x.fa", "-q").err == ""
    assert genomeconv("embed", "x.fa", "-v").err == (
        "genomeconv: details\n" + hello + careful + summary
    )
    assert genomeconv("embed", "x.fa").out == ""


def test_the_summary_of_a_continued_run(genomeconv, library):
    library.summary = Summary(records=2, resumed_rows=1000)
    assert genomeconv("embed", "x.fa").err.endswith(
        "of 2 sequences in 20 s (1,000 rows were there from before)\n"
    )


def test_a_dry_run_shows_the_plan_on_stdout(genomeconv, library):
    outcome = genomeconv("embed", "x.fa", "-n")
    assert outcome.out == (
        "rows          2,190\n"
        "disk bytes    1.12 MB\n"
        "time seconds  1 min 05 s\n"
        "model         m\n"
    )


def test_a_stopped_run_says_how_to_go_on(genomeconv, library):
    library.stop = KeyboardInterrupt()
    outcome = genomeconv("embed", "x.fa")
    assert outcome.code == 130
    assert outcome.err == (
        "genomeconv: stopped by SIGINT; the same command continues from the blocks "
        "already written\n"
    )


def test_the_command_is_recorded_without_control_characters(genomeconv, library):
    genomeconv("embed", "a\x1bb.fa", "-o", "c d.h5")
    assert library.options["command"] == r"genomeconv embed 'a\x1bb.fa' -o 'c d.h5'"
