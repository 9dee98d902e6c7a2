"""The temporary file: reading at random, from forks, with a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from genomeconv.alphabet import decode
from genomeconv.errors import (
    CannotCreateError,
    DataError,
    InputMissingError,
    StorageError,
)
from genomeconv.fasta import read_genome
from genomeconv.fasta.spool import Spool


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "x.fa"
    path.write_bytes(b">a\nACGT\n>b\nGGGTTT\n")
    return path


def quiet(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def test_leaves_no_file(tmp_path: Path, fasta: Path) -> None:
    with read_genome(fasta, tmp_path, warn=quiet):
        assert list(tmp_path.iterdir()) == [fasta]


@pytest.mark.parametrize("span", [(-1, 2), (3, 2), (0, 5)])
def test_ranges_outside_are_our_own_errors(
    tmp_path: Path, fasta: Path, span: tuple[int, int]
) -> None:
    with (
        read_genome(fasta, tmp_path, warn=quiet) as genome,
        pytest.raises(ValueError, match="is not within a record of 4 bases"),
    ):
        genome.codes(0, *span)


def test_a_forked_child_reads_right(tmp_path: Path, fasta: Path) -> None:
    with read_genome(fasta, tmp_path, warn=quiet) as genome:
        child = os.fork()
        if not child:
            right = all(
                decode(genome.codes(1, i, 6)) == b"GGGTTT"[i:] for i in range(6)
            )
            os._exit(0 if right else 1)
        assert decode(genome.codes(0, 0, 4)) == b"ACGT"
        assert os.waitpid(child, 0)[1] == 0


def test_streams_from_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b">a\nAC\n",))
    writer.start()
    with read_genome(fifo, tmp_path, warn=quiet) as genome:
        assert decode(genome.codes(0, 0, 2)) == b"AC"
        genome.check_unchanged()
    writer.join()


def test_streams_from_standard_input(
    tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fasta.open("rb") as file:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=file))
        with read_genome("-", tmp_path, warn=quiet) as genome:
            assert genome.records.names == ["a", "b"]
        assert not file.closed


def test_errors_name_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=file))
        with pytest.raises(DataError, match=r"^no sequences in standard input: "):
            read_genome("-", tmp_path, warn=quiet)


def test_a_change_of_the_file_is_seen(tmp_path: Path, fasta: Path) -> None:
    with read_genome(fasta, tmp_path, warn=quiet) as genome:
        genome.check_unchanged()
        with fasta.open("ab") as file:
            file.write(b"A\n")
        with pytest.raises(DataError) as caught:
            genome.check_unchanged()
        assert str(caught.value) == (
            f"{fasta}: changed while it was used (18 bytes at first, 20 now); start "
            "again when it is whole"
        )
        fasta.unlink()
        with pytest.raises(DataError) as caught:
            genome.check_unchanged()
        assert str(caught.value) == (
            f"{fasta}: gone while it was used (No such file or directory); start again"
        )


def test_a_replaced_file_is_seen(tmp_path: Path, fasta: Path) -> None:
    with read_genome(fasta, tmp_path, warn=quiet) as genome:
        before = fasta.stat()
        other = tmp_path / "other"
        shutil.copy2(fasta, other)
        other.replace(fasta)
        assert fasta.stat().st_mtime_ns == before.st_mtime_ns
        with pytest.raises(DataError, match="changed while it was used"):
            genome.check_unchanged()


def test_says_when_the_disk_is_too_small(
    tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=17))
    with pytest.raises(StorageError) as caught:
        read_genome(fasta, tmp_path, warn=quiet)
    assert str(caught.value) == (
        f"{tmp_path}: the bases need 18 bytes of temporary space, 17 are free; make "
        "room or choose an output elsewhere"
    )


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_says_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(code, os.strerror(code))

        def close(self) -> None:
            pass

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: Full())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3))
    spool = Spool(tmp_path)
    spool.size = 5
    with pytest.raises(StorageError) as caught:
        spool.write(b"ACGT")
    wanted = (
        f"{tmp_path}: writing a temporary file failed: Input/output error"
        if code == errno.EIO
        else f"{tmp_path}: the bases need 9 bytes or more of temporary space, 3 are "
        "free; make room or choose an output elsewhere"
    )
    assert str(caught.value) == wanted


def test_the_folder_has_to_be_there(tmp_path: Path, fasta: Path) -> None:
    with pytest.raises(CannotCreateError) as caught:
        read_genome(fasta, tmp_path / "none", warn=quiet)
    assert str(caught.value) == f"{tmp_path / 'none'}: no such folder"


def test_the_input_is_judged_before_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        read_genome(tmp_path / "none.fa", tmp_path / "none", warn=quiet)
