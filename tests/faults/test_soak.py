"""Two hundred kills in one job: `make test-soak` reports what they cost.

A genome of 20 Mb is embedded once undisturbed, and once by runs that are killed by
SIGKILL at random moments, start-up included. The files must be equal. What it took is
printed, not judged: machines differ and are shared.
"""

from __future__ import annotations

import os
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
RUN = """
import os, sys, time
from pathlib import Path
import genomeconv.embed
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
    # One block of the model: the less there is to compute, the more a kill costs.
    words = ["embed", "x.fa", "-o", "out.h5", "--bin", "64", "--layer", "1", "-q"]
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
    assert sorted(p.name for p in (tmp_path / "second").iterdir()) == [
        *("mark", "out.h5", "x.fa")
    ]
    kills = sum(not part.ended for part in parts)
    clock = sum(part.clock - part.clock_before for part in parts)
    cpu = sum(part.cpu - part.cpu_before for part in parts)
    started = sum(part.clock_before for part in parts)
    spent = {k: float(v) for k, v in zip(*[iter(whole.out.split())] * 2, strict=True)}
    share = {name: 100 * seconds / spent["fill"] for name, seconds in spent.items()}
    report = f"""
{BASES:,} bases, {kills} kills: the work took {clock:.0f} s, undisturbed {work:.0f} s:
{clock / work:.2f} times as long, {cpu / (whole.cpu - whole.cpu_before):.2f} times the
processor. Start-ups took {started:.0f} s, the first one {whole.clock_before:.1f} s.
Journal, checksums, writing and fsync: {share["write"]:.2f} % of the undisturbed work,
fsync alone {share["fsync"]:.2f} %."""
    with capsys.disabled():
        print(report)  # noqa: T201
