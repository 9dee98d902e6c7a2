"""The kernels that a run will start, compiled beforehand on all cores.

Triton compiles a kernel when it is first started, one after another: minutes in all.
Here every call is made once on tensors without data, in as many processes as there are
cores, and what it would have launched is compiled into Triton's cache.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genomeconv_kernels.launch import Launch, record_launches

Row = dict[str, Any]


class Problem(NamedTuple):
    """A call of the convolution, forward or backward."""

    dtype: torch.dtype
    B: int
    H: int
    L: int
    K: int
    right: int = 0
    method: str | None = None
    gated: bool = True
    state: bool = False
    backward: bool = False


def compile_rows(machine: Any, problems: list[Problem]) -> Iterator[Row]:
    """Compile the kernels of all problems."""
    if machine.rehearsal:
        yield {"kernels": len(kernels(problems)), "processes": 0}
        return
    shares = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(shares, mp_context=context) as pool:
        jobs = [(problems, first, shares) for first in range(shares)]
        yield {"kernels": sum(pool.map(_compile, jobs)), "processes": shares}


def _compile(job: tuple[list[Problem], int, int]) -> int:
    problems, first, step = job
    mine = kernels(problems)[first::step]
    for launch in mine:
        launch.kernel.warmup(*launch.arguments, grid=(1,), **launch.options)
    return len(mine)


def kernels(problems: Iterable[Problem]) -> list[Launch]:
    """Return one launch of every kernel that the problems start."""
    found: dict[str, Launch] = {}
    for problem in problems:
        with record_launches() as launches:
            _call(problem)
        for launch in launches:
            found.setdefault(_name(launch), launch)
    return list(found.values())


def _call(p: Problem) -> None:
    """Make the call on tensors without data."""
    from genomeconv_kernels.fftconv.gpu import run

    def empty(*shape: int, dtype: torch.dtype = p.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    u, k = empty(p.B, p.H, p.L), empty(p.H, p.K)
    gate = u if p.gated else None
    state = empty(p.B, p.H, p.K - 1) if p.state and p.K > 1 else None
    given = (u, k, gate, gate, None, state, p.right, p.method)
    if not p.backward:
        run.fft_conv(*given, torch.empty_like(u))
        return
    needs = [True, True, p.gated, p.gated, False, state is not None]
    grads = [torch.empty_like(t) for t in (u, k, u, u, k[:, 0])]
    grads.append(empty(p.B, p.H, p.K - 1))
    run.fft_conv_backward(u, *given, needs, grads)


def _name(launch: Launch) -> str:
    """Return what Triton tells kernels apart by."""

    def kind(value: Any) -> object:
        if isinstance(value, Tensor):
            return value.dtype, value.storage_offset() * value.itemsize % 16
        if isinstance(value, int):
            return value == 1, value % 16 == 0, abs(value) >> 31
        return type(value)

    kinds = [kind(value) for value in launch.arguments]
    return f"{launch.kernel} {kinds} {sorted(launch.options.items())}"
