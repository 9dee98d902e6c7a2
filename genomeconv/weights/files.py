"""Read files that strangers made; write folders that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from genomeconv.errors import (
    CannotCreateError,
    InputMissingError,
    ModelError,
    PermissionDeniedError,
    StorageError,
)


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading and yield it with its size in bytes.

    Raises
    ------
    InputMissingError
        If it is missing.
    ModelError
        If it is no regular file (a pipe or a device need not end), or cannot be
        read.
    PermissionDeniedError
        If the system refuses access.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise ModelError(f"{path}: not a file")
            yield file, facts.st_size
    except PermissionError as error:
        raise PermissionDeniedError(
            f"{path}: reading is not permitted ({error.strerror}); "
            "change the permissions"
        ) from None
    except FileNotFoundError:
        raise InputMissingError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None


def check_free(folder: Path) -> None:
    """Raise CannotCreateError if a new folder cannot be made of that name."""
    if os.path.lexists(folder):
        raise CannotCreateError(f"{folder}: exists already; choose another name")
    if not folder.parent.is_dir():
        raise CannotCreateError(
            f"{folder}: the folder {folder.parent} does not exist; make it first"
        )


def write_folder(folder: Path, parts: Mapping[str, bytes]) -> None:
    """Make a new folder of files; it appears under its name only when all is on disk.

    Raises
    ------
    CannotCreateError
        If something of that name exists, or the folder above does not.
    PermissionDeniedError, StorageError
        If the system refuses or fails.
    """
    check_free(folder)
    host = socket.gethostname()
    partial = folder.with_name(f".{folder.name}.{host}.{os.getpid()}.partial")
    try:
        _clear_leftovers(folder, host)
        partial.mkdir()
        try:
            for name, data in parts.items():
                with (partial / name).open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            _sync(partial)
            # An empty folder that appeared meanwhile is replaced, a full one is not.
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _sync(folder.parent)
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _clear_leftovers(folder: Path, host: str) -> None:
    """Remove what processes of this machine that were killed left of the folder."""
    start, end = f".{folder.name}.{host}.", ".partial"
    for path in folder.parent.iterdir():
        number = path.name.removeprefix(start).removesuffix(end)
        if f"{start}{number}{end}" == path.name and number.isdecimal():
            try:
                os.kill(int(number), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except (PermissionError, OverflowError):
                continue  # alive, under another user; or no number of ours


def _cannot_write(folder: Path, error: OSError) -> Exception:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            text = f"{folder}: the folder {folder.parent} does not exist; make it first"
            return CannotCreateError(text)
        case errno.EEXIST | errno.ENOTEMPTY:
            return CannotCreateError(f"{folder}: exists already; choose another name")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return PermissionDeniedError(
                f"{folder}: writing is not permitted ({error.strerror}); "
                "choose another folder"
            )
    return StorageError(f"{folder}: writing failed: {error.strerror}; nothing is left")


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
