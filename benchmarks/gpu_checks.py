"""Whether the kernels are right on this device: against float64, repeated, captured.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from gpu_compile import Problem
from torch import Tensor

from genomeconv_kernels import (
    FrequencyMask,
    fft_conv,
    prepare_filter,
    sparse_fft_conv,
)
from genomeconv_kernels.fftconv.gpu.limits import METHODS

Row = dict[str, Any]

TOLERANCE = {torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float16: 2e-3}
"""Largest relative L2 error of any channel of any output or gradient."""


class Case(NamedTuple):
    """A convolution in a band; all gates, skip and, if causal, a state."""

    method: str | None
    B: int
    H: int
    L: int
    K: int
    right: int = 0


CASES = [
    Case("short", 2, 5, 10_007, 4),
    Case("short", 2, 5, 10_007, 7, 3),
    Case("toeplitz", 2, 5, 10_007, 129),
    Case("toeplitz", 2, 5, 10_007, 255, 100),
    Case("overlap_save", 2, 5, 10_007, 300),
    Case("overlap_save", 2, 5, 100_003, 1024, 512),
    Case("overlap_save", 1, 3, 100_003, 2000),
    Case("partitioned", 2, 5, 100_003, 9000),
    Case("partitioned", 1, 3, 100_003, 20_000, 9_999),
    Case("long", 2, 5, 100_003, 70_000),
    Case("long", 1, 3, 1 << 20, 1 << 20),
    Case(None, 1, 2, (1 << 22) - 1, 1 << 20, 1 << 19),
]
SMALL = [
    Case("short", 1, 2, 300, 4),
    Case("toeplitz", 1, 1, 300, 40, 5),
    Case("overlap_save", 1, 1, 300, 60),
    Case("partitioned", 1, 1, 300, 200),
    Case("long", 1, 1, 300, 300),
]


def problems(machine: Any) -> list[Problem]:
    """Return what the sections of this file call, for the compiler."""
    return [
        Problem(
            dtype, case.B, case.H, case.L, case.K, case.right, case.method,
            state=not case.right, backward=backward,
        )
        for dtype in TOLERANCE
        for case in [*_cases(machine), *_bands(machine)]
        for backward in (False, True)
    ]  # fmt: skip


def _cases(machine: Any) -> list[Case]:
    return SMALL if machine.rehearsal else CASES


def correctness_rows(machine: Any) -> Iterator[Row]:
    """Compare outputs and all gradients with float64, every band and type."""
    yield far_row(machine)
    yield sparse_row(machine)
    for dtype, most in TOLERANCE.items():
        for case in _cases(machine):
            errors = gradient_errors(case, dtype, machine.device)
            worst = max(errors, key=lambda name: errors[name])
            yield {
                **case._asdict(),
                "dtype": str(dtype).removeprefix("torch."),
                "worst": worst,
                "error": errors[worst],
                "correct": errors[worst] <= most,
            }
            machine.wait()


def gradient_errors(
    case: Case, dtype: torch.dtype, device: torch.device
) -> dict[str, float]:
    """Return the error of y and of each gradient, the largest of any channel."""
    given, dy = tensors(case, dtype, device)
    ours = outputs(given, dy, case, truth=False)
    wanted = outputs(
        {n: t.double() for n, t in given.items()}, dy.double(), case, truth=True
    )
    return {name: error(ours[name], wanted[name]) for name in wanted}


def tensors(
    case: Case, dtype: torch.dtype, device: torch.device
) -> tuple[dict[str, Tensor], Tensor]:
    """Return fresh random arguments and a gradient; taps do not decay."""
    signal = (case.B, case.H, case.L)

    def new(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    given = {name: new(*signal) for name in ("u", "pre", "post")}
    given["k"] = (torch.randn(case.H, case.K, device=device) / case.K**0.5).to(dtype)
    given["skip"] = new(case.H)
    if not case.right and case.K > 1:
        given["state"] = new(case.B, case.H, case.K - 1)
    return given, new(*signal)


def outputs(
    given: dict[str, Tensor], dy: Tensor, case: Case, *, truth: bool
) -> dict[str, Tensor]:
    """Return y and the gradients of everything given."""
    leaves = {name: t.detach().requires_grad_() for name, t in given.items()}
    if truth:
        y = exact(**leaves, right=case.right)
    else:
        y = fft_conv(**leaves, right=case.right, method=case.method)
    grads = torch.autograd.grad(y, list(leaves.values()), dy)
    return {"y": y.detach(), **dict(zip(leaves, grads, strict=True))}


def exact(
    u: Tensor,
    k: Tensor,
    pre: Tensor,
    post: Tensor,
    skip: Tensor,
    state: Tensor | None = None,
    *,
    right: int = 0,
) -> Tensor:
    """Return the operation by one transform of everything, in the type given."""
    x, L = u * pre, u.shape[-1]
    past = k.shape[-1] - 1 if state is None else state.shape[-1]
    before = x.new_zeros(*x.shape[:2], past) if state is None else state
    points = past + L + k.shape[-1]
    spectrum = torch.fft.rfft(torch.cat([before, x], -1), n=points)
    y = torch.fft.irfft(spectrum * torch.fft.rfft(k, n=points), n=points)
    return post * (y[..., past + right :][..., :L] + skip[:, None] * x)


def error(got: Tensor, wanted: Tensor) -> float:
    """Return the largest relative L2 error of a channel; NaN counts as infinite."""
    got, wanted = got.double(), wanted.double()
    if wanted.dim() == 1:
        got, wanted = got[None], wanted[None]
    off = (got - wanted).norm(dim=-1) / wanted.norm(dim=-1).clamp_min(1e-300)
    return float(off.nan_to_num(float("inf")).max())


def far_row(machine: Any) -> Row:
    """Compare the last channel of a tensor of more than 2^31 elements."""
    H, L = (3, 500) if machine.rehearsal else (2112, 1 << 20)
    u = torch.randn(H, 1 << 10, device=machine.device).bfloat16()
    u = u.repeat(1, -(-L // u.shape[1]))[None, :, :L]
    k = torch.randn(H, 64, device=machine.device).bfloat16() / 8
    y = fft_conv(u, k, method="overlap_save")
    one = torch.ones_like(u[:, -1:]).double()
    wanted = exact(u[:, -1:].double(), k[-1:].double(), one, one, one.new_zeros(1))
    off = error(y[:, -1:], wanted)
    machine.wait()
    return {
        "method": "overlap_save", "B": 1, "H": H, "L": L, "K": 64, "right": 0,
        "dtype": "bfloat16", "worst": "last channel", "error": off,
        "correct": off <= TOLERANCE[torch.bfloat16],
    }  # fmt: skip


def sparse_row(machine: Any) -> Row:
    """Compare a frequency-sparse convolution, and all its gradients, with torch's."""
    F, L = (256, 300) if machine.rehearsal else (4096, 100_003)
    case = Case("overlap_save", 2, 5, L, 100)
    given, dy = tensors(case, torch.bfloat16, machine.device)
    del given["skip"], given["state"]
    mask = FrequencyMask.low_pass(F, 2)
    found = []
    for dtype in (torch.bfloat16, torch.float64):
        leaves = {n: t.to(dtype).requires_grad_() for n, t in given.items()}
        y = sparse_fft_conv(mask=mask, **leaves)
        found.append(
            [y.detach(), *torch.autograd.grad(y, leaves.values(), dy.to(dtype))]
        )
    errors = [error(got, wanted) for got, wanted in zip(*found, strict=True)]
    machine.wait()
    return {
        **case._asdict(), "method": "sparse", "dtype": "bfloat16",
        "worst": ["y", *given][errors.index(max(errors))], "error": max(errors),
        "correct": max(errors) <= TOLERANCE[torch.bfloat16],
    }  # fmt: skip


