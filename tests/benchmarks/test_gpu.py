"""The benchmark of a GPU runs from end to end before it meets one."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from genomeconv_kernels.fftconv.gpu.limits import CrossOvers

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script adds to it
    return importlib.import_module("gpu")


@pytest.fixture
def rows_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_conv")


@pytest.mark.slow
def test_a_rehearsal_runs_every_section(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--rehearse"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = json.loads((tmp_path / "gpu.json").read_text())
    sections = [
        "compile", "correctness", "convolution", "crossovers", "determinism",
        "capture", "model", "embed",
    ]  # fmt: skip
    assert [name for name in table if name not in ("machine", "seconds")] == sections
    assert all(row["correct"] for row in table["correctness"])
    assert all(row["same bits"] for row in table["determinism"])
    assert all(row["graph"] and row["compiled"] for row in table["capture"])
    assert not any(
        "error" in row
        for name in sections
        for row in table[name]
        if name != "correctness"
    )
    assert CrossOvers.read(tmp_path / "crossovers.json").source == (
        "measured on none: a rehearsal"
    )
    assert done.stdout.splitlines()[-1].startswith("embed: ")


def results(script: ModuleType, folder: Path) -> object:
    return script.Results(folder / "gpu.json", {"gpu": "x"})


def test_a_section_out_of_time_keeps_its_rows(script, tmp_path):
    kept = results(script, tmp_path)
    script.run("model", lambda: iter([{"ms": 1.0}, {"ms": 2.0}]), kept, deadline=0.0)
    table = json.loads((tmp_path / "gpu.json").read_text())
    assert table["model"] == [{"ms": 1.0}]
    assert table["stopped"] == [{"section": "model", "rows": 1}]


def test_an_error_ends_its_section_alone(script, tmp_path):
    def rows():
        yield {"ms": 1.0}
        raise RuntimeError("out of luck")

    kept = results(script, tmp_path)
    script.run("model", rows, kept, deadline=float("inf"))
    assert kept.table["model"] == [{"ms": 1.0}]
    assert kept.table["failed"] == [
        {"section": "model", "error": "RuntimeError: out of luck"}
    ]


@pytest.mark.parametrize("how", ["wrong row", "error"])
def test_nothing_is_measured_where_the_kernels_are_wrong(
    script, tmp_path, monkeypatch, capsys, how
):
    def correctness():
        yield {"method": "short", "correct": how == "error"}
        if how == "error":
            raise RuntimeError("no compiler")

    def never():
        raise AssertionError("measured")
        yield

    stand_ins = {"correctness": correctness, "convolution": never}
    monkeypatch.setattr(script, "sections", lambda machine, given: stand_ins)
    monkeypatch.setitem(
        sys.modules,
        "gpu_machine",
        SimpleNamespace(Gpu=lambda: SimpleNamespace(describe=dict), Rehearsal=None),
    )
    assert script.main(["--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "the kernels are wrong here: nothing is measured" in said
    assert "measured" not in json.loads((tmp_path / "gpu.json").read_text())


def test_the_sections_leave_time_for_the_start_within_nine_minutes(script):
    assert sum(script.SECONDS.values()) <= 515


def test_crossovers_follow_the_fastest_band(rows_module):
    speeds = {
        4: {"short": 1, "toeplitz": 2},
        64: {"toeplitz": 2, "overlap_save": 3},
        512: {"toeplitz": 4, "overlap_save": 3, "long": 9},
        8192: {"partitioned": 6, "long": 5},
    }
    rows = [
        {"dtype": dtype, "K": K, "method": method, "ms": ms}
        for dtype in ("bfloat16", "float32")
        for K, bands in speeds.items()
        for method, ms in bands.items()
    ]
    table = rows_module.crossovers(rows, "a GPU")
    assert table.source == "measured on a GPU"
    assert table.float16 == table.float32
    reach = table.float16
    assert (reach.short, reach.toeplitz) == (4, 64)
    assert (reach.overlap_save, reach.partitioned) == (512, 512)
    assert [reach.band(K) for K in speeds] == [
        "short", "toeplitz", "overlap_save", "long",
    ]  # fmt: skip
