import errno
import os

import pytest

from genomeconv import store
from genomeconv.errors import PermissionDeniedError, StorageError
from genomeconv.store import disk
from genomeconv.store import lock as locks


def test_public_names():
    assert store.__all__ == [
        "OutputPlan",
        "OutputWriter",
        "Reader",
        "RowScratch",
        "RowSlice",
        "Rows",
        "Selection",
        "SequenceEntry",
        "check_target",
        "describe",
        "predicted_bytes",
    ]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            OSError(28, "x"),
            StorageError,
            "p: writing failed: No space left on device (errno 28); ",
        ),
        (
            RuntimeError("Can't flush (file write failed: time = 1, errno = 28, x)"),
            StorageError,
            "p: writing failed: No space left on device (errno 28); ",
        ),
        (RuntimeError("first\nsecond"), StorageError, "p: writing failed: first; "),
        (
            PermissionError(13, "x"),
            PermissionDeniedError,
            "p: writing is not permitted (Permission denied (errno 13)): ",
        ),
    ],
)
def test_errors_in_words(tmp_path, error, kind, message):
    with pytest.raises(kind) as caught, disk.storage_errors(tmp_path / "p", "writing"):
        raise error
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_short_writes_are_continued(tmp_path, monkeypatch):
    pwrite, write, preadv = os.pwrite, os.write, os.preadv
    monkeypatch.setattr("os.pwrite", lambda fd, d, o: pwrite(fd, bytes(d[:3]), o))
    monkeypatch.setattr("os.write", lambda fd, d: write(fd, bytes(d[:3])))
    monkeypatch.setattr("os.preadv", lambda fd, d, o: preadv(fd, [d[0][:3]], o))
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    disk.write_at(fd, b"0123456789", 5)
    assert disk.read_at(fd, 17, 0) == b"\0\0\0\0\0" + b"0123456789" + b"\0\0"
    disk.append(fd, b"abcdefgh")
    assert disk.read_at(fd, 10, 0) == b"abcdefgh34"[:8] + b"34"
    os.close(fd)


def test_space_is_reserved(tmp_path):
    with (tmp_path / "f").open("wb") as file:
        disk.reserve(file.fileno(), 1 << 20)
        held = os.fstat(file.fileno()).st_blocks * 512
    assert held in (0, 1 << 20)  # 0 where the file system cannot


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_a_reservation_that_fails(tmp_path, monkeypatch, number):
    class Library:
        def __init__(self, name, use_errno):
            def fallocate(*args):
                return -1

            self.fallocate = fallocate

    monkeypatch.setattr("ctypes.CDLL", Library)
    monkeypatch.setattr("ctypes.get_errno", lambda: number)
    if number == errno.ENOSPC:
        with pytest.raises(OSError, match="No space left"):
            disk.reserve(1, 10)
    else:
        disk.reserve(1, 10)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_folders_that_cannot_be_synced(tmp_path, monkeypatch, number):
    def fail(fd):
        raise OSError(number, "x")

    monkeypatch.setattr("os.fsync", fail)
    if number == errno.EIO:
        with pytest.raises(OSError, match="x"):
            disk.sync_folder(tmp_path)
    else:
        disk.sync_folder(tmp_path)


def test_start_of_a_process_without_proc(monkeypatch):
    """As on macOS: from ps."""
    import builtins

    def no_proc(path, *args):
        raise FileNotFoundError(path)

    monkeypatch.setattr(
        "subprocess.run", lambda *a, **k: type("R", (), {"stdout": "Mon\n"})
    )
    monkeypatch.setattr(builtins, "open", no_proc)
    assert locks._start(os.getpid()) == "Mon"
