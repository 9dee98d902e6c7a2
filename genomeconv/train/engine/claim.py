"""What is looked at before anything is read: the machine, and the run folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genomeconv.errors import CannotCreateError, ModelError
from genomeconv.store.lock import Lock
from genomeconv.train.config import TrainConfig
from genomeconv.train.engine.distributed import World
from genomeconv.train.folder.record import RECORD
from genomeconv.weights.manifest import NAME


def check_machine(config: TrainConfig, world: World) -> None:
    """Refuse what these processes cannot do.

    Raises
    ------
    ModelError
        The windows of a step cannot be shared out, nothing can compile, or the name
        is none.
    """
    _check_name(config.card.name)
    _check_shares(config, world)
    _check_compiler(config, world)


def _check_name(name: str) -> None:
    if name and not NAME.fullmatch(name):
        raise ModelError(
            f"config: card.name must be letters, digits, '.', '_' and '-', got {name!r}"
        )


def _check_compiler(config: TrainConfig, world: World) -> None:
    """Refuse to compile for a CPU where torch would find no compiler."""
    compiler = os.environ.get("CXX", "g++")
    on_cpu = config.compute.compile and world.device.type == "cpu"
    if on_cpu and shutil.which(compiler) is None:
        raise ModelError(
            f"config: compute.compile needs a C++ compiler, there is no {compiler}; "
            "install one, or name it in CXX"
        )


def _check_shares(config: TrainConfig, world: World) -> None:
    """Refuse windows of a step that cannot be shared out."""
    parts = world.teams * config.optimiser.accumulate
    teams = "processes" if world.context == 1 else f"teams of {world.context} processes"
    if config.data.windows % parts:
        raise ModelError(
            f"config: data.windows must be a multiple of {parts} ({world.teams} "
            f"{teams} x optimiser.accumulate {config.optimiser.accumulate}), got "
            f"{config.data.windows}"
        )


@contextmanager
def claimed(folder: Path, resume: bool, break_lock: bool) -> Iterator[None]:
    """Hold a run folder: one run at a time, and none over another.

    Parameters
    ----------
    folder : Path
        Made if it is missing; removed again if nothing came to be in it.
    resume : bool
        Whether it may hold a run.
    break_lock : bool
        Take it also from a holder that cannot be checked from here.

    Raises
    ------
    CannotCreateError
        It holds a run or anything else, or cannot be made.
    LockedError
        Another process holds it.
    """
    if not (resume and (folder / RECORD).exists()):
        _check_new(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotCreateError(
            f"{folder}: cannot be made: {error.strerror}; choose another with -o"
        ) from None
    lock = Lock(folder / ".lock", folder)
    lock.acquire(break_lock=break_lock)
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # it is empty only where nothing came to be
            folder.rmdir()


def _check_new(folder: Path) -> None:
    """Refuse a folder that a new run cannot have.

    Raises
    ------
    CannotCreateError
        It holds a run or anything else, or the folder above is missing.
    """
    if not folder.parent.is_dir():
        raise CannotCreateError(
            f"{folder}: the folder {folder.parent} does not exist; make it first"
        )
    if (folder / RECORD).exists():
        raise CannotCreateError(
            f"{folder}: holds a run; add --resume to go on with it, or choose another "
            "folder with -o"
        )
    if folder.exists() and not folder.is_dir():
        raise CannotCreateError(f"{folder}: is a file; choose another folder with -o")
    if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise CannotCreateError(
            f"{folder}: exists and is not a run; choose another folder with -o"
        )
