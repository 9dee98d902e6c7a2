"""Prove and measure the kernels on this machine's GPU, in one run of under 9 minutes.

    python benchmarks/gpu.py [--only SECTION] [--fasta GENOME.fa] [--out FOLDER]
    python benchmarks/gpu.py --rehearse      # on a CPU: every line, no figures

Correctness comes before all times; nothing is timed if it fails. Every section has a
time of its own; rows are written to gpu.json as they come, so that what was measured is
kept whatever happens. crossovers.json holds the measured cross-overs: put it in the
place of kernels/genomeconv_kernels/fftconv/gpu/crossovers.json, or name it in
GENOMECONV_CROSSOVERS.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("", "kernels", "cli", "data")]

Row = dict[str, Any]
Section = Callable[[], Iterator[Row]]

SECONDS = {
    "compile": 80,
    "correctness": 60,
    "convolution": 150,
    "crossovers": 50,
    "determinism": 20,
    "capture": 30,
    "model": 75,
    "embed": 40,
}
"""What each section may take; what one leaves goes to the next."""


class Results:
    """The results file: rewritten after every row."""

    def __init__(self, path: Path, header: Row) -> None:
        self.path = path
        self.table: dict[str, Any] = {"machine": header}

    def add(self, section: str, row: Row) -> None:
        """Keep a row."""
        self.table.setdefault(section, []).append(row)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.table, indent=1) + "\n")
        new.replace(self.path)


def run(section: str, rows: Section, results: Results, deadline: float) -> list[Row]:
    """Run a section until its end or its deadline; an error ends the section alone."""
    begun, kept = time.monotonic(), []
    try:
        for row in rows():
            kept.append(row)
            results.add(section, row)
            say(section, row)
            if time.monotonic() > deadline:
                results.add("stopped", {"section": section, "rows": len(kept)})
                break
    except Exception as error:  # the sections after it can still be measured
        row = {"section": section, "error": f"{type(error).__name__}: {error}"[:500]}
        results.add("failed", row)
        say(section, row)
    results.add(
        "seconds", {"section": section, "seconds": round(time.monotonic() - begun, 1)}
    )
    return kept


def say(section: str, row: Row) -> None:
    """Print a row on one line."""
    cells = " ".join(f"{k}={_cell(v)}" for k, v in row.items() if v is not None)
    print(f"{section}: {cells}", flush=True)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def header(machine: Any) -> Row:
    """Say what the figures were measured on."""
    import torch
    import triton

    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        **machine.describe(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": sys.version.split()[0],
        "commit": os.environ.get("COMMIT") or commit.stdout.strip() or None,
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def sections(machine: Any, given: argparse.Namespace) -> dict[str, Section]:
    """Return the sections by name, in the order they run."""
    import gpu_checks
    import gpu_compile
    import gpu_conv
    import gpu_model

    problems = gpu_checks.problems(machine) + gpu_conv.problems(machine)
    return {
        "compile": lambda: gpu_compile.compile_rows(machine, problems),
        "correctness": lambda: gpu_checks.correctness_rows(machine),
        "convolution": lambda: gpu_conv.convolution_rows(machine),
        "crossovers": lambda: gpu_conv.crossover_rows(machine, given.out),
        "determinism": lambda: gpu_checks.determinism_rows(machine),
        "capture": lambda: gpu_checks.capture_rows(machine),
        "model": lambda: gpu_model.model_rows(machine),
        "embed": lambda: gpu_model.embed_rows(machine, given.fasta),
    }


def summary(table: dict[str, Any]) -> list[str]:
    """Return the short table that is printed last."""
    lines = [json.dumps(table["machine"])]
    for row in table.get("convolution", []):
        if row.get("ms") is not None and row["dtype"] == "bfloat16":
            words = ["gated" if row["gated"] else "plain", row["pass"], row["method"]]
            lines.append(
                f"N {row['N']:>8,} K {row['K']:>8,} {' '.join(words):<28}"
                f"{row['ms']:9.3f} ms  floor {row['floor ms']:.3f}"
                f"  {row.get('speed-up') or 0:6.1f} x torch.fft"
            )
    for name in ("determinism", "capture", "model", "embed", "failed", "stopped"):
        lines += [f"{name}: {json.dumps(row)}" for row in table.get(name, [])]
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU")
    parser.add_argument("--only", action="append", choices=list(SECONDS))
    parser.add_argument("--fasta", type=Path, help="a genome instead of random bases")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    given = parser.parse_args(arguments)
    if given.rehearse:
        os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported
    from gpu_machine import Gpu, Rehearsal

    machine = Rehearsal() if given.rehearse else Gpu()
    given.out.mkdir(parents=True, exist_ok=True)
    results = Results(given.out / "gpu.json", header(machine))
    deadline = float("inf") if given.rehearse else time.monotonic()
    for name, rows in sections(machine, given).items():
        if given.only and name not in given.only:
            continue
        deadline += SECONDS[name]
        kept = run(name, rows, results, deadline)
        failed = [row["section"] for row in results.table.get("failed", [])]
        if name == "correctness" and (
            name in failed or not all(row["correct"] for row in kept)
        ):
            print("\n".join(str(row) for row in kept if not row["correct"]))
            print("the kernels are wrong here: nothing is measured")
            return 1
    print("\n".join(summary(results.table)))
    return 1 if "failed" in results.table else 0


if __name__ == "__main__":
    sys.exit(main())
