"""Which path a call takes: the Triton kernels, or torch.

Triton runs on GPUs that its self-test passes on; everything else is torch. The choice
is made once a device, before numbers are made, so that one run never mixes paths.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Choice = Literal["auto", "triton", "torch"]
Path = Literal["triton", "torch"]
CHOICES: tuple[Choice, ...] = ("auto", "triton", "torch")
OLDEST = (8, 0)  # compute capability: the first with bfloat16 on tensor cores

_choice: Choice = "auto"


def select(choice: Choice) -> None:
    """Set the path for this process: "auto", or "triton" or "torch" by force.

    Raises
    ------
    ValueError
        For any other word.
    """
    global _choice
    if choice not in CHOICES:
        wanted = ", ".join(map(repr, CHOICES))
        raise ValueError(f"select: choice must be one of {wanted}, got {choice!r}")
    _choice = choice


@contextlib.contextmanager
def forced(choice: Choice) -> Iterator[None]:
    """Take one path inside, whatever is there; then the one before."""
    before = _choice
    select(choice)
    try:
        yield
    finally:
        select(before)


def path(tensor: Tensor) -> Path:
    """Return the path for work on this tensor; float64 is torch's.

    Raises
    ------
    RuntimeError
        Triton was asked for by force and cannot run there; it says why.
    """
    if _choice == "torch" or tensor.dtype == torch.float64:
        return "torch"
    if _choice == "auto" and tensor.device.type != "cuda":
        return "torch"
    reason = why_not(tensor.device)
    if reason is None:
        return "triton"
    if _choice == "triton":
        where = tensor.device
        raise RuntimeError(f"the Triton kernels cannot run on {where}: {reason}")
    _warn(f"convolutions on {tensor.device} run through torch, slower: {reason}")
    return "torch"


@lru_cache(maxsize=16)
def why_not(device: torch.device) -> str | None:
    """Return why the Triton kernels cannot run on a device; None: they can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if device.type != "cuda":
        return "they need a GPU"
    major_minor = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and major_minor < OLDEST:
        old, least = (".".join(map(str, v)) for v in (major_minor, OLDEST))
        return f"its compute capability is {old}, at least {least} is needed"
    try:
        from genomeconv_kernels.fftconv.gpu.run import self_test

        return self_test(device)
    except Exception as error:  # a compiler, a driver, a cache folder: all end here
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"the first kernel did not run ({line})"


@lru_cache(maxsize=16)
def _warn(text: str) -> None:
    """Warn once a process."""
    warnings.warn(text, RuntimeWarning, stacklevel=4)
