"""Where a job runs: device, kernels, a tile that fits, and what can go wrong."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import torch

from genomeconv.config import ModelConfig
from genomeconv.errors import DeviceError
from genomeconv.stream import TilePlan, TrunkStream, plan_tiles
from genomeconv_kernels import backend

Notify = Callable[[str, str], None]

_LOST = re.compile(r"CUDA error|CUDA driver|HIP error|device-side assert|cuDNN error")

_HALVINGS = 6
"""How often the tile is halved before giving up: a sixty-fourth, then no GPU helps."""


def resolve_device(name: str) -> torch.device:
    """Return the device asked for; "auto" takes a GPU where there is one.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise DeviceError(
                f"--device {name}: this machine has {count or 'no'} CUDA "
                f"device{'' if count == 1 else 's'}; use --device cpu or auto"
            )
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return the device's kind and, for a GPU, its model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return str(device)


@contextlib.contextmanager
def kernels(
    choice: backend.Choice, device: torch.device, notify: Notify
) -> Iterator[str]:
    """Take one path of convolutions inside; yield its name for the record.

    Raises
    ------
    DeviceError
        "triton" was asked for and cannot run on the device.
    """
    path, reason = "torch", None
    if choice != "torch" and (device.type == "cuda" or choice == "triton"):
        reason = backend.why_not(device)
        path = "torch" if reason else "triton"
    if reason and choice == "triton":
        raise DeviceError(
            f"--kernels triton: they cannot run on {device}: {reason}; use --kernels "
            "auto"
        )
    if reason:
        notify("warning", f"convolutions run through torch, slower: {reason}")
    with backend.forced("triton" if path == "triton" else "torch"):
        yield f"torch ({reason})" if reason else path


def fit_tile(
    config: ModelConfig,
    layers: int | None,
    device: torch.device,
    make: Callable[[TilePlan], TrunkStream],
    notify: Notify,
) -> TrunkStream:
    """Return an engine whose tile fits the device's memory, tried with one tile.

    Raises
    ------
    DeviceError
        Not even the smallest fits.
    """
    for halvings in range(_HALVINGS + 1):
        gpu = device.type == "cuda"
        engine = make(plan_tiles(config, layers, gpu=gpu, halvings=halvings))
        if not gpu:
            return engine
        tile, wanted = engine.plan.tile, engine.memory()
        try:
            engine.rehearse()
        except torch.cuda.OutOfMemoryError:
            del engine
            torch.cuda.empty_cache()
            continue
        if halvings:
            text = f"tiles of {tile:,} bases; longer ones do not fit the GPU's memory"
            notify("warning", text)
        return engine
    raise DeviceError(
        f"{device_name(device)}: even a tile of {tile:,} bases, about {wanted:,} "
        "bytes, does not fit its memory; use --device cpu"
    )


@contextlib.contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Turn what a GPU can do to a run into one line.

    Raises
    ------
    DeviceError
        It ran out of memory, or is lost.
    """
    kept = "what was committed is kept; run the same command again"
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise DeviceError(
            f"{device_name(device)} ran out of memory, which another job may hold: "
            f"{kept}"
        ) from None
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        line = str(error).strip().splitlines()[0]
        raise DeviceError(f"{device} failed ({line}): {kept}") from error
