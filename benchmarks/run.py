"""Measure this machine: convolution, model, whole embed runs; write JSON and a table.

    python benchmarks/run.py [--quick] [--fasta GENOME.fa.gz] [--out FOLDER]

Rows of ``genomeconv bench`` and, beside them, reading FASTA files made for it (a
million records, a 250 Mb line, the same gzipped), and whole runs of ``genomeconv
embed`` on the genomes that ship (and on GENOME, say a chromosome): bases a second, peak
memory of the process, and the share of the time outside the model (reading, checking,
means, writing, verifying).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GENOMES = ROOT / "data/genomeconv_data/genomes"

_RUN = """
import sys, time
from pathlib import Path
from genomeconv import stream
from genomeconv.peak import peak_bytes
from genomeconv.embed import EmbedOptions, run_embedding

spent = 0.0
tile = stream.TrunkStream._tile

def timed(self, *arguments):
    global spent
    begun = time.perf_counter()
    out = tile(self, *arguments)
    spent += time.perf_counter() - begun
    return out

class Quiet:
    def start(self, total, description): pass
    def advance(self, bases): pass
    def finish(self): pass

stream.TrunkStream._tile = timed
options = EmbedOptions(fasta=sys.argv[1], output=Path(sys.argv[2]))
summary = run_embedding(options, Quiet(), lambda level, text: None)
print(summary.bases, summary.rows, summary.seconds, spent, peak_bytes())
"""

_READ = """
import sys, time
from pathlib import Path
from genomeconv.fasta import read_genome
from genomeconv.peak import peak_bytes

begun = time.perf_counter()
with read_genome(sys.argv[1], Path(sys.argv[1]).parent, warn=lambda text: None) as g:
    print(len(g.records), g.records.bases, time.perf_counter() - begun, peak_bytes())
"""


def reading_rows() -> Iterator[dict[str, Any]]:
    """Read, judge, sum and spool FASTA files, each in a process of its own."""
    line = b"ACGTACGTTGCANACGTAGCTAGCATCGATCGACTAGCATCAGCATCAGCACTACGACTAG"
    million = b"".join(b">record%d some text\n%b\n" % (i, line) for i in range(10**6))
    files = {
        "a million records of 61 bases": (open, [million]),
        "one line of 250 Mb": (open, [b">one\n", *[line * 25_000] * 167]),
        "the same, gzip": (gzip.open, [b">one\n", *[line * 25_000] * 167]),
    }
    for name, (opener, parts) in files.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.fa")
            with opener(path, "wb") as file:
                file.writelines(parts)
            command = [sys.executable, "-c", _READ, str(path)]
            words = subprocess.check_output(command, text=True).split()
        seconds = float(words[2])
        yield {
            "input": name,
            "records": int(words[0]),
            "bases": int(words[1]),
            "records/s": int(words[0]) / seconds,
            "bases/s": int(words[1]) / seconds,
            "peak MB": int(words[3]) // 1_000_000,
        }


def embed_rows(fastas: list[Path]) -> Iterator[dict[str, Any]]:
    """Run ``embed`` with the default model in a process of its own for each file."""
    for fasta in fastas:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", _RUN, str(fasta), f"{folder}/out.h5"]
            words = subprocess.check_output(command, text=True).split()
        bases, rows = int(words[0]), int(words[1])
        seconds, model, peak = float(words[2]), float(words[3]), int(words[4])
        yield {
            "input": fasta.name,
            "bases": bases,
            "rows": rows,
            "bases/s": bases / seconds,
            "outside the model %": 100 * (1 - model / seconds),
            "peak MB": peak // 1_000_000,
        }


def machine() -> dict[str, Any]:
    """Say what the numbers were measured on."""
    import torch

    names = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    models = [line.split(":")[1] for line in names.splitlines() if "model name" in line]
    return {
        "cpu": models[0].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "vector unit": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load before": os.getloadavg()[0],
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_cell(row[h]) for h in heads) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short sequences only")
    parser.add_argument("--fasta", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--only", choices=["convolution", "model", "reading", "embed"])
    given = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line has it

    from genomeconv.bench import convolution_rows, model_rows

    fastas = [GENOMES / "lambda.fa.gz", GENOMES / "GRCh37.DMD.fa.gz", *given.fasta]
    parts = {
        "convolution": lambda: convolution_rows(quick=given.quick),
        "model": lambda: model_rows(quick=given.quick),
        "reading": reading_rows,
        "embed": lambda: embed_rows(fastas),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    target = given.out / "cpu.json"
    results = json.loads(target.read_text()) if given.only and target.exists() else {}
    results["machine"] = machine()
    for name, rows in parts.items():
        if given.only in (None, name):
            print(f"measuring: {name}", file=sys.stderr)
            results[name] = list(rows())
    target.write_text(json.dumps(results, indent=2) + "\n")
    text = "\n\n".join(f"{n}\n\n{table(results[n])}" for n in parts if n in results)
    (given.out / "cpu.md").write_text(f"{json.dumps(results['machine'])}\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
