"""Runs command lines in forked children, each with a fault armed in the shim.

Everything is imported once here, so that a run costs its work and no start-up. The
first line of the input is the path of the shim; each further one is a request in JSON

    {"argv": [...], "cwd": DIR, "record": PATH, "mode": 1, "at": 7, "errno": 28,
     "seed": 1, "sync": 0, "mutant": ""}

and is answered by the wait status of the child. Beside PATH there are then .err
(messages), .rows (rows computed, and bytes of the journal known to be safe) and .calls
(operations counted).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import sys
from types import SimpleNamespace

import h5py
import torch

import genomeconv.embed
from genomeconv.errors import StorageError
from genomeconv.store import (
    OutputWriter,
    RowScratch,
    finalise,
    journal,
    layout,
    schema,
)
from genomeconv.store.blocks import BlockTable
from genomeconv.store.journal import Journal
from genomeconv_cli.main import run

BLOCK_BYTES = 1 << 16
"""Small blocks: 128 rows of 128 float32, so that a short run has several."""
TOGETHER = 64
"""Rows of a commit: half a block."""
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def note_rows(kind: type, name: str, fd: int) -> None:
    """Write down which rows are handed to a table: those that were computed."""
    real = kind.write

    def write(self, a, X, *rest):
        os.write(fd, f"{name} {a} {a + len(X)}\n".encode())
        real(self, a, X, *rest)

    kind.write = write


def note_syncs(fd: int) -> None:
    """Write down how much of the journal is safe."""
    real = Journal.sync

    def sync(self):
        real(self)
        if self.path.exists():
            os.write(fd, f"synced 0 {self.path.stat().st_size}\n".encode())

    Journal.sync = sync


def trust_the_journal() -> None:
    """Mutant: what the journal says is believed, without a look at the rows."""
    BlockTable.agrees = staticmethod(lambda parts, checksums: True)


def let_hdf5_write() -> None:
    """Mutant: HDF5 writes by itself, and forgets or crashes over a full disk."""

    @contextlib.contextmanager
    def create(path):
        with h5py.File(path, "x", locking=False) as file:
            yield file, SimpleNamespace(check=lambda: None)

    layout.create_hdf5 = finalise.create_hdf5 = create


def swallow() -> None:
    """Mutant: a block that could not be written counts as written."""
    real = BlockTable.write

    def write(self, a, parts):
        try:
            real(self, a, parts)
        except StorageError:
            self._failed = False

    BlockTable.write = write


MUTANTS = {
    "": lambda: None,
    "let hdf5 write": let_hdf5_write,
    "swallow": swallow,
    "trust": trust_the_journal,
}


def child(shim: ctypes.CDLL, request: dict) -> int:
    """Exit code of one command line, in a process that may be killed in it."""
    os.chdir(request["cwd"])
    os.dup2(os.open(f"{request['record']}.err", FLAGS), 2)
    rows = os.open(f"{request['record']}.rows", FLAGS)
    note_rows(OutputWriter, "X", rows)
    note_rows(RowScratch, "scratch", rows)
    note_syncs(rows)
    journal.SYNC_SECONDS = request["sync"]
    MUTANTS[request["mutant"]]()
    calls = os.open(f"{request['record']}.calls", FLAGS)
    numbers = (request[key] for key in ("mode", "at", "errno", "seed"))
    shim.faults_arm(os.fsencode(request["cwd"]), *numbers, calls)
    return run(request["argv"])


def main() -> None:
    """Serve until the input ends."""
    torch.set_num_threads(1)
    schema.BLOCK_BYTES = BLOCK_BYTES
    genomeconv.embed.rows_together = lambda *sizes: TOGETHER
    shim = ctypes.CDLL(sys.stdin.readline().strip())
    shim.faults_arm.argtypes = (
        ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_long,
        ctypes.c_int,
    )  # fmt: skip
    assert genomeconv.embed.run_embedding  # imported before there are children
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = child(shim, request)
            if code == 0:
                os._exit(0)  # the interpreter's own end takes longer than a run
            sys.exit(code)  # through that end, where a broken HDF5 would crash
        _, status = os.waitpid(pid, 0)
        os.write(1, b"%d\n" % status)


if __name__ == "__main__":
    main()
