"""Standard input, output and error that are full, closed, or left by their reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

FASTA = b">a\nACGTACGTAC\n>b\nGGGT\n"
MODULE = [sys.executable, "-P", "-m", "genomeconv_cli.main"]
CLOSED = {"0": "<&-", "1": ">&-", "2": "2>&-"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_bytes(FASTA)
    return tmp_path


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in which $g is genomeconv."""
    return subprocess.run(
        ["bash", "-c", f'g() {{ {" ".join(MODULE)} "$@"; }}\n{script}'],
        capture_output=True,
        text=True,
    )


def test_a_reader_that_leaves(folder):
    done = shell("g info x.fa --json | true; echo ${PIPESTATUS[0]}")
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout(folder):
    done = shell("g info x.fa > /dev/full")
    assert done.returncode == 74
    assert done.stderr == "genomeconv: error: No space left on device\n"


def test_stdout_to_nowhere(folder):
    done = shell("g info x.fa > /dev/null")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_stdout_closed(folder):
    done = shell("g info x.fa >&-")
    assert done.returncode == 74
    assert done.stderr == (
        "genomeconv: error: standard output is closed; the result has nowhere to go\n"
    )


def test_stdin_closed(folder):
    done = shell("g embed - -o out.h5 <&-")
    assert done.returncode == 66
    assert done.stderr == "genomeconv: error: standard input is closed; give a file\n"
    assert [path.name for path in folder.iterdir()] == ["x.fa"]


def test_all_of_them_closed(folder, genomeconv):
    """What libraries write to closed streams must not land in the output."""
    assert shell("g embed x.fa -o one.h5 <&- >&- 2>&-").returncode == 0
    assert genomeconv("embed", "x.fa", "-o", "two.h5").code == 0
    with h5py.File("one.h5") as one, h5py.File("two.h5") as two:
        assert one["X"][:].tobytes() == two["X"][:].tobytes()
    assert {path.name for path in folder.iterdir()} == {"x.fa", "one.h5", "two.h5"}


@pytest.mark.parametrize("streams", ["0", "1", "2", "02", "12", "012"])
def test_a_file_never_gets_the_number_of_a_stream(folder, streams):
    script = (
        "import os, sys, types, click; from genomeconv_cli import main\n"
        "@click.command()\n"
        "def command():\n"
        "    with open('number', 'w') as file: file.write(str(file.fileno()))\n"
        "    os.write(2, b'from a library')\n"
        "sys.modules['opens'] = types.SimpleNamespace(command=command)\n"
        "main.COMMANDS = {'x': 'opens'}; sys.argv = ['g', 'x']; main.main()"
    )
    (folder / "script.py").write_text(script)
    closed = " ".join(CLOSED[stream] for stream in streams)
    assert shell(f"{sys.executable} -P script.py {closed}").returncode == 0
    assert int((folder / "number").read_text()) > 2
