"""Several processes at once, and files that change under a run."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import genomeconv as library
from genomeconv.alphabet import decode
from genomeconv.errors import InputMissingError
from genomeconv.fasta import open_indexed
from genomeconv_cli.progress import LogProgress

BASES = "".join(Random(4).choices("ACGT", k=20_000))
FASTA = f">one\n{BASES[:15_000]}\n>two\n{BASES[15_000:]}\n".encode()


def numbers(path: Path) -> bytes:
    with h5py.File(path) as file:
        return file["X"][:].tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_bytes(FASTA)
    return tmp_path


# Twenty processes, one FASTA, no index.


def all_seen(path: str, records: int) -> bool:
    """Whether a process that comes now sees every record, and right bases."""
    with open_indexed(path, warn=lambda text: None) as genome:
        genome.select(["r0", f"r{records - 1}"], warn=lambda text: None)
        return (
            len(genome.lengths) == records
            and decode(genome.codes(0, 0, 12)) == b"ACGTACGTACGT"
            and decode(genome.codes(1, 2, 6)) == b"GTAC"
        )


def many(folder: Path, records: int) -> Path:
    path = folder / "many.fa"
    path.write_bytes(b"".join(b">r%d\nACGTACGT\nACGT\n" % i for i in range(records)))
    return path


INDEXES = {"none": None, "empty": b"", "a part": b"r0\t12\t4\t8\t9\n", "junk": b"\0\n"}


@pytest.mark.parametrize("index", INDEXES)
def test_twenty_readers_see_every_record(tmp_path, index):
    """Forked, at random moments within the time one of them takes."""
    path, records = many(tmp_path, 5000), 5000
    beside = Path(f"{path}.fai")
    if INDEXES[index] is not None:
        beside.write_bytes(INDEXES[index])
    children = []
    for seed in range(20):
        child = os.fork()
        if not child:
            code = 1
            with contextlib.suppress(BaseException):
                time.sleep(Random(seed).uniform(0, 0.1))
                code = 0 if all_seen(str(path), records) else 2
            os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
    assert sorted(tmp_path.iterdir()) == [path, beside]
    assert len(beside.read_bytes().splitlines()) == records


@pytest.mark.slow
def test_twenty_processes_twelve_rounds(tmp_path):
    """The same with processes of their own, as an array job starts them."""
    path, records = many(tmp_path, 60_000), 60_000
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_concurrency import all_seen\n"
        "sys.exit(not all_seen(sys.argv[2], int(sys.argv[3])))"
    )
    command = [sys.executable, "-P", "-c", script, str(Path(__file__).parent)]
    for _ in range(12):
        Path(f"{path}.fai").unlink(missing_ok=True)
        tasks = [
            subprocess.Popen([*command, str(path), str(records)]) for _ in range(20)
        ]
        assert [task.wait() for task in tasks] == [0] * 20
    assert sorted(tmp_path.iterdir()) == [path, Path(f"{path}.fai")]


# An index says what it likes: bases are right, or there is an error.

TRUTH = {
    f"s{i}": "".join(Random(i).choices("ACGTN", k=size))
    for i, size in enumerate([130, 1, 60, 61, 120, 59])
}
WRAPPED = "".join(
    f">{name} x\n" + "".join(f"{s[i : i + 60]}\n" for i in range(0, len(s), 60))
    for name, s in TRUTH.items()
).encode()


@pytest.mark.parametrize("fields", ["1\t145\t1\t3", "1\t145\t1\t1", "1\t145\t9\t9"])
def test_a_lie_on_the_end_of_an_only_line(tmp_path, fields):
    path = tmp_path / "x.fa"
    path.write_bytes(WRAPPED)
    beside = Path(f"{path}.fai")
    open_indexed(path, warn=pytest.fail).close()
    right = "s1\t1\t145\t1\t2"
    assert right in beside.read_text()
    beside.write_text(beside.read_text().replace(right, f"s1\t{fields}"))
    with open_indexed(path, warn=lambda text: None) as genome:
        genome.select(["s1"], warn=pytest.fail)
        assert decode(genome.codes(0, 0, 1)) == TRUTH["s1"].encode()


@pytest.mark.parametrize(
    ("right", "lie"),
    [
        ("s5\t59\t417\t59\t60", "s5\t60\t417\t60\t60"),
        ("s0\t130\t6\t60\t61", "s0\t132\t6\t132\t133"),
        ("s0\t130\t6\t60\t61", "s0\t131\t6\t60\t61"),
        ("s3\t61\t220\t60\t61", "s3\t62\t220\t61\t61"),
    ],
)
def test_a_line_end_is_not_taken_for_a_base(tmp_path, right, lie):
    """Such an index is made anew; the file is not blamed for it."""
    path, said = tmp_path / "x.fa", []
    path.write_bytes(WRAPPED)
    beside = Path(f"{path}.fai")
    open_indexed(path, warn=pytest.fail).close()
    assert right in beside.read_text()
    beside.write_text(beside.read_text().replace(right, lie))
    with open_indexed(path, warn=said.append) as genome:
        genome.select(TRUTH, warn=pytest.fail)
        assert genome.lengths == {name: len(s) for name, s in TRUTH.items()}
    assert len(said) == 1
    assert "x.fa.fai" in said[0]


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_index_never_gives_a_wrong_base(tmp_path, data):
    path = tmp_path / "x.fa"
    path.write_bytes(WRAPPED)
    beside = Path(f"{path}.fai")
    beside.unlink(missing_ok=True)
    open_indexed(path, warn=pytest.fail).close()
    lines = [line.split("\t") for line in beside.read_text().splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        fields = data.draw(st.sampled_from(lines))
        at = data.draw(st.integers(0, 4))
        if at == 0:
            fields[0] = data.draw(st.sampled_from([*TRUTH, "other"]))
        else:
            near = int(fields[at]) + data.draw(st.integers(-3, 3))
            fields[at] = str(data.draw(st.just(near) | st.integers(0, 800)))
    if data.draw(st.booleans()):
        lines = data.draw(st.permutations(lines))[: data.draw(st.integers(1, 6))]
    beside.write_text("".join("\t".join(fields) + "\n" for fields in lines))
    with open_indexed(path, warn=lambda text: None) as genome:
        assert genome.lengths == {name: len(s) for name, s in TRUTH.items()}
        genome.select(TRUTH, warn=pytest.fail)
        for record, letters in enumerate(TRUTH.values()):
            got = decode(genome.codes(record, 0, len(letters)))
            assert got == letters.encode()


# Two runs, one output.


def test_the_second_run_names_the_first_and_leaves_it_alone(folder, genomeconv, halted):
    command = ["embed", "x.fa", "--per-base", "--chunk", "4096", "-o", "out.h5"]
    assert genomeconv(*command[:-1], "alone.h5").code == 0
    first = halted(*command)
    try:
        beside = [path for path in folder.iterdir() if path.name.startswith("out")]
        before = {p: p.read_bytes() for p in beside if not p.is_symlink()}
        assert {path.suffix for path in before} == {".partial", ".journal"}
        for more in ([], ["--overwrite"], ["--break-lock"]):
            second = genomeconv(*command, *more)
            assert second.code == 75
            assert second.err == (
                "genomeconv: error: out.h5 is being written by "
                f"{socket.gethostname()}:{first.pid}: wait for it, or stop it\n"
            )
        assert {path: path.read_bytes() for path in before} == before
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGCONT)
    _, err = first.communicate()
    assert first.returncode == 0, err
    assert numbers(folder / "out.h5") == numbers(folder / "alone.h5")
    assert {p.name for p in folder.iterdir()} == {"x.fa", "alone.h5", "out.h5"}


# A FASTA that changes under a run.


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"ACGT\n")


def replaced(path: Path) -> None:
    """Put another file of the same size and time there, as rsync --times does."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().replace(b"ACG", b"TTT"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [grown, replaced, Path.unlink])
