"""Small files of a run folder, replaced in one piece."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from genomeconv.errors import PermissionDeniedError, StorageError
from genomeconv.store.disk import sync_folder


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn failures of the system into one line that names ``path``.

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
            f"{path}: writing is not permitted ({error.strerror}); take another folder"
        ) from None
    except OSError as error:
        raise StorageError(
            f"{path}: writing failed: {error.strerror}; make room and use --resume"
        ) from None


def replace_text(path: Path, text: str) -> None:
    """Put a text in the place of a file; whoever looks sees the old or the new one.

    Raises
    ------
    PermissionDeniedError, StorageError
        It cannot be written; the old file is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)
