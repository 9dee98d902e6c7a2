"""Runs the fault matrix: every row by its command line, whatever else is wrong.

After a failure there is one error line and no traceback, the exit code of the row,
nothing under the name of the output, no file that was not there before, and every
file that was there untouched. After a success there is the output, and nothing else.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest
from fault_matrix import ELSEWHERE, NOT_YET, ROWS, Row, Scene

COMPARED = ("X", "obs/_index", "obs/start", "obs/end", "obs/n_bases", "var/_index")


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return everything below a folder: what links say, what files hold."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes() if os.access(path, os.R_OK) else "closed"
        else:
            found[name] = "folder" if path.is_dir() else "pipe"
    return found


def place(files, folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def arrays(path: Path) -> list[bytes]:
    """Return what has to be equal in outputs that are the same."""
    with h5py.File(path) as file:
        return [
            part.tobytes() if part.dtype != object else repr(part.tolist()).encode()
            for part in (np.asarray(file[name][:]) for name in COMPARED)
        ]


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory):
    """Embed a plain FASTA, once for all rows that need it."""
    from genomeconv_cli.main import run

    @functools.cache
    def embed(content: bytes, argv: str) -> list[bytes]:
        folder = tmp_path_factory.mktemp("reference")
        place({"x.fa": content}, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert run([*shlex.split(argv), "-q"]) == 0
        return arrays(folder / "out.h5")

    return embed


def messages(err: str) -> list[str]:
    lines = err.splitlines()
    assert all(line.startswith("genomeconv: ") for line in lines), err
    assert err.isascii() or err.replace("\ufffd", "").isprintable() or "\x1b" not in err
    return lines


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}: {row.name}")
def test_row(row: Row, genomeconv, tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)
    place(row.files, tmp_path)
    before = contents(tmp_path)
    with ExitStack() as stack:
        row.prepare(Scene(folder=tmp_path, monkeypatch=monkeypatch, stack=stack))
        before = {**contents(tmp_path), **before}
        if row.stdin:
            stream = stack.enter_context((tmp_path / row.stdin).open())
            monkeypatch.setattr("sys.stdin", stream)
        outcome = genomeconv(*shlex.split(row.argv))

    assert outcome.code == row.code, outcome.err
    assert outcome.out == ""
    lines = messages(outcome.err)
    errors = [line for line in lines if line.startswith("genomeconv: error: ")]
    told = errors if row.code else lines
    assert len(errors) == (row.code != 0), outcome.err
    if row.message:
        assert any(re.search(row.message, line) for line in told), outcome.err
    else:
        assert not any("warning" in line for line in lines), outcome.err

    monkeypatch.undo()
    after = contents(tmp_path)
    made = {row.output} if row.code == 0 else set()
    changed = {
        name for name in {**before, **after} if before.get(name) != after.get(name)
    }
    assert made <= changed <= made | set(row.left)
    if row.code == 0:
        look_into(row, tmp_path / row.output, reference)


def look_into(row: Row, output: Path, reference) -> None:
    with h5py.File(output) as file:
        assert np.isfinite(file["X"][:]).all()
        if row.see is not None:
            assert row.see(file)
    if row.same_as is not None:
        assert arrays(output) == reference(row.same_as, row.same_by)


LAST = 96
"""Behind it come variants, of which there is no command."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


def documented() -> dict[int, tuple[str, str, str]]:
    """Return the table of docs/faults.md: number -> what is wrong, answer, codes."""
    lines = re.findall(
        r"^\| (\d+) \| (.*) \| (.*) \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    assert len({line[0] for line in lines}) == len(lines)
    return {int(number): (what, answer, codes) for number, what, answer, codes in lines}


def test_no_number_is_missing():
    numbers = {row.number for row in ROWS} | set(ELSEWHERE) | set(NOT_YET)
    assert set(range(1, LAST + 1)) <= numbers


@pytest.mark.parametrize("number", ELSEWHERE)
def test_a_test_elsewhere_is_there(number):
    for place in ELSEWHERE[number]:
        file, _, name = place.partition("::")
        assert f"def {name}(" in (DOCUMENT.parents[1] / file).read_text()


def test_the_document_lists_every_number():
    assert sorted(documented()) == list(range(1, LAST + 1))


@pytest.mark.parametrize("number", range(1, LAST + 1))
def test_the_document_tells_the_codes(number):
    codes = {row.code for row in ROWS if row.number == number}
    told = set(map(int, re.findall(r"\d+", documented()[number][2])))
    assert codes <= told
    assert told or number in NOT_YET


def test_the_document_tells_every_deviation():
    told = DOCUMENT.read_text()
    for row in ROWS:
        assert not row.deviation or f"({row.number}) " in told, row.deviation
