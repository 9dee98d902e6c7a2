"""The processes of a run: one, or several that torchrun started.

Each process takes a share of every global batch; where sequences are split, a team of
processes does, each a stretch of its sequences. What all must agree on, counts, losses
and the wish to stop, is summed over them in float64.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from genomeconv.errors import DeviceError, ModelError, UsageError
from genomeconv.train.config import ComputeConfig
from genomeconv.train.engine.context import Stretches

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class World:
    """One process among the others."""

    rank: int
    size: int
    device: torch.device
    context: int = 1
    """Processes of a team, which share their sequences."""
    stretches: Stretches | None = None
    """This team; None where every process has whole sequences."""

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    @property
    def teams(self) -> int:
        """How many shares a batch is cut into."""
        return self.size // self.context

    @property
    def team(self) -> int:
        """Which of the shares is this process's."""
        return self.rank // self.context

    def stretch(self, length: int) -> slice:
        """Return which of so many positions are this process's."""
        own = length // self.context
        place = self.rank % self.context
        return slice(place * own, (place + 1) * own)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of some numbers over all processes, in float64."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return list(map(float, total.tolist()))

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with its gradients averaged over the processes.

        It has to be gone before the processes part: were its reducer the last to hold
        the process group, taking that down would wait for a thread that waits for the
        interpreter's lock.
        """
        if self.size == 1:
            return module
        return DistributedDataParallel(module)


@contextlib.contextmanager
def joined(config: ComputeConfig) -> Iterator[World]:
    """Join the processes of torchrun, or be the only one.

    Raises
    ------
    DeviceError
        The device is not there, or another process of the run is gone.
    ModelError
        The processes do not make whole teams.
    UsageError
        Some variables of torchrun are set and some are not.
    """
    set_ = [name for name in _VARIABLES if name in os.environ]
    if "RANK" not in set_ and "WORLD_SIZE" not in set_:
        _check_teams(config, 1)
        yield World(rank=0, size=1, device=device_of(config.device, 0))
        return
    if missing := [name for name in _VARIABLES if name not in set_]:
        raise UsageError(
            f"RANK or WORLD_SIZE is set but not {', '.join(missing)}; start several "
            "processes with torchrun"
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = device_of(config.device, local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=config.timeout)
    with _peers():
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", timeout=timeout
        )
        rank, size = dist.get_rank(), dist.get_world_size()
        _check_teams(config, size)
        yield World(
            rank=rank,
            size=size,
            device=device,
            context=config.context,
            stretches=_team_of(rank, size, config.context),
        )
    # Not after an error: taking a broken group down would wait for the dead.
    dist.destroy_process_group()


def _check_teams(config: ComputeConfig, size: int) -> None:
    if size % config.context:
        raise ModelError(
            f"config: compute.context = {config.context} needs a multiple of "
            f"{config.context} processes, there {'is' if size == 1 else 'are'} {size}; "
            f"start them with torchrun --nproc-per-node {config.context}"
        )


def _team_of(rank: int, size: int, context: int) -> Stretches | None:
    """Return the team of a process; all processes make all teams, in one order."""
    if context == 1:
        return None
    groups = [
        dist.new_group(list(range(first, first + context)))
        for first in range(0, size, context)
    ]
    return Stretches(groups[rank // context], rank % context, context)


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Say in our words that another process is gone, or did not answer in time."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, dist.DistError) and not any(
            word in text.lower() for word in ("gloo", "nccl", "connection", "timed out")
        ):
            raise
        rank = os.environ["RANK"]
        first = re.sub(r"^\[[^]]*\] |\. .*", "", text.partition("\n")[0])
        raise DeviceError(
            f"process {rank}: another process of this run is gone or silent "
            f"({first or type(error).__name__}); --resume continues from the last "
            "checkpoint"
        ) from error


def device_of(name: str, local: int) -> torch.device:
    """Return the device of this process; "auto" takes a GPU where there is one."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, _, index = name.partition(":")
    if kind == "cpu" or (kind == "auto" and not count):
        return torch.device("cpu")
    number = int(index) if index else local
    if number >= count:
        raise DeviceError(
            f"compute.device = {name!r}: this machine has {count or 'no'} CUDA "
            f'device{"" if count == 1 else "s"}, number {number} was wanted; use "cpu" '
            'or "auto"'
        )
    return torch.device("cuda", number)
