"""Bytes on disk: write, make durable, replace; every failure a `StorageError`."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from genomeconv.errors import CannotCreateError, PermissionDeniedError, StorageError

REMEDY = "make room or mend the disk, then run the same command to continue"


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn failures of the system or of HDF5 into one line that names `path`.

    Parameters
    ----------
    path : Path
        The file in work.
    doing : str
        What is being done, as in "writing".

    Raises
    ------
    PermissionDeniedError
        The system refuses access.
    StorageError
        Anything else went wrong.
    """
    try:
        yield
    except PermissionError as error:
        raise PermissionDeniedError(
            f"{path}: {doing} is not permitted ({reason(error)}): choose another "
            "folder with -o, or change the permissions"
        ) from error
    except (OSError, RuntimeError) as error:
        raise StorageError(
            f"{path}: {doing} failed: {reason(error)}; {REMEDY}"
        ) from error


def reason(error: Exception) -> str:
    """Errno text of a failure; HDF5 hides the number in its message."""
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"errno = (\d+)", str(error))):
        number = int(found[1])
    if number is not None:
        return f"{os.strerror(number)} (errno {number})"
    text = str(error).splitlines()
    return text[0] if text else type(error).__name__


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls that takes."""
    view = memoryview(data).cast("B")
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def read_at(fd: int, size: int, offset: int) -> bytearray:
    """Exactly `size` bytes from `offset`, zeros where the file is shorter."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        done = os.preadv(fd, [view], offset)
        if done == 0:
            break
        view, offset = view[done:], offset + done
    return data


def append(fd: int, data: bytes) -> None:
    """Append all of `data` to a file opened with O_APPEND."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def reserve(fd: int, size: int) -> None:
    """Reserve `size` bytes on the disk now, where the file system can.

    `os.posix_fallocate` would write every block where the file system cannot (NFS 3,
    Lustre), so the system call is used bare.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(fd, 0, 0, size) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise OSError(number, os.strerror(number))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the file system can."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove `path` if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - one place for fault injection: os


def check_folder(path: Path) -> None:
    """Refuse an output path that can never become a file.

    Raises
    ------
    CannotCreateError
        `path` is a folder or a device, or its folder is missing.
    PermissionDeniedError
        The folder is not writable.
    """
    folder = path.parent
    if path.is_dir():
        raise CannotCreateError(f"{path} is a folder: give the name of a file with -o")
    if path.exists() and not path.is_file():
        raise CannotCreateError(
            f"{path} is not a regular file: HDF5 needs one, give its name with -o"
        )
    if not folder.is_dir():
        raise CannotCreateError(
            f"{path}: the folder {folder} does not exist: make it first, or choose "
            "another with -o"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionDeniedError(
            f"{path}: the folder {folder} is not writable: choose another with -o"
        )


def check_absent(path: Path, overwrite: bool) -> None:
    """Refuse to touch a finished output.

    Raises
    ------
    CannotCreateError
        `path` exists and `overwrite` is not set.
    """
    if os.path.lexists(path) and not overwrite:
        raise CannotCreateError(
            f"{path} exists: choose another name with -o, or replace it with "
            "--overwrite"
        )


def check_space(folder: Path, path: Path, needed: int, held: int = 0) -> None:
    """Refuse a plan that does not fit on the disk.

    Parameters
    ----------
    folder : Path
        Where the files go.
    path : Path
        The output, for the message.
    needed, held : int
        Bytes needed in all, bytes of them that are on the disk already.

    Raises
    ------
    StorageError
        The disk, or the limit on the size of a file, is too small.
    """
    free = shutil.disk_usage(folder).free + held
    if needed > free:
        raise StorageError(
            f"{path}: needs {size_text(needed)} on disk, {size_text(free)} are free in "
            f"{folder}: choose another folder with -o, fewer rows, or --dtype float16"
        )
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise StorageError(
            f"{path}: needs {size_text(needed)} on disk, files may have "
            f"{size_text(limit)} here (ulimit -f): raise the limit, or write fewer rows"
        )


def size_text(size: int) -> str:
    """`size` bytes in words, exact in bytes below a megabyte."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,} bytes"
