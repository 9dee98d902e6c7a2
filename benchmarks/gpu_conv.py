"""How fast the long convolution is: over lengths, taps, bands, beside torch.

Axes: B batch, H channels, N positions, K taps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gpu_compile import Problem
from torch import Tensor
from torch.nn import functional as F

from genomeconv_kernels import fft_conv, prepare_filter
from genomeconv_kernels.fftconv.gpu import roofline
from genomeconv_kernels.fftconv.gpu.limits import METHODS, CrossOvers, Reach
from genomeconv_kernels.fftconv.gpu.plan import plan_gpu

Row = dict[str, Any]

LENGTHS = [1 << n for n in (20, 15, 12, 22, 10, 17, 8, 13, 14, 21)]
TAPS = (4, 128, 1 << 10, 1 << 12, 1 << 14, 1 << 16)
CHANNELS = 256
ELEMENTS = 1 << 28
"""B H N of a measurement: 0.5 GB in 16 bits, far beyond any cache."""
CONV1D_TAPS = 128
"""Most taps torch's direct convolution is timed with: beyond, it takes seconds."""


class Case(NamedTuple):
    """One convolution that is measured."""

    dtype: torch.dtype
    B: int
    H: int
    N: int
    K: int
    gated: bool
    backward: bool


def cases(machine: Any) -> list[Case]:
    """Return all cases, those that matter most first."""
    if machine.rehearsal:
        small = [(256, 4), (256, 128), (256, 256)]
        return [
            Case(torch.bfloat16, 1, 2, n, k, gated, backward)
            for n, k in small
            for gated in (True, False)
            for backward in (False, True)
        ]
    found = [
        Case(dtype, *_rows(n, machine.memory), n, k, gated, backward)
        for dtype in (torch.bfloat16, torch.float32, torch.float16)
        for backward in (False, True)
        for gated in (True, False)
        for n in LENGTHS
        for k in (n, *(k for k in TAPS if k < n))
    ]
    return [case for case in found if case.dtype == torch.bfloat16 or case.N == 1 << 20]


