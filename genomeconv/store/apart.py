"""Reads files of strangers in a process of its own.

HDF5 is not safe against damaged files: a few bytes can crash it or send it round in
circles. Here a child process reads, within bounds of memory and of time without a sign
of life; whatever becomes of it, the caller gets an answer or a `DataError`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from genomeconv import errors
from genomeconv.errors import DataError, GenomeconvError
from genomeconv.store.reader import describe
from genomeconv.store.verify import verify

SILENCE = 60.0
"""Seconds without a sign of life after which a child is given up."""
MEMORY = 8 << 30
"""Bytes of address space a child may take."""
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from genomeconv.store.apart import serve; serve()"
)


class Child:
    """A process that reads files, one after the other; started when it is needed.

    Parameters
    ----------
    silence : float
        Seconds without a sign of life after which it is given up.
    """

    def __init__(self, silence: float = SILENCE) -> None:
        self._silence = silence
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, task: str, path: str | Path) -> dict[str, Any]:
        """Have a file described ("describe") or verified ("verify").

        Raises
        ------
        GenomeconvError
            What the task raises; DataError where the child died or hung.
        """
        process = self._start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps([task, str(path)]).encode() + b"\n")
            process.stdin.flush()
        line = self._answer(process, path)
        kind, value = json.loads(line)
        if kind == "facts":
            return cast(dict[str, Any], value)
        raise cast(type[GenomeconvError], getattr(errors, kind))(value)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], path: str | Path) -> bytes:
        """Wait for the line with the answer; empty lines are signs of life."""
        assert process.stdout is not None
        text = b""
        while not (line := text.lstrip(b"\n")).endswith(b"\n"):
            if not select.select([process.stdout], [], [], self._silence)[0]:
                self.close()
                raise DataError(
                    f"{path} is damaged: HDF5 gave no sign of life for "
                    f"{self._silence:g} s over it; take it from a copy"
                )
            part = os.read(process.stdout.fileno(), 1 << 16)
            if not part:
                self.close()
                number = -process.returncode
                how = signal.Signals(number).name if number > 0 else "an error"
                raise DataError(
                    f"{path} is damaged: HDF5 crashed over it ({how}); take it from a "
                    "copy"
                )
            text = line + part
        return line


def ask(task: str, path: str | Path) -> dict[str, Any]:
    """Have one file described or verified, see `Child.ask`."""
    with Child() as child:
        return child.ask(task, path)


def serve() -> None:
    """Answer requests until there are no more; the child's main function."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin.buffer:
        task, path = json.loads(line)
        answer = json.dumps(_perform(task, path, answers), default=str)
        data = answer.encode() + b"\n"
        while data:
            data = data[os.write(answers, data) :]


def _perform(task: str, path: str, answers: int) -> tuple[str, Any]:
    told = time.monotonic()

    def tick() -> None:
        nonlocal told
        if time.monotonic() - told > 1:
            told = time.monotonic()
            os.write(answers, b"\n")

    try:
        return "facts", describe(path) if task == "describe" else verify(path, tick)
    except GenomeconvError as error:
        return type(error).__name__, str(error)
    except Exception as error:
        # Whatever a damaged file makes h5py or numpy raise.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return "DataError", (
            f"{path} is damaged ({first}): make it again, or take it from a copy"
        )