@pytest.mark.parametrize("region", [[], ["--region", "two"]], ids=["whole", "region"])
def test_a_fasta_that_changes_is_noticed(
    folder, genomeconv, monkeypatch, change, region
):
    advance, told = LogProgress.advance, []

    def advance_and_change(self, bases):
        advance(self, bases)
        told.append(bases)
        if len(told) == 1:
            change(folder / "x.fa")

    monkeypatch.setattr(LogProgress, "advance", advance_and_change)
    outcome = genomeconv("embed", "x.fa", "--chunk", "1024", "-o", "out.h5", *region)
    assert outcome.code == 65
    assert "x.fa: " in outcome.err
    assert "while it was used" in outcome.err
    assert not (folder / "out.h5").exists()


# A reader beside a writer.


def test_a_reader_sees_no_file_or_a_whole_one(folder, genomeconv, monkeypatch):
    advance, seen = LogProgress.advance, []

    def advance_and_look(self, bases):
        advance(self, bases)
        try:
            with library.open("out.h5") as reader:
                seen.append(reader.X[:].tobytes())
        except InputMissingError:
            seen.append(None)

    monkeypatch.setattr(LogProgress, "advance", advance_and_look)
    assert genomeconv("embed", "x.fa", "-o", "out.h5", "--bin", 100).code == 0
    assert set(seen) == {None}
    first = numbers(folder / "out.h5")
    seen.clear()
    with library.open("out.h5") as reader:
        again = ["embed", "x.fa", "-o", "out.h5", "--bin", 50, "--overwrite"]
        assert genomeconv(*again).code == 0
        assert set(seen) == {first}
        assert reader.X[:].tobytes() == first  # who has it open keeps the old one
    assert numbers(folder / "out.h5") != first