def _rows(N: int, memory: int) -> tuple[int, int]:
    """Return (B, H) of about ELEMENTS elements, fewer where memory is short."""
    rows = max(min(ELEMENTS, memory // 256) // N, 1)
    return max(rows // CHANNELS, 1), min(rows, CHANNELS)


def problems(machine: Any) -> list[Problem]:
    """Return what the sections of this file call, for the compiler."""
    found = [
        Problem(
            case.dtype, case.B, case.H, case.N, case.K,
            gated=case.gated, backward=case.backward,
        )
        for case in cases(machine)
    ]  # fmt: skip
    N, H, counts = _sweep(machine)
    for dtype in (torch.bfloat16, torch.float32):
        found += [
            Problem(dtype, 1, H, N, K, method=method)
            for K in counts
            for method in METHODS
            if _takes(machine, dtype, H, N, K, method)
        ]
    return found


def convolution_rows(machine: Any) -> Iterator[Row]:
    """Measure every case beside torch.fft, torch's conv1d and the floor."""
    ceilings = machine.ceilings()
    baselines: dict[object, float | None] = {}
    for case in cases(machine):
        try:
            yield _convolution_row(machine, case, ceilings, baselines)
        except (torch.OutOfMemoryError, RuntimeError, ValueError) as why:
            yield {**_fields(case), "error": str(why).splitlines()[0][:200]}
        machine.wait()


def _fields(case: Case) -> Row:
    return {
        "N": case.N, "K": case.K, "B": case.B, "H": case.H,
        "dtype": str(case.dtype).removeprefix("torch."),
        "gated": case.gated, "pass": "backward" if case.backward else "forward",
    }  # fmt: skip


def _convolution_row(
    machine: Any,
    case: Case,
    ceilings: roofline.Device,
    baselines: dict[object, float | None],
) -> Row:
    plan = plan_gpu(case.B, case.H, case.N, case.K, case.dtype, limits=machine.limits)
    shape = roofline.Shape(case.B, case.H, case.N, case.dtype.itemsize)
    model = roofline.backward if case.backward else roofline.forward
    work = model(plan, shape, pre=case.gated, post=case.gated)
    least = roofline.floor(work, plan, ceilings)
    memory = shape.elements * shape.itemsize * (4 if case.gated else 2)
    calls = [_call(case, machine.device) for _ in range(_copies(machine, case))]
    timed = machine.times(calls, 0.12)
    peak = machine.peak(calls[0])
    del calls
    machine.wait()
    full = _baseline(machine, case, baselines)
    return {
        **_fields(case),
        "method": plan.method, "points": plan.fft_size, "block": plan.block,
        "ms": timed.ms, "ms low": timed.low, "ms high": timed.high,
        "repeats": timed.repeats,
        "GB/s": work.bytes / timed.ms / 1e6,
        "TFLOP/s": work.flops / timed.ms / 1e9,
        "floor ms": 1e3 * memory / ceilings.bytes_per_s * (3 if case.backward else 1),
        "plan's floor ms": 1e3 * least.seconds, "bound": least.bound,
        "ps per point": 1e9 * timed.ms / shape.elements,
        "peak MB": peak / 1e6,
        "torch.fft ms": full, "speed-up": full and full / timed.ms,
        "conv1d ms": _conv1d(machine, case),
    }  # fmt: skip


def _copies(machine: Any, case: Case) -> int:
    """Return how many sets of tensors reach beyond the cache."""
    held = case.B * case.H * case.N * case.dtype.itemsize * (4 if case.gated else 2)
    return min(max(2 * machine.cache // held, 1), 16)


def _tensors(case: Case, device: torch.device) -> dict[str, Tensor]:
    signal = (case.B, case.H, case.N)
    names = ("u", "pre", "post") if case.gated else ("u",)
    given = {n: torch.randn(signal, device=device, dtype=case.dtype) for n in names}
    taps = torch.randn(case.H, case.K, device=device) / case.K**0.5
    return {**given, "k": taps.to(case.dtype)}


def _call(case: Case, device: torch.device) -> Callable[[], Any]:
    """Return a call on tensors of its own: forward prepared, backward from taps."""
    given = _tensors(case, device)
    if case.backward:
        leaves = {name: t.requires_grad_() for name, t in given.items()}
        y = fft_conv(**leaves)
        return _gradients(y, leaves)
    k = prepare_filter(
        given.pop("k"), length=case.N, history=False, batch=case.B, dtype=case.dtype
    )
    out = torch.empty_like(given["u"])
    return partial(fft_conv, k=k, **given, out=out)


def _gradients(y: Tensor, leaves: dict[str, Tensor]) -> Callable[[], Any]:
    dy = torch.randn_like(y)
    wanted = list(leaves.values())
    return lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)


def _baseline(
    machine: Any, case: Case, kept: dict[object, float | None]
) -> float | None:
    """Return ms of one real transform of 2 N points in float32, measured once a shape.

    It does not depend on the taps; None where memory does not hold it.
    """
    key = case._replace(dtype=torch.float32, K=case.N)
    if key not in kept:
        try:
            leaves = _tensors(key, machine.device)
            if case.backward:
                leaves = {name: t.requires_grad_() for name, t in leaves.items()}
                call = _gradients(full_length(**leaves), leaves)
            else:
                call = partial(full_length, **leaves)
            kept[key] = machine.times([call], 0.06).ms
        except torch.OutOfMemoryError:
            kept[key] = None
        machine.wait()
    return kept[key]


def full_length(
    u: Tensor, k: Tensor, pre: Tensor | None = None, post: Tensor | None = None
) -> Tensor:
    """Convolve as most published code does, gates apart."""
    points = 2 * u.shape[-1]
    x = u if pre is None else u * pre
    spectrum = torch.fft.rfft(x, n=points) * torch.fft.rfft(k, n=points)
    y = torch.fft.irfft(spectrum, n=points)[..., : u.shape[-1]]
    return y if post is None else y * post


def _conv1d(machine: Any, case: Case) -> float | None:
    """Return ms of torch's depthwise conv1d, where it applies."""
    if case.backward or case.gated or case.K > CONV1D_TAPS:
        return None
    given = _tensors(case, machine.device)
    k = given["k"].flip(-1)[:, None]
    call = partial(F.conv1d, given["u"], k, padding=case.K - 1, groups=case.H)
    ms = machine.times([call], 0.02).ms
    machine.wait()
    return ms


def crossover_rows(machine: Any, folder: Path) -> Iterator[Row]:
    """Force every band at every number of taps; write where one overtakes another."""
    rows: list[Row] = []
    N, H, counts = _sweep(machine)
    for dtype in (torch.bfloat16, torch.float32):
        u = torch.randn(1, H, N, device=machine.device, dtype=dtype)
        for K in counts:
            for method in METHODS:
                if _takes(machine, dtype, H, N, K, method):
                    name = str(dtype).removeprefix("torch.")
                    ms = _forced(machine, u, K, method)
                    rows.append({"dtype": name, "K": K, "method": method, "ms": ms})
                    yield rows[-1]
    table = crossovers(rows, machine.describe()["gpu"])
    table.write(folder / "crossovers.json")


def _sweep(machine: Any) -> tuple[int, int, list[int]]:
    """Return (N, H, numbers of taps): two an octave, all that few taps may be."""
    if machine.rehearsal:
        return 256, 1, [4, 64]
    few, many = range(4, 17, 4), (int(2 ** (n / 2)) for n in range(8, 35))
    return 1 << 20, 64, sorted({*few, *many})


def _takes(
    machine: Any, dtype: torch.dtype, H: int, N: int, K: int, method: str
) -> bool:
    """Whether a band is tried at so many taps: far from its own it takes seconds."""
    least = {"overlap_save": 32, "partitioned": 512, "long": 256}
    if least.get(method, 0) > K and not machine.rehearsal:
        return False
    try:
        plan_gpu(1, H, N, K, dtype, method=method, limits=machine.limits)
    except ValueError:
        return False
    return True


def _forced(machine: Any, u: Tensor, K: int, method: str) -> float:
    """Return ms of a gated convolution in a band."""
    _, H, N = u.shape
    k = torch.randn(H, K, device=u.device) / K**0.5
    ready = prepare_filter(
        k.to(u.dtype), length=N, history=False, dtype=u.dtype, method=method
    )
    out = torch.empty_like(u)
    call = partial(fft_conv, u, ready, pre=u, post=u, out=out)
    return float(machine.times([call], 0.02).ms)


def crossovers(rows: list[Row], gpu: str) -> CrossOvers:
    """Return the table that measured rows give.

    A band reaches to the largest number of taps at which it, or a band before it, was
    the fastest.
    """
    reaches = {}
    for operand, dtype in (("float16", "bfloat16"), ("float32", "float32")):
        best: dict[int, Row] = {}
        for row in rows:
            if row["dtype"] == dtype:
                best[row["K"]] = min(
                    best.get(row["K"], row), row, key=lambda found: found["ms"]
                )
        reach, most = {}, 0
        for method in METHODS[:-1]:
            taken = [K for K, row in best.items() if row["method"] == method]
            most = max([most, *taken])
            reach[method] = most
        reaches[operand] = Reach(**reach)
    return CrossOvers(source=f"measured on {gpu}", **reaches)
