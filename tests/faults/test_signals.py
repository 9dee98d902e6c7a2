"""Stopped by a signal: at once, with its code, and the same command continues."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import h5py
import pytest

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
BASES = "".join(Random(2).choices("ACGT", k=30_000))
FASTA = f">a\n{BASES}\n".encode()
COMMAND = ["embed", "x.fa", "-o", "out.h5", "--bin", "16", "--chunk", "4096"]
BOTH = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)


def start(*args: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "genomeconv_cli.main", *args],
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def catches(process: subprocess.Popen[str]) -> bool:
    """Whether a process has its own answer to SIGTERM by now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1) or process.poll() is not None


def numbers(path: Path) -> bytes:
    with h5py.File(path) as file:
        return file["X"][:].tobytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    from genomeconv_cli.main import run

    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("x.fa").write_bytes(FASTA)
        assert run([*COMMAND, "-q"]) == 0
    return numbers(folder / "out.h5")


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="no /proc: signals cannot be timed"
)


@needs_proc
@pytest.mark.parametrize(
    ("seed", "times"),
    [(0, 3), pytest.param(1, 40, marks=pytest.mark.slow)],
    ids=["3 times", "40 times"],
)
def test_at_any_moment(tmp_path, monkeypatch, genomeconv, whole, seed, times):
    """While it imports, reads, computes, writes: one line, no output, no harm."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_bytes(FASTA)
    random, stopped = Random(seed), 0
    for turn in range(times):
        number = random.choice(list(CODES))
        with start(*COMMAND) as process:
            while not catches(process):
                time.sleep(0.001)
            time.sleep(random.uniform(0, 3) if turn else 0)
            process.send_signal(number)
            _, err = process.communicate()
        lines = err.splitlines()
        assert all(line.startswith("genomeconv: ") for line in lines), err
        if process.returncode == 0:
            assert numbers(tmp_path / "out.h5") == whole
            (tmp_path / "out.h5").unlink()
            continue
        stopped += 1
        assert process.returncode == CODES[number], err
        assert lines[-1].startswith(f"genomeconv: stopped by {number.name}")
        assert {path.name for path in tmp_path.iterdir()} <= {
            "x.fa",
            "out.h5.partial",
            "out.h5.journal",
        }
    assert stopped
    assert genomeconv(*COMMAND).code == 0
    assert numbers(tmp_path / "out.h5") == whole
    assert {path.name for path in tmp_path.iterdir()} == {"x.fa", "out.h5"}


def test_sigint_twice_leaves_at_once(tmp_path, monkeypatch, genomeconv, whole, halted):
    """The second ends it wherever it is; what is on disk is as after a kill."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_bytes(FASTA)
    codes = set()
    for pause in (0, 0.001):
        with halted(*COMMAND) as process:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGCONT)
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
            process.communicate()
        codes.add(process.returncode)
        assert not Path("out.h5").exists()
    assert codes <= {-signal.SIGINT, 130}  # 130: it was gone before the second came
    assert genomeconv(*COMMAND).code == 0
    assert numbers(tmp_path / "out.h5") == whole


@BOTH
def test_while_it_waits_for_a_pipe(tmp_path, number):
    with start(
        "embed", "-", "-o", "out.h5", cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        process.stdin.write(">a\nACGT\n")
        process.stdin.flush()
        while not catches(process):
            time.sleep(0.001)
        time.sleep(0.5)
        process.send_signal(number)
        process.wait()
        err = process.stderr.read()
    assert process.returncode == CODES[number]
    assert err.startswith(f"genomeconv: stopped by {number.name}")
    assert list(tmp_path.iterdir()) == []


IMPORTED = """
import os, signal, time, types
def stop():
    try:
        os.kill(os.getpid(), {number})
        time.sleep(0.05)
    except BaseException:
        return "swallowed"
    return "finished"
seen = stop()
import click
@click.command()
def command():
    time.sleep(60)
"""


@BOTH
def test_an_import_is_finished_first(tmp_path, monkeypatch, genomeconv, number):
    """Else a library that guards its own imports would swallow the exception."""
    from genomeconv_cli import main

    (tmp_path / "stopped_import.py").write_text(IMPORTED.format(number=int(number)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main, "COMMANDS", {"x": "stopped_import"})
    outcome = genomeconv("x")
    assert outcome.code == CODES[number]
    assert outcome.err == f"genomeconv: stopped by {number.name}\n"
    assert sys.modules.pop("stopped_import").seen == "finished"


def test_an_import_that_takes_too_long_is_stopped(tmp_path, monkeypatch, genomeconv):
    from genomeconv_cli import main, signals

    monkeypatch.setattr(signals, "IMPORT_PATIENCE_SECONDS", 0.0)
    number = signal.SIGTERM
    (tmp_path / "long_import.py").write_text(IMPORTED.format(number=int(number)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main, "COMMANDS", {"x": "long_import"})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert genomeconv("x").code in (0, 143)
    assert sys.modules.pop("long_import").seen == "swallowed"


def test_a_handler_of_the_caller_is_put_back(genomeconv):
    before = [signal.getsignal(n) for n in (*CODES, signal.SIGALRM)]
    genomeconv("--version")
    assert [signal.getsignal(n) for n in (*CODES, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


NEVER_ENDING = """
import atexit, os, sys, time, types, click
from genomeconv.errors import DeviceError
from genomeconv_cli import main
@click.command()
def command():
    atexit.register(time.sleep, 600)
    print("data")
    {ending}
    time.sleep(600)
sys.modules["never"] = types.SimpleNamespace(command=command)
main.COMMANDS = {{"x": "never"}}
sys.argv = ["genomeconv", "x"]
main.main()
"""
ENDINGS = {
    69: "raise DeviceError('cuda is lost')",
    130: "os.kill(os.getpid(), 2)",
    143: "os.kill(os.getpid(), 15)",
}


@pytest.mark.parametrize("code", ENDINGS)
def test_the_interpreter_is_not_waited_for(code):
    """Its end can take seconds, and hang over a lost GPU; what was printed is there."""
    script = NEVER_ENDING.format(ending=ENDINGS[code])
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (code, "data\n")
    assert done.stderr.count("\n") == 1


WITHIN_EXEC = """
import sys, types, click
from genomeconv_cli import main
@click.command()
def command():
    exec("import os, time; os.kill(os.getpid(), {number}); time.sleep(60)")
sys.modules["within"] = types.SimpleNamespace(command=command)
main.COMMANDS = {{"x": "within"}}
sys.argv = ["genomeconv", "x"]
main.main()
"""


@BOTH
def test_within_exec(tmp_path, monkeypatch, number):
    """With -m, Python ends by SIGINT once a bare KeyboardInterrupt came out of exec."""
    (tmp_path / "stopped_exec.py").write_text(WITHIN_EXEC.format(number=int(number)))
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    monkeypatch.setenv("PYTHONPATH", path)
    command = [sys.executable, "-P", "-m", "stopped_exec"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == CODES[number]
    assert done.stderr == f"genomeconv: stopped by {number.name}\n"