# Network file systems whose locks do not work.

SHIM = """
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""
ENOTSUPP = 524  # what some NFS servers make of a lock; no name outside the kernel


@pytest.fixture(scope="module")
def no_flock(tmp_path_factory) -> Path:
    """A library that, loaded before the C library, makes every flock fail."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("Linux and gcc are needed for a library that makes flock fail")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "flock.c").write_text(SHIM)
    command = ["gcc", "-shared", "-fPIC", "-o", "flock.so", "flock.c"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "flock.so"


@pytest.mark.parametrize("number", [errno.ENOLCK, ENOTSUPP])
def test_locks_that_fail_stop_nothing(folder, genomeconv, no_flock, number):
    """HDF5 by itself fails on such a disk, and cuts a file it was to replace to 0."""
    assert genomeconv("embed", "x.fa", "-o", "right.h5").code == 0
    right = numbers(folder / "right.h5")
    (folder / "old.h5").write_bytes((folder / "right.h5").read_bytes())
    script = (
        "import sys, h5py, genomeconv\n"
        "from genomeconv_cli.main import run\n"
        "try: h5py.File('right.h5')\n"
        "except OSError: print('shim bites', flush=True)\n"
        "embed = ['embed', 'x.fa', '-q']\n"
        "codes = [run([*embed, '-o', 'new.h5', '--strand', 'both']),\n"
        "         run([*embed, '-o', 'old.h5', '--compress', 'gzip', '--overwrite']),\n"
        "         run([*embed, '-o', 'right.h5']), run(['info', 'old.h5'])]\n"
        "print(codes, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, "LD_PRELOAD": str(no_flock), "FLOCK_ERRNO": str(number)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("shim bites\n"), done.stderr
    assert done.stdout.endswith("[0, 0, 73, 0]\n"), done.stderr
    assert numbers(folder / "old.h5") == numbers(folder / "right.h5") == right
    assert np.frombuffer(numbers(folder / "new.h5"), np.float32).shape == (20 * 128,)
    names = {"x.fa", "old.h5", "new.h5", "right.h5"}
    assert {path.name for path in folder.iterdir()} == names
