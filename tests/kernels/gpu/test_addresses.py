"""Addresses beyond 2^31 elements: no integer of any kernel overflows.

Every kernel of the package, launched on shapes of 2^32 elements and more without
memory, is followed through its compiled IR in exact arithmetic.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ranges import BITS, Interval, overflows

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "kernels/genomeconv_kernels"
HELD = {"kept": Interval(0, 4096 // 16)}
"""What tables of integers hold: blocks. Phases, the others, wrap on purpose."""


def recorded(*words: str) -> list[dict]:
    """IR and arguments of all kernels, from a process that does not interpret them."""
    kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("huge_launches.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), *words],
        capture_output=True, text=True, check=False,
        env=kept | {"PYTHONPATH": str(ROOT / "kernels")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows: list[dict] = json.loads(done.stdout)
    return rows


@pytest.fixture(scope="module")
def kernels() -> list[dict]:
    return recorded()


def found(row: dict) -> set[str]:
    """What may overflow in any launch of a kernel."""
    wrong: set[str] = set()
    for run in row["runs"]:
        given = run["arguments"]
        numbers = {n: v for n, v in given.items() if isinstance(v, int)}
        loaded = {n: HELD.get(str(v), BITS) for n, v in given.items()}
        wrong.update(overflows(row["ttir"], numbers, run["programs"], loaded))
    return wrong


def kernels_of(path: Path) -> set[str]:
    """Names of the functions that are launched: they ask for their program."""
    text = path.read_text()
    place = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    return {
        f"{place}.{f.name}"
        for f in ast.parse(text).body
        if isinstance(f, ast.FunctionDef)
        and "tl.program_id(0)" in str(ast.get_source_segment(text, f))
    }


def test_every_kernel_of_the_package_is_launched(kernels):
    written = set().union(*map(kernels_of, PACKAGE.rglob("*.py")))
    assert len(written) == 19
    assert {row["kernel"] for row in kernels} == written


def test_no_integer_of_any_kernel_overflows(kernels):
    assert {row["key"]: sorted(w) for row in kernels if (w := found(row))} == {}


def test_the_launches_are_large_enough_to_tell(kernels):
    """Offsets beyond 32 bits occur in every kernel that reads rows of signals."""
    bounded = {"_rows_forward", "_rows_product", "_rows_correlation", "_collect"}
    bounded |= {"_spectra"}  # workspaces and filters
    names = {row["kernel"] for row in kernels}
    large = {
        row["kernel"]
        for row in kernels
        if found({**row, "ttir": row["ttir"].replace("i64", "i32")})
    }
    assert names - large <= {name for name in names if name.split(".")[-1] in bounded}


def test_no_kernel_adds_up_atomically(kernels):
    """Sums in one order: the reason why a call repeated gives the same bits."""
    assert not [row["key"] for row in kernels if "atomic" in row["ttir"]]


@pytest.mark.slow
def test_the_mutant_without_widening_is_found():
    rows = recorded("narrow")
    caught = {row["kernel"] for row in rows if found(row)}
    assert caught == {
        "fftconv.gpu.short._convolve", "fftconv.gpu.short._correlate",
        "fftconv.gpu.toeplitz._convolve", "fftconv.gpu.toeplitz._correlate",
        "fftconv.gpu.overlap_save._convolve", "fftconv.gpu.overlap_save._correlate",
        "fftconv.gpu.partitioned._windows", "fftconv.gpu.partitioned._blocks",
        "fftconv.gpu.outer._columns_forward", "fftconv.gpu.outer._columns_inverse",
    }  # fmt: skip


KERNEL = """
module {{
  tt.func public @k(%arg0: !tt.ptr<f32>, %arg1: i32, %arg2: !tt.ptr<i32>) {{
    %cst = arith.constant dense<8> : tensor<8xi32>
    %c1 = arith.constant 1 : i32
    %c0 = arith.constant 0 : i32
    %0 = tt.get_program_id x : i32
    %1 = tt.make_range {{end = 8 : i32, start = 0 : i32}} : tensor<8xi32>
    %2 = arith.{op} %0, %arg1 : i32
    %3 = tt.splat %2 : i32 -> tensor<8xi32>
    %4 = arith.addi %3, %1 : tensor<8xi32>
    %5 = tt.splat %arg0 : !tt.ptr<f32> -> tensor<8x!tt.ptr<f32>>
    %6 = tt.addptr %5, %4 : tensor<8x!tt.ptr<f32>>, tensor<8xi32>
    %7 = tt.load %arg2 : !tt.ptr<i32>
    %8 = tt.addptr %arg0, %7 : !tt.ptr<f32>, i32
    scf.for %9 = %c0 to %arg1 step %c1  : i32 {{
      %10 = arith.muli %9, %9 : i32
    }}
    %11 = arith.divsi %0, %arg1 : i32
    %12 = arith.muli %11, %arg1 : i32
    %13 = arith.subi %0, %12 : i32
    %14 = arith.muli %13, %0 : i32
  }}
}}
"""


@pytest.mark.parametrize(
    ("op", "value", "programs", "held", "lines"),
    [
        ("muli", 10, 1000, Interval(0, 9), []),
        ("muli", 10, 1 << 28, Interval(0, 9), ["%2", "%6", "%14"]),  # 10 x 2^28
        ("remsi", 10, 1 << 28, Interval(0, 9), ["%14"]),  # 9 x 2^28
        ("remsi", 8, 1 << 28, Interval(0, 9), []),
        ("addi", (1 << 31) - 8, 2, Interval(0, 9), ["%4", "%6", "%10"]),
        ("addi", 1 << 16, 2, Interval(0, 9), ["%10"]),
        ("muli", 10, 1000, BITS, ["%8"]),
    ],
)
def test_intervals_are_exact(op, value, programs, held, lines):
    wrong = overflows(KERNEL.format(op=op), {"%arg1": value}, programs, {"%arg2": held})
    assert [line.split()[0] for line in wrong] == lines
