"""Runs in processes of their own, one or several that make a world.

They are forked by a clean process that has imported what they need and run nothing: a
process that has, as this one, holds threads and locks that no fork should inherit.
What runs there is looked up by name, so it stands here and not in the tests.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed as dist

from genomeconv.errors import GenomeconvError, StorageError
from genomeconv.train.notify import Silent
from genomeconv.train.run import TrainOptions, run_training

HANG = 300.0
"""Seconds after which a process is taken to hang, and killed."""
KILLED = 9
_CONTEXT = multiprocessing.get_context("forkserver")
# What is imported when an optimiser is first made, and when weights are shared out.
_CONTEXT.set_forkserver_preload(
    ["genomeconv.train.run", "torch._dynamo", "torch.distributed.fsdp"]
)


def in_world(size: int, job: Callable[..., int | None], *args: Any) -> list[int]:
    """Exit statuses of ``job(*args)`` in so many processes that know of each other.

    They find each other as under torchrun, through a store of the process that starts
    them, at a port that the system has chosen.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    world = world_of(size, store.port)
    ranks = [{**world, "RANK": str(r), "LOCAL_RANK": str(r)} for r in range(size)]
    codes = _run(ranks, job, args)
    del store
    return codes


def world_of(size: int, port: int) -> dict[str, str]:
    """Return the variables by which processes find a store that is not their own."""
    return {
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def in_child(job: Callable[..., int | None], *args: Any) -> int:
    """Exit status of ``job(*args)`` in a process of its own."""
    return _run([{}], job, args)[0]


def _run(
    worlds: list[dict[str, str]], job: Callable[..., int | None], args: Any
) -> list[int]:
    cache = {"GENOMECONV_CACHE": os.environ["GENOMECONV_CACHE"]}
    processes = [
        _CONTEXT.Process(target=_enter, args=({**cache, **world}, job, args))
        for world in worlds
    ]
    for process in processes:
        process.start()
    codes = []
    for process in processes:
        process.join(HANG)
        if process.is_alive():
            process.kill()
            process.join()
        codes.append(process.exitcode)
        process.close()
    return codes


def _enter(
    world: dict[str, str], job: Callable[..., int | None], args: tuple[Any, ...]
) -> None:
    os.environ.update(world)
    from genomeconv.train.report import write as report

    # Processes end here, not machines; and nobody looks at pictures.
    os.fsync = lambda fd: None
    report.find_spec = lambda name: None
    sys.exit(job(*args) or 0)


def quiet(level: str, text: str) -> None:
    """Say nothing."""


class StopAt(Silent):
    """Sends a signal to this process after some steps."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number

    def advance(self, step, bases, metrics):
        if step == self.step:
            os.kill(os.getpid(), self.number)


def training(options: TrainOptions, progress: Any = None) -> int:
    """Train; the signal that stopped it, or the code of the error it ended with.

    What the error says is left beside the run folder, by process.
    """
    try:
        return run_training(options, progress or Silent(), quiet).signal
    except GenomeconvError as error:
        said(options).write_text(str(error))
        return error.exit_code


def said(options: TrainOptions, rank: int | None = None) -> Path:
    """Return where a process has left its error."""
    number = os.environ.get("RANK", "0") if rank is None else rank
    return options.folder.with_name(f"{options.folder.name}.{number}.txt")


def training_in_float64(options: TrainOptions) -> int:
    """Train in float64; no report is made."""
    from genomeconv.train import run

    build = run.build_model
    run.build_model = lambda config, seed: build(config, seed).double()
    run.write_report = lambda **report: None
    return training(options)


def training_compiled(options: TrainOptions) -> int:
    """Train; 70 where the learner was not run as compiled code."""
    from torch._dynamo.utils import counters

    code = training(options)
    return code if counters["stats"]["unique_graphs"] else 70


def training_with_one_batch(options: TrainOptions) -> None:
    """Train wrongly: every process takes the share of the first."""
    from genomeconv.train.engine.batches import Batches

    made = Batches.__init__

    def same(self, sampler, objective, schedule, world, accumulate):
        fake = type(world)(rank=0, size=world.size, device=world.device)
        made(self, sampler, objective, schedule, fake, accumulate)

    Batches.__init__ = same
    run_training(options, Silent(), quiet)


def killed_at(options: TrainOptions, dying: int, step: int) -> int:
    """Train; one of the processes is killed after a step."""
    from genomeconv.train import run

    dies = int(os.environ["RANK"]) == dying
    progress = StopAt(step if dies else -1, signal.SIGKILL)
    run.Silent = lambda: progress
    return training(options, progress)


def stopped_at(options: TrainOptions, one: int, step: int, number: int) -> int:
    """Train; one of the processes gets a signal after a step."""
    from genomeconv.train import run

    progress = StopAt(step if int(os.environ["RANK"]) == one else -1, number)
    run.Silent = lambda: progress
    return training(options, progress)


def parting(options: TrainOptions) -> int:
    """Train; 70 where what exchanges gradients outlives the group of processes."""
    from genomeconv.train.engine import distributed

    made, part = distributed.DistributedDataParallel, dist.destroy_process_group
    kept: list[Any] = []
    alive: list[bool] = []

    def make(*args, **more):
        module = made(*args, **more)
        kept.append(weakref.ref(module))
        return module

    def destroy():
        alive.append(any(ref() is not None for ref in kept))
        part()

    distributed.DistributedDataParallel = make
    dist.destroy_process_group = destroy
    code = training(options)
    return code if len(kept) == 1 and alive == [False] else 70


class Fault:
    """Counts operations on the disk; at number `stop` the process ends, or one fails.

    Parameters
    ----------
    number : int
        Error number to fail with; 0 ends the process, in the middle of a write.
    """

    def __init__(self, stop: int, number: int = 0) -> None:
        self.stop, self.number, self.count = stop, number, 0
        self.open = Path.open
        Path.open = lambda path, *args, **more: self.opened(path, *args, **more)
        for name in ("fsync", "unlink", "rmdir", "mkdir", "rename", "replace"):
            setattr(os, name, self.wrapped(getattr(os, name)))

    def tick(self, write=None, data=b""):
        self.count += 1
        if self.count == self.stop:
            if self.number:
                raise OSError(self.number, os.strerror(self.number))
            if write is not None:
                write(data[: len(data) // 2])
            os._exit(KILLED)

    def wrapped(self, function):
        def call(*args, **more):
            self.tick()
            return function(*args, **more)

        return call

    def opened(self, path, *args, **more):
        file = self.open(path, *args, **more)
        mode = args[0] if args else "r"
        if "r" in mode:
            return file
        self.tick()
        write = file.write

        def ticking(data):
            def half(part):
                write(part)
                file.flush()

            self.tick(half, data)
            return write(data)

        return Writing(file, ticking)


class Writing:
    """A file whose writes are counted."""

    def __init__(self, file, write):
        self.file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def killed_at_write(options: TrainOptions, stop: int) -> None:
    """Train until one operation on the disk."""
    Fault(stop)
    run_training(options, Silent(), quiet)


def full_disk(options: TrainOptions, stop: int) -> int:
    """Exit status of a run on which one operation found the disk full."""
    fault = Fault(stop, errno.ENOSPC)
    try:
        run_training(options, StopAt(4), quiet)
    except StorageError as error:
        return 74 if "No space left" in str(error) else 70
    return 0 if fault.count >= stop else 1
