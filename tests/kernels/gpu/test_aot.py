"""Compilation ahead of time: what is recorded, what compilers say, what is refused.

Interpreted kernels cannot be compiled, and the other tests interpret them: these run in
processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genomeconv_kernels import aot
from genomeconv_kernels.compiled import _DOT, Report, Source

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "benchmarks/results/aot.json"

SAMPLE = """
import json, torch
from genomeconv_kernels.aot import sources
from genomeconv_kernels.compiled import compile_source

found = list(sources("sm_90").values())

def pick(kernel, *words):
    name = "fftconv.gpu." + kernel + " "
    return next(
        s for s in found
        if s.name.startswith(name) and all(f" {w}" in s.name for w in words)
        and "/16,i32/16" in s.key
    )

picked = {
    "short": (pick("short._convolve", "TWO=False"), ["sm_90"]),
    "order3": (pick("overlap_save._convolve", "N1=16", "N2=16", "N3=16", "T=0",
                    "PRECISION=ieee"), ["sm_90", "gfx942"]),
    "blocks": (pick("toeplitz._convolve", "T=0", "HAS_PRE=True", "num_warps=4"),
               ["sm_90"]),
}
print(json.dumps({
    f"{name} {target}": compile_source(source, target).row()
    for name, (source, targets) in picked.items() for target in targets
}))
"""


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python without the interpreter of Triton, unless the environment says so."""
    kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    kept["PYTHONPATH"] = os.pathsep.join(str(ROOT / p) for p in ("kernels", ""))
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True, text=True, env=kept | environment, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sample() -> dict[str, dict[str, int]]:
    done = python("-c", SAMPLE)
    assert done.returncode == 0, done.stderr
    rows: dict[str, dict[str, int]] = json.loads(done.stdout)
    return rows


def test_a_sample_compiles_without_spills(sample):
    assert {name: row["stack"] for name, row in sample.items()} == dict.fromkeys(
        sample, 0
    )
    assert all(0 < row["registers"] <= 512 for row in sample.values())
    assert all(row["shared"] <= 227 << 10 for row in sample.values())


def test_products_of_64_rows_take_the_matrix_units(sample):
    assert sample["short sm_90"]["flops"] == sample["short sm_90"]["wide"] == 0
    for name in ("order3 sm_90", "blocks sm_90"):
        assert sample[name]["wide"] > 0
        assert sample[name]["wgmma"] > 0
    assert sample["blocks sm_90"]["mma"] == 0
    assert sample["order3 gfx942"]["mfma"] > 0


def test_the_compiled_products_are_those_of_the_model(sample):
    """One program of F = 16 x 16 x 16: 8 F (16 + 16 + 16), there and back."""
    for target in ("sm_90", "gfx942"):
        assert sample[f"order3 {target}"]["flops"] == 2 * 8 * 16**3 * 48


def test_the_committed_table_names_the_kernels_of_today():
    done = python("-m", "genomeconv_kernels.aot", "--list", "--check", str(COMMITTED))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_committed_table_has_no_faults():
    rows = json.loads(COMMITTED.read_text())["kernels"]
    assert {row["target"] for row in rows} == set(aot.TARGETS)
    assert aot.faults(rows) == []
    assert (COMMITTED.with_suffix(".md")).read_text() == aot.markdown(rows)


def test_interpreted_kernels_are_refused():
    done = python("-m", "genomeconv_kernels.aot", TRITON_INTERPRET="1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "python -m genomeconv_kernels.aot: error: unset TRITON_INTERPRET: "
        "interpreted kernels cannot be compiled"
    )


def row(**how: object) -> aot.Row:
    good = Report(registers=200, stack=0, shared=50_000, wgmma=4, wide=4, flops=1)
    return {"target": "sm_90", "kernel": "k N=1", "key": "k N=1()"} | good.row() | how


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, []),
        ({"stack": 8}, ["sm_90 k N=1: 8 bytes of stack, none allowed"]),
        ({"target": "sm_100", "stack": 8}, []),
        (
            {"target": "sm_80", "shared": 101_377},
            ["sm_80 k N=1: 101,377 bytes shared, at most 101,376"],
        ),
        ({"shared": 230_000}, []),
        (
            {"shared": 240_000},
            ["sm_90 k N=1: 240,000 bytes shared, at most 232,448"],
        ),
        (
            {"wgmma": 0, "mma": 9},
            ["sm_90 k N=1: products of 64 rows and more without wgmma"],
        ),
        ({"wgmma": 0, "wide": 0}, []),
        (
            {"error": "PassError: no"},
            ["sm_90 k N=1: does not compile: PassError: no"],
        ),
    ],
    ids=str,
)
def test_faults_are_named(how, said):
    assert aot.faults([row(**how)]) == said


def test_a_stale_table_is_named():
    old, new = [row(), row(key="gone")], [row(), row(key="fresh")]
    assert aot.stale(new, old) == [
        "sm_90 fresh: not in the table",
        "sm_90 gone: no longer planned",
    ]
    assert aot.stale(new, new) == []


def test_the_table_for_people_has_a_column_a_target():
    lines = aot.markdown([row(), row(target="gfx942", wgmma=0, mfma=3)]).splitlines()
    assert lines[2] == "| kernel | types | sm_90 | sm_100 | sm_80 | gfx942 |"
    cells = "200 / 0 / 50,000"
    assert lines[4].endswith(f"| {cells} 4 wgmma |  |  | {cells} 3 mfma |")


@pytest.mark.parametrize(
    ("line", "product"),
    [
        (
            "%4 = tt.dot %1, %2, %3, inputPrecision = ieee : tensor<64x32xf16> * "
            "tensor<32x128xf16> -> tensor<64x128xf32> loc(#loc)",
            ("", "64", "32", "f16", "128"),
        ),
        (
            "%4 = tt.dot %1, %2, %3 : tensor<4x16x16xf32> * tensor<4x16x32xf32> "
            "-> tensor<4x16x32xf32>",
            ("4", "16", "16", "f32", "32"),
        ),
    ],
    ids=["matrix", "batch"],
)
def test_products_are_read_off_the_program(line, product):
    (found,) = _DOT.findall(line)
    assert found == product


def test_a_source_goes_to_another_process_as_plain_values():
    source = Source(
        module="genomeconv_kernels.fftconv.gpu.short",
        kernel="_convolve",
        arguments=(("u", "*bf16/16"), ("L", "i32"), ("K", "constexpr")),
        constants=(("K", 4),),
        options=(("num_warps", 4),),
    )
    assert source.name == "fftconv.gpu.short._convolve K=4 num_warps=4"
    assert source.key == source.name + "(*bf16/16,i32)"
