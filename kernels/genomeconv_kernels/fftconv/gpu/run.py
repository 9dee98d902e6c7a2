"""A plan carried out: from tensors as the operator has them to the launches of a band.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genomeconv_kernels.fftconv.gpu import (
    long,
    overlap_save,
    partitioned,
    short,
    toeplitz,
)
from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Spectrum
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan, Limits, plan_gpu

Filter = Spectrum | Tensor
"""What a band wants of a filter."""

_BANDS = {
    "short": short,
    "toeplitz": toeplitz,
    "overlap_save": overlap_save,
    "partitioned": partitioned,
    "long": long,
}


def plan_for(
    u: Tensor, L: int, K: int, right: int, history: bool, method: str | None
) -> GpuPlan:
    """Plan a convolution of u's rows, L outputs each, on the device of u."""
    B, H, _ = u.shape
    return plan_gpu(
        B, H, L, K, u.dtype,
        right=right, history=history, method=method, limits=Limits.of(u.device),
    )  # fmt: skip


def prepare(plan: GpuPlan, taps: Tensor) -> Filter:
    """Lay taps (H, plan.taps) out for the band."""
    filter_: Filter = _band(plan).prepare(plan, taps)
    return filter_


def cut_taps(plan: GpuPlan, k: Tensor, skip: Tensor | None) -> Tensor:
    """Return the planned taps of k (H, K), float32, skip (H,) added at lag 0."""
    taps = k[:, plan.first_tap : plan.first_tap + plan.taps]
    taps = taps.to(torch.float32, copy=skip is not None)
    if skip is not None:
        taps[:, plan.right] += skip
    return taps.contiguous()


def _made(plan: GpuPlan, k: Tensor, skip: Tensor | None) -> Filter:
    return prepare(plan, cut_taps(plan, k, skip))


def _band(plan: GpuPlan) -> Any:
    return _BANDS[plan.method]


def convolve(plan: GpuPlan, x: Input, k: Filter, y: Output) -> None:
    """Write the convolution into y, which may be uninitialised."""
    if y.out.stride(-1) == 1 or y.out.shape[-1] == 1:
        _band(plan).convolve(plan, x, k, y)
        return
    lined = torch.empty_like(y.out, memory_format=torch.contiguous_format)
    _band(plan).convolve(plan, x, k, y._replace(out=lined))
    y.out.copy_(lined)


def fft_conv(
    u: Tensor,
    k: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    skip: Tensor | None,
    state: Tensor | None,
    right: int,
    method: str | None,
    out: Tensor,
) -> None:
    """Plan, prepare and write y into out (B, H, L)."""
    plan = plan_for(u, u.shape[-1], k.shape[1], right, state is not None, method)
    convolve(plan, Input(u, pre, state), _made(plan, k, skip), Output(out, post))


def fft_conv_backward(
    grad: Tensor,
    u: Tensor,
    k: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    skip: Tensor | None,
    state: Tensor | None,
    right: int,
    method: str | None,
    needs: list[bool],
    grads: list[Tensor],
) -> None:
    """Write the gradients of u, k, pre, post, skip, state where needed.

    Nothing was kept but the inputs: y is computed again, gated by dy instead of post,
    which gives dpost; dx is a convolution of g = post dy with the taps read backwards,
    whose two gated outputs are du and dpre; dskip is dk at lag 0.
    """
    du, dk, dpre, dpost, dskip, dstate = grads
    K, L = k.shape[1], u.shape[-1]
    x, g = Input(u, pre, state), Input(grad, post)
    plan = plan_for(u, L, K, right, state is not None, method)
    if needs[3]:
        convolve(plan, x, _made(plan, k, skip), Output(dpost, grad))
    back = k.flip(-1)
    if needs[0] or needs[2]:
        plan_back = plan_for(u, L, K, K - 1 - right, False, method)
        y = Output(du, pre, dpre, u) if needs[2] else Output(du, pre)
        convolve(
            plan_back,
            g,
            _made(plan_back, back, skip),
            y if needs[0] else Output(dpre, u),
        )
    if needs[5] and K > 1:
        plan_back = plan_for(u, K - 1, K, 0, False, method)
        early = Input(
            _first(grad, K - 1), None if post is None else _first(post, K - 1)
        )
        convolve(plan_back, early, _made(plan_back, back, None), Output(dstate))
    if needs[1] or needs[4]:
        taps = torch.empty(len(k), plan.taps, dtype=torch.float32, device=k.device)
        _band(plan).filter_grad(plan, x, g, taps)
        if needs[1]:
            dk.zero_()
            dk[:, plan.first_tap : plan.first_tap + plan.taps] = taps
        if needs[4]:
            dskip.copy_(taps[:, plan.right])


def _first(t: Tensor, n: int) -> Tensor:
    """Return the first n positions, zeros where there are fewer."""
    return F.pad(t[..., :n], (0, max(n - t.shape[-1], 0)))


def self_test(device: torch.device) -> str | None:
    """Run the one-pass band on a few numbers; return what is wrong, or None."""
    u = torch.linspace(-1, 1, 200, device=device).view(1, 2, 100).cos()
    k = torch.linspace(-2, 2, 32, device=device).view(2, 16).sin()
    out = torch.empty_like(u)
    fft_conv(u, k, None, None, None, None, 0, "overlap_save", out)
    spectrum = torch.fft.rfft(u.double(), 128) * torch.fft.rfft(k.double(), 128)
    wanted = torch.fft.irfft(spectrum, 128)[..., :100]
    error = float((out - wanted).norm() / wanted.norm())
    return None if error < 1e-4 else f"its self-test is off by {error:.1e}"
