"""Two hundred kills in one job: `make test-soak` reports what they cost.

A genome of 20 Mb is embedded once undisturbed, and once by runs that are killed by
SIGKILL at random moments, start-up included. The files must be equal, and what is
computed again must be less than half of what there was to compute. The time it took is
printed, not judged, for machines differ and are shared; SOAK_JSON names a file for it.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

KILLS = int(os.environ.get("SOAK_KILLS", "200"))
BASES = int(os.environ.get("SOAK_BASES", "20_000_000"))
LAYER = os.environ.get("SOAK_LAYER", "last")
RUN = """
import os, sys, time
from pathlib import Path
import genomeconv.embed
from genomeconv.model.block import BlockStream
from genomeconv.store.blocks import BlockTable
from genomeconv_cli.main import run

spent = {"write": 0.0, "fsync": 0.0}

def timed(name, real):
    def call(*args):
        begun = time.monotonic()
        try:
            return real(*args)
        finally:
            spent[name] += time.monotonic() - begun
    return call

def fill(*args, real=genomeconv.embed.fill):
    began = time.monotonic()
    mark = Path(sys.argv[1])  # here the start-up ends
    mark.with_name("new").write_text(f"{began} {time.process_time()}")
    mark.with_name("new").rename(mark)
    real(*args)
    spent["fill"] = time.monotonic() - began

def step(self, r, *rest, real=BlockStream.step):
    steps.write(f"{r.shape[0] * r.shape[1]} ")
    steps.flush()
    return real(self, r, *rest)

steps = Path(sys.argv[1]).with_name("steps").open("a")
BlockStream.step = step
genomeconv.embed.fill = fill
BlockTable.write = timed("write", BlockTable.write)
os.fsync = timed("fsync", os.fsync)
code = run(sys.argv[2:])
print(*(f"{name} {seconds:.3f}" for name, seconds in spent.items()))
sys.exit(code)
"""


@dataclass
class Part:
    """One run: its seconds, by the clock and of the processor, and for its start-up."""

    ended: bool
    clock: float
    clock_before: float
    cpu: float
    cpu_before: float
    out: str


def run(folder: Path, *, early: float | None = None, late: float | None = None) -> Part:
    """Embed; killed `early` seconds after its start or `late` ones after start-up."""
    mark = folder / "mark"
    mark.unlink(missing_ok=True)
    words = ["embed", "x.fa", "-o", "out.h5", "--layer", LAYER, "-q"]
    begun, used = time.monotonic(), cpu_of_children()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", RUN, str(mark), *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SOURCE_DATE_EPOCH": "1700000000",
        },
    )
    if early is not None:
        time.sleep(early)
        process.kill()
    elif late is not None:
        while process.poll() is None and not mark.exists():
            time.sleep(0.01)
        time.sleep(late)
        process.kill()
    out, _ = process.communicate()
    clock, cpu = time.monotonic() - begun, cpu_of_children() - used
    assert process.returncode in (0, -9), process.returncode
    clock_before, cpu_before = clock, cpu
    if mark.exists():
        at, cpu_before = map(float, mark.read_text().split())
        clock_before = at - begun
    return Part(process.returncode == 0, clock, clock_before, cpu, cpu_before, out)


def cpu_of_children() -> float:
    """Seconds of the processor that children took which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.soak
def test_two_hundred_kills(tmp_path, capsys):
    random = Random(2)
    letters = "".join(random.choices("ACGT", k=min(BASES, 1_000_000)))
    text = (letters * (BASES // len(letters) + 1))[:BASES]
    (tmp_path / "x.fa").write_text(
        f">chr1\n{text[: BASES // 2]}\n>b\n{text[BASES // 2 :]}\n"
    )

    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    for folder in ("first", "second"):
        (tmp_path / folder / "x.fa").symlink_to(tmp_path / "x.fa")
    whole = run(tmp_path / "first")
    assert whole.ended
    work = whole.clock - whole.clock_before
    parts: list[Part] = []
    while not (parts and parts[-1].ended):
        folder = tmp_path / "second"
        if len(parts) == KILLS:
            parts.append(run(folder))
        elif random.random() < 0.1:  # one in ten dies before its first base
            parts.append(run(folder, early=random.uniform(0, whole.clock_before)))
        else:
            parts.append(run(folder, late=random.uniform(0, 2 * work / KILLS)))
    first = (tmp_path / "first" / "out.h5").read_bytes()
    assert (tmp_path / "second" / "out.h5").read_bytes() == first
    left = {path.name for path in (tmp_path / "second").iterdir()}
    assert left == {"mark", "steps", "out.h5", "x.fa"}
    once, again = (computed(tmp_path / name) for name in ("first", "second"))
    row = {**numbers(whole, parts), "computed": round(again / once, 3)}
    with capsys.disabled():
        print(f"\n{json.dumps(row, indent=1)}")  # noqa: T201
    if name := os.environ.get("SOAK_JSON"):
        Path(name).write_text(json.dumps(row, indent=1) + "\n")
    assert once < again < 1.5 * once


def computed(folder: Path) -> int:
    """Positions that went through a block of the model, all runs together."""
    return sum(map(int, (folder / "steps").read_text().split()))


def numbers(whole: Part, parts: list[Part]) -> dict[str, object]:
    """What the kills cost, in times of the undisturbed run without its start-up."""
    spent = {k: float(v) for k, v in zip(*[iter(whole.out.split())] * 2, strict=True)}
    clock = sum(part.clock - part.clock_before for part in parts)
    cpu = sum(part.cpu - part.cpu_before for part in parts)
    work, work_cpu = whole.clock - whole.clock_before, whole.cpu - whole.cpu_before
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "bases": BASES,
        "layer": LAYER,
        "kills": sum(not part.ended for part in parts),
        "undisturbed_seconds": round(work, 1),
        "undisturbed_processor_seconds": round(work_cpu, 1),
        "start_up_seconds": round(whole.clock_before, 1),
        "start_ups_seconds": round(sum(part.clock_before for part in parts), 1),
        "clock": round(clock / work, 3),
        "processor": round(cpu / work_cpu, 3),
        "writing_percent": round(100 * spent["write"] / spent["fill"], 2),
        "fsync_percent": round(100 * spent["fsync"] / spent["fill"], 2),
    }
