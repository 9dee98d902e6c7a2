"""The one door through which kernels are started.

It makes the tensors' device current, keeps programs below the limit of a grid, and
lets the launches of a plan be recorded instead of run: what is compiled ahead of time
is then exactly what would have been launched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch

MAX_PROGRAMS = 2**31 - 1


class Launch(NamedTuple):
    """One launch: kernel, programs, positional arguments, constants and options."""

    kernel: Any
    programs: int
    arguments: tuple[Any, ...]
    options: dict[str, Any]


_recording: ContextVar[list[Launch] | None] = ContextVar("recording", default=None)


@contextlib.contextmanager
def record_launches() -> Iterator[list[Launch]]:
    """Collect the launches made inside, without running them."""
    launches: list[Launch] = []
    token = _recording.set(launches)
    try:
        yield launches
    finally:
        _recording.reset(token)


def launch(kernel: Any, programs: int, *arguments: Any, **options: Any) -> None:
    """Run `programs` programs of a kernel on the current stream of its tensors."""
    launches = _recording.get()
    if launches is not None:
        launches.append(Launch(kernel, programs, arguments, options))
        return
    if programs > MAX_PROGRAMS:
        raise ValueError(f"{programs:,} programs are more than a grid holds")
    device = next(a.device for a in arguments if isinstance(a, torch.Tensor))
    with (
        torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    ):
        kernel[(programs,)](*arguments, **options)
