"""What every target asks of an answer: a value, or an error made for a user."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from genomeconv.errors import GenomeconvError

T = TypeVar("T")

LONGEST_MESSAGE = 2_000


@cache
def folder() -> Path:
    """Return a folder of this process, in memory where the system has such."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def placed(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def answer(
    call: Callable[[], T], *errors: type[GenomeconvError], names: str
) -> T | None:
    """Return what the call returns, None for an error of these very classes.

    Any other exception passes, and is a finding. The message has to name the place.
    """
    try:
        return call()
    except GenomeconvError as caught:
        error = caught
    assert type(error) in errors, f"{type(error).__name__}: {error}"
    check_message(str(error))
    assert names in str(error), error
    return None


def check_message(text: str) -> None:
    """One line that a terminal shows as it is, and that can be written anywhere."""
    assert text.isprintable(), ascii(text)
    assert len(text.encode()) <= LONGEST_MESSAGE, len(text)