def _bands(machine: Any) -> list[Case]:
    """Return one case a band."""
    cases = SMALL if machine.rehearsal else [c._replace(L=1 << 17) for c in CASES]
    return [next(case for case in cases if case.method == m) for m in METHODS]


def determinism_rows(machine: Any) -> Iterator[Row]:
    """Repeat each band; every bit must be that of the first time."""
    forwards, backwards = (2, 2) if machine.rehearsal else (250, 50)
    for case in _bands(machine):
        given, dy = tensors(case, torch.bfloat16, machine.device)
        with torch.no_grad():
            calls = (
                fft_conv(**given, right=case.right, method=case.method)
                for _ in range(forwards)
            )
            first = next(calls)
            same = all(torch.equal(first, again) for again in calls)
        one = outputs(given, dy, case, truth=False)
        for _ in range(backwards - 1):
            more = outputs(given, dy, case, truth=False)
            same = same and all(torch.equal(one[n], more[n]) for n in one)
        yield {
            "method": case.method, "forward": forwards, "backward": backwards,
            "same bits": same,
        }  # fmt: skip
        machine.wait()


def capture_rows(machine: Any) -> Iterator[Row]:
    """Capture each band in a graph and compile it as one operator of torch."""
    for case in _bands(machine):
        given, _ = tensors(case, torch.bfloat16, machine.device)
        fresh, _ = tensors(case, torch.bfloat16, machine.device)
        given.pop("state", None)  # kept out of the graph: it changes every call
        ready = prepare_filter(
            given.pop("k"), length=case.L, skip=given.pop("skip"),
            right=case.right, method=case.method, batch=case.B,
        )  # fmt: skip
        out = torch.empty_like(given["u"])

        def call(
            given: dict[str, Tensor] = given, k: Any = ready, out: Tensor = out
        ) -> None:
            fft_conv(k=k, **given, out=out)

        with machine.captured(call) as replay:
            for name, held in given.items():
                held.copy_(fresh[name])
            replay()
            captured = out.clone()
        call()
        yield {
            "method": case.method,
            "graph": torch.equal(captured, out),
            "compiled": _compiles(machine, case, fresh),
        }


def _compiles(machine: Any, case: Case, given: dict[str, Tensor]) -> bool:
    """Whether a compiled function is one graph and gives the same bits."""

    def step(given: dict[str, Tensor]) -> Tensor:
        return fft_conv(**given, right=case.right, method=case.method) + 1

    whole = torch.compile(step, fullgraph=True, backend=machine.compiler)
    return torch.equal(whole(given), step(given))
