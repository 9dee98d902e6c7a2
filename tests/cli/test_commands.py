"""info, models, import, bench and doctor: what they show of what the library says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from genomeconv_cli import checks
from genomeconv_cli.checks import Check
from genomeconv_cli.console import bytes_text, seconds_text, value_text

FASTA = b">a first\nACGTNN\nggcc\n>b/2\nRACGT\n"


@pytest.fixture
def stand_in(monkeypatch):
    """Replace a module of the library by functions."""

    def replace(name, **functions):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**functions))

    return replace


def test_info_of_a_fasta(genomeconv, tmp_path):
    (tmp_path / "x.fa").write_bytes(FASTA)
    outcome = genomeconv("info", tmp_path / "x.fa")
    fields = dict(line.split("  ", 1) for line in outcome.out.splitlines())
    assert {key: value.strip() for key, value in fields.items() if key != "sha256"} == {
        "kind": "FASTA (plain)",
        "records": "2",
        "bases": "15",
        "called": "12",
        "unknown": "3",
        "gc percent": "66.67",
        "longest": "a",
        "longest bases": "10",
    }


def test_info_as_json_keeps_numbers(genomeconv, tmp_path):
    (tmp_path / "x.fa").write_bytes(FASTA)
    facts = json.loads(genomeconv("info", tmp_path / "x.fa", "--json").out)
    assert facts["bases"] == 15
    assert facts["gc_percent"] == 66.67


def test_info_of_a_fasta_without_called_bases(genomeconv, tmp_path):
    (tmp_path / "x.fa").write_bytes(b">a\nNNN\n")
    facts = json.loads(genomeconv("info", tmp_path / "x.fa", "--json").out)
    assert (facts["called"], facts["gc_percent"]) == (0, None)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("folder", "genomeconv.weights"),
        ("w.safetensors", "genomeconv.weights"),
        ("o.h5", "genomeconv.store.apart"),
    ],
)
def test_info_knows_a_thing_by_what_it_is(genomeconv, tmp_path, stand_in, name, module):
    (tmp_path / "folder").mkdir()
    (tmp_path / "w.safetensors").touch()
    (tmp_path / "o.h5").write_bytes(b"\x89HDF\r\n\x1a\n...")

    def describe(*words):
        return {"by": module, "path": Path(words[-1]).name}

    stand_in(module, describe=describe, ask=describe)
    outcome = genomeconv("info", tmp_path / name, "--json")
    assert json.loads(outcome.out) == {"by": module, "path": name}


def test_info_of_a_model_by_its_name(genomeconv, tmp_path, monkeypatch):
    """What is there under the name comes first; a name of nothing is a missing file."""
    monkeypatch.chdir(tmp_path)
    facts = json.loads(genomeconv("info", "human", "--json").out)
    assert (facts["kind"], facts["name"]) == ("model", "human")
    assert facts["parameters"] == 674_432
    (tmp_path / "human").write_text(">a\nACGT\n")
    facts = json.loads(genomeconv("info", "human", "--json").out)
    assert facts["kind"] == "FASTA (plain)"
    outcome = genomeconv("info", "humen")
    assert outcome.code == 66
    assert "humen: no such file; did you mean human?" in outcome.err


def test_names_are_escaped_on_the_terminal_and_in_json(genomeconv, tmp_path):
    (tmp_path / "x.fa").write_bytes(">\x1b[31mé\nACGT\n".encode())
    assert "longest        \\x1b[31mé\n" in genomeconv("info", tmp_path / "x.fa").out
    outcome = genomeconv("info", tmp_path / "x.fa", "--json")
    assert "\x1b" not in outcome.out
    assert json.loads(outcome.out)["longest"] == "\x1b[31mé"


def test_models(genomeconv, stand_in):
    models = [
        {"name": "human", "parameters": 436_096, "folder": "/a/[b]"},
        {"name": "b", "parameters": 7, "folder": "/a/" + "long/" * 50},
    ]
    stand_in("genomeconv.weights", list_models=lambda: models)
    assert json.loads(genomeconv("models", "--json").out) == models
    lines = [line.split() for line in genomeconv("models").out.splitlines() if line]
    assert lines[0] == ["name", "parameters", "folder"]
    assert ["human", "436,096", "/a/[b]"] in lines
    assert ["b", "7", models[1]["folder"]] in lines  # no line is cut in a pipe


def test_no_models(genomeconv, stand_in):
    stand_in("genomeconv.weights", list_models=list)
    outcome = genomeconv("models")
    assert (outcome.code, outcome.out) == (0, "")
    assert "no models at hand" in outcome.err


def test_import_passes_on_only_what_is_given(genomeconv, stand_in):
    calls = []

    def import_hyenadna(*args, **options):
        calls.append((args, options))
        return {"name": "m"}

    stand_in("genomeconv.weights", import_hyenadna=import_hyenadna)
    genomeconv("import", "hyenadna", "w.ckpt", "-o", "m")
    words = "import hyenadna w.ckpt -o m --l-max 1,026 --shift 0.05 --taps 512"
    assert genomeconv(*words.split()).out == "name  m\n"
    paths = (Path("w.ckpt"), Path("m"))
    assert [args for args, _ in calls] == [paths, paths]
    given = [{k: v for k, v in o.items() if k != "notify"} for _, o in calls]
    assert given == [{}, {"l_max": 1026, "shift": 0.05, "taps": 512}]


@pytest.mark.parametrize(
    ("words", "tables"),
    [("", ["conv", "model"]), ("conv", ["conv"]), ("model", ["model"])],
)
def test_bench(genomeconv, stand_in, tmp_path, words, tables):
    def rows(kind):
        return lambda **options: iter([{"what": kind, "seconds": 0.5, **options}])

    stand_in(
        "genomeconv.bench", convolution_rows=rows("conv"), model_rows=rows("model")
    )
    saved = tmp_path / "b.json"
    outcome = genomeconv("bench", *words.split(), "--quick", "--save", saved)
    assert outcome.out.split().count("yes") == len(tables)
    assert "bench conv: row 1 measured" in outcome.err or words == "model"
    expected = {
        name: [{"what": name, "seconds": 0.5, "quick": True, "threads": None}]
        for name in tables
    }
    assert json.loads(saved.read_text()) == expected
    outcome = genomeconv("bench", *words.split(), "--quick", "--json")
    assert json.loads(outcome.out) == expected


def test_bench_plan(genomeconv):
    shown = genomeconv(
        "bench", "conv", "--plan", "--length", 4096, "--dtype", "float32"
    )
    assert shown.code == 0
    assert len(shown.out.splitlines()) == 5  # 4, 128, 1,024 and 4,096 taps
    words = "bench conv --plan --taps 4096 --channels 3 --json"
    (row, *_) = json.loads(genomeconv(*words.split()).out)["plan"]
    assert (row["length"], row["taps"]) == (256, 4096)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--plan", "--plan is of the convolution: bench conv --plan"),
        ("model --plan", "--plan is of the convolution: bench conv --plan"),
        (
            "conv --plan --quick",
            "--plan measures nothing, so --quick and --threads do not go with it",
        ),
        (
            "conv --plan -@ 2",
            "--plan measures nothing, so --quick and --threads do not go with it",
        ),
        ("conv --taps 4", "--taps needs --plan"),
        ("--dtype float16", "--dtype needs --plan"),
    ],
)
def test_bench_options_that_would_do_nothing_are_refused(genomeconv, words, text):
    outcome = genomeconv("bench", *words.split())
    assert outcome.code == 2
    assert text in outcome.err


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 69)])
def test_doctor_ends_by_its_worst_check(genomeconv, monkeypatch, status, code):
    check = Check(check="x", status=status, detail="seen")
    monkeypatch.setattr(checks, "examine", lambda folder, fasta: iter([check]))
    outcome = genomeconv("doctor", "--json")
    assert outcome.code == code
    assert json.loads(outcome.out) == [
        {"check": "x", "status": status, "detail": "seen"}
    ]
    assert f"x      {status:<6}  seen\n" in genomeconv("doctor").out


def test_a_check_that_raises_is_a_failed_check(monkeypatch, tmp_path):
    def broken():
        yield Check(check="before", status="ok", detail="")
        raise RuntimeError("no")

    for name in ("versions", "processor", "gpus", "convolution", "filters"):
        monkeypatch.setattr(checks, name, lambda: iter(()))
    monkeypatch.setattr(checks, "self_test", broken)
    found = list(checks.examine(tmp_path, None))[-2:]
    assert [(check.check, check.status, check.detail) for check in found] == [
        ("before", "ok", ""),
        ("self-test", "fail", "RuntimeError: no"),
    ]


def test_the_checks_of_the_disk_leave_nothing(tmp_path):
    found = {check.check: check.status for check in checks.disk(tmp_path)}
    assert found["file locks"] == found["sync and rename"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_failed_check(tmp_path, monkeypatch):
    for name in ("versions", "processor", "gpus", "convolution", "filters"):
        monkeypatch.setattr(checks, name, lambda: iter(()))
    monkeypatch.setattr(checks, "self_test", lambda: iter(()))
    (check,) = checks.examine(tmp_path / "gone", None)
    assert (check.check, check.status) == ("disk", "fail")
    assert "No such file" in check.detail


def test_the_index_of_a_fasta_is_looked_at(tmp_path):
    (tmp_path / "x.fa").write_bytes(b">a\nACGT\n>b\nAC\n")
    (check,) = checks.index(str(tmp_path / "x.fa"))
    assert check.status == "ok"
    assert check.detail.startswith("2 sequences in ")


@pytest.mark.parametrize("look", ["versions", "processor", "gpus", "convolution"])
def test_the_machine_is_described(look):
    found = list(getattr(checks, look)())
    assert {check.status for check in found} <= {"ok", "warn"}
    assert all(check.detail for check in found)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("rows", 2_190, "2,190"),
        ("bytes_free", 25_600_000_000, "25.6 GB"),
        ("bytes_on_disk", 999, "999 B"),
        ("seconds", 0.4242, "0.42 s"),
        ("rate", 84_321.4, "84,321"),
        ("share", 0.123456, "0.1235"),
        ("x", None, "-"),
        ("x", True, "yes"),
        ("x", ["a", 1_000], "a, 1,000"),
        ("x", {"rows": "bin", "bin": 1024}, "rows bin, bin 1,024"),
        ("x", "a\nb", r"a\nb"),
    ],
)
def test_values_are_written_for_people(key, value, text):
    assert value_text(key, value) == text


def test_sizes_and_durations():
    assert [bytes_text(n) for n in (0, 1234, 5.5e6, 7e12)] == [
        "0 B",
        "1.23 kB",
        "5.5 MB",
        "7 TB",
    ]
    assert [seconds_text(n) for n in (0.5, 9.99, 59.6, 3599.9, 36_610)] == [
        "0.5 s",
        "10 s",
        "1 min 00 s",
        "1 h 00 min",
        "10 h 10 min",
    ]
