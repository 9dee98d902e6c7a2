"""What the tests of faults share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HALTING = """
import os, signal
from genomeconv_cli import main
from genomeconv_cli.progress import LogProgress
advance, told = LogProgress.advance, []
def advance_and_halt(self, bases):
    advance(self, bases)
    told.append(bases)
    if len(told) == 4:
        os.kill(os.getpid(), signal.SIGSTOP)
LogProgress.advance = advance_and_halt
main.main()
"""
FOLDERS = os.environ.get("PYTHONPATH", "").split(os.pathsep)
PYTHONPATH = os.pathsep.join(str(Path(name).resolve()) for name in FOLDERS if name)


@pytest.fixture(autouse=True, scope="session")
def _packages_are_found_from_any_folder():
    """Make a PYTHONPATH that was given relative to the repository absolute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        yield


@pytest.fixture(autouse=True, scope="session")
def _sigint_is_not_ignored():
    """A shell lets its background jobs ignore it, and so would all they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def halted() -> Callable[..., subprocess.Popen[str]]:
    """Start `genomeconv ARG...` and return it where it has stopped in the middle."""

    def start(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-c", HALTING, *args]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        return process

    return start
