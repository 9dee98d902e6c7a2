"""Every write that fails, and every moment to die in: nothing is lost, nothing lies.

The shim (`shim.c`) fails or kills a run of `genomeconv embed` at its n-th operation on
the folder of the output. Whatever n: the exit code is the right one, the final name is
absent or whole, and the same command run again ends with the bytes of an undisturbed
run without computing again what was committed. `make test-faults` takes every n, the
normal suite a sample.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

HERE = Path(__file__).parent
BASES = "".join(Random(5).choices("ACGT", k=10_500))
SCENARIOS = {
    "forward": ["--layer", "1"],
    "both-gzip": ["--layer", "0", "--strand", "both", "--compress", "gzip"],
}
SYNC_SECONDS = {"forward": 0, "both-gzip": 1e9}
"""The disk is waited for after every commit, or at the end only: runs with a clock
would not do the same twice."""
COUNT, KILL, TORN, ONCE, STICKY, SHORT, POWER = range(7)
MODES = {
    "kill": (KILL, 0),
    "torn": (TORN, 0),
    "power": (POWER, 0),
    "full-once": (ONCE, errno.ENOSPC),
    "full-for-ever": (STICKY, errno.ENOSPC),
    "full-halfway": (SHORT, errno.ENOSPC),
    "broken-once": (ONCE, errno.EIO),
    "broken-for-ever": (STICKY, errno.EIO),
}
HARMLESS = {"unlink /out.h5.lock"}
"""A lock that stays is that of an ended process: the next run takes it."""


@dataclass
class Run:
    """What became of one command line."""

    status: int
    err: str
    computed: set[tuple[str, int]]
    """Table and number of every row that was computed."""
    calls: list[str]
    """Operations on the folder, in order."""
    synced: int
    """Bytes of the journal that a loss of power spares."""


class Driver:
    """A process that runs command lines in children, see `driver.py`."""

    def __init__(self, folder: Path) -> None:
        shim = folder / "shim.so"
        command = ["gcc", "-O1", "-shared", "-fPIC", "-o", shim, HERE / "shim.c"]
        subprocess.run(command, check=True)
        env = {
            **os.environ,
            "LD_PRELOAD": str(shim),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SOURCE_DATE_EPOCH": "1700000000",
        }
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-P", HERE / "driver.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self._ask(str(shim))
        source = folder / "x.fa"
        source.write_text(f">one\n{BASES[:9000]}\n>two/2\n{BASES[9000:]}\n")
        self.whole = {name: self._whole(name) for name in SCENARIOS}

    def _ask(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _whole(self, scenario: str) -> tuple[bytes, list[str]]:
        """Bytes and operations of an undisturbed run."""
        folder = self.new_folder(f"whole-{scenario}")
        done = self.run(scenario, folder)
        assert done.status == 0, done.err
        return (folder / "out.h5").read_bytes(), done.calls

    def new_folder(self, name: str) -> Path:
        folder = self.folder / name
        for path in (folder, Path(f"{folder}.graves")):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        return folder

    def run(
        self,
        scenario: str,
        folder: Path,
        *,
        mode: int = COUNT,
        at: int = 0,
        error: int = 0,
        mutant: str = "",
    ) -> Run:
        record = f"{folder}.record"
        argv = ["embed", "../x.fa", "-o", "out.h5", "--bin", "64"]
        request = {
            "argv": [*argv, *SCENARIOS[scenario]],
            "cwd": str(folder),
            "record": record,
            "mode": mode,
            "at": at,
            "errno": error,
            "seed": at,
            "sync": SYNC_SECONDS[scenario],
            "mutant": mutant,
        }
        self._ask(json.dumps(request))
        assert self.process.stdout is not None
        status = os.waitstatus_to_exitcode(int(self.process.stdout.readline()))
        lines = map(str.split, Path(f"{record}.rows").read_text().splitlines())
        rows = [(table, int(a), int(b)) for table, a, b in lines]
        calls = Path(f"{record}.calls").read_text().splitlines()
        return Run(
            status=status,
            err=Path(f"{record}.err").read_text(),
            computed={(t, r) for t, a, b in rows if t != "synced" for r in range(a, b)},
            calls=[call.split(" ", 1)[1].strip() for call in calls],
            synced=max((b for t, _, b in rows if t == "synced"), default=0),
        )

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("write faults are injected by a shim that needs Linux and gcc")
    driver = Driver(tmp_path_factory.mktemp("faults").resolve())
    yield driver
    driver.close()


def committed(journal: Path, size: int | None = None) -> set[tuple[str, int]]:
    """Table and number of every row that whole lines of the journal name.

    Of its first `size` bytes, or of all of it.
    """
    rows = set()
    for line in journal.read_bytes()[:size].splitlines() if journal.exists() else ():
        crc, _, body = line.partition(b" ")
        if crc == b"%08x" % zlib.crc32(body) and b'"table"' in body:
            entry = json.loads(body)
            span = range(entry["start"], entry["stop"])
            rows |= {(entry["table"], row) for row in span}
    return rows


def fault_at(
    driver: Driver, scenario: str, mode: str, at: int, mutant: str = ""
) -> Run:
    """Fault a run at its operation number `at`, and check what is left of it."""
    number, error = MODES[mode]
    folder = driver.new_folder("run")
    run = driver.run(scenario, folder, mode=number, at=at, error=error, mutant=mutant)
    check_end(run, at, error)
    out, (wanted, _) = folder / "out.h5", driver.whole[scenario]
    stood = out.exists()
    # Not compared in an assert: to explain how megabytes differ takes minutes.
    whole = not stood or out.read_bytes() == wanted
    assert whole, "the final name is not whole"
    if not any(folder.iterdir()):
        return run  # as if it had never been: the next run is the first one
    safe = committed(folder / "out.h5.journal", run.synced if number == POWER else None)
    again = driver.run(scenario, folder, mutant=mutant)
    assert again.status == (73 if stood else 0), again.err
    assert not again.computed & safe, "committed rows were computed again"
    whole = out.read_bytes() == wanted
    assert whole, "other bytes after the second run"
    assert [path.name for path in folder.iterdir()] == ["out.h5"]
    return run


def check_end(run: Run, at: int, error: int) -> None:
    """Exit code and message are those of the fault."""
    hit = run.calls[at - 1] if len(run.calls) >= at else "nothing"
    if hit == "nothing" or (error and hit in HARMLESS):
        assert run.status == 0, f"{hit}: {run.err}"
    elif error == 0:
        assert run.status == -signal.SIGKILL, hit
    else:
        assert run.status == 74, f"{hit}: {run.status}: {run.err}"
        errors = [line for line in run.err.splitlines() if " error: " in line]
        assert len(errors) == 1, run.err
        if hit.endswith("(deleted)"):  # the spool of the bases, which has no name
            assert "/run: " in errors[0]
        else:
            assert "out.h5" in errors[0]
            assert os.strerror(error) in errors[0]
        assert "Traceback" not in run.err


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_sample_of_operations(driver, scenario, mode):
    last = len(driver.whole[scenario][1])
    numbers = Random(f"{scenario} {mode}").sample(range(1, last + 1), 3)
    for at in numbers:
        fault_at(driver, scenario, mode, at)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_operation(driver, scenario, mode):
    last = len(driver.whole[scenario][1])
    for at in range(1, last + 1):
        fault_at(driver, scenario, mode, at)
    assert fault_at(driver, scenario, mode, last + 1).status == 0


@pytest.mark.parametrize(
    ("mutant", "mode", "call"),
    [
        ("trust", "power", "(pwrite|write|fsync) /out.h5.(scratch|journal|partial)"),
        ("swallow", "full-once", "pwrite /out.h5.partial"),
        ("let hdf5 write", "full-once", "pwrite /out.h5.packed"),
        ("let hdf5 write", "full-for-ever", "pwrite /out.h5.packed"),
    ],
)
def test_the_faults_would_be_noticed(driver, mutant, mode, call):
    """Writers that do one thing wrong do not pass."""
    folder = driver.new_folder("mutant")
    calls = driver.run("both-gzip", folder, mutant=mutant).calls
    numbers = [i for i, found in enumerate(calls, 1) if re.fullmatch(call, found)]
    assert numbers

    def all_of_them() -> None:
        for at in reversed(numbers):
            fault_at(driver, "both-gzip", mode, at, mutant)

    with pytest.raises(AssertionError):
        all_of_them()
