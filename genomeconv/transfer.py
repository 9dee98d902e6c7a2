"""Copies between host and device that do not make one wait for the other.

On a CPU nothing is copied. On a GPU uploads go through pinned memory, which torch keeps
from being used again too early, and results are fetched one step late: while the host
takes those of one tile the device already runs the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return the array as a tensor on a device, without waiting for it."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetch_late(parts: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    """Yield numbered tensors on the host, on a GPU each when the next has begun."""
    waiting: tuple[int, Tensor, torch.cuda.Event] | None = None
    for number, tensor in parts:
        if tensor.device.type != "cuda":
            yield number, tensor
            continue
        begun = (number, *_begin_fetch(tensor))
        if waiting is not None:
            yield _fetched(*waiting)
        waiting = begun
    if waiting is not None:
        yield _fetched(*waiting)


def _begin_fetch(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(tensor.device))
    return host, event


def _fetched(number: int, host: Tensor, event: torch.cuda.Event) -> tuple[int, Tensor]:
    event.synchronize()
    return number, host
