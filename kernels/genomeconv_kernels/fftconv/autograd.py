"""The long convolution as one operator of torch, with its gradients.

Axes: B batch, H channels, L positions, K taps. The path is chosen here: Triton reads
half precision as it is; torch computes in float32 and rounds once.

With g = post * dy, the gradients are convolutions again: dx is g through the filter
read backwards (right turned to K - 1 - right), dstate its part before position 0, dk
the correlation of g with x; then du = pre * dx, dpre = u * dx, dpost = dy * (y without
post), recomputed, and dskip = sum g x.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genomeconv_kernels import backend
from genomeconv_kernels.checks import compute_dtype
from genomeconv_kernels.fftconv.plan import ConvPlan, plan_conv
from genomeconv_kernels.fftconv.prepared import fold_taps, run_filter_grad, run_plan
from genomeconv_kernels.fftconv.source import Source, in_dtype
from genomeconv_kernels.gradients import empty_grads, only_needed
from genomeconv_kernels.layout import empty_as


@torch.library.custom_op("genomeconv::fft_conv", mutates_args=())
def fft_conv_op(
    u: Tensor,
    k: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    skip: Tensor | None,
    state: Tensor | None,
    right: int,
    method: str | None,
) -> Tensor:
    """Return y (B, H, L) in the dtype of u; all arguments checked."""
    out = empty_as(u)
    write(u, k, pre, post, skip, state, right, method, out)
    return out


def write(
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
    """Write y into out (B, H, L) of u's dtype; no gradients."""
    if backend.path(u) == "triton":
        from genomeconv_kernels.fftconv.gpu import run

        run.fft_conv(u, k, pre, post, skip, state, right, method, out)
        return
    u, k, pre, post, skip, state = in_dtype(
        compute_dtype(out.dtype), u, k, pre, post, skip, state
    )
    y = out if out.dtype == u.dtype else torch.empty_like(out, dtype=u.dtype)
    _convolve(Source(u, pre, state), k, skip, post, right, method, y)
    if y is not out:
        out.copy_(y)


def _convolve(
    source: Source,
    k: Tensor,
    skip: Tensor | None,
    post: Tensor | None,
    right: int,
    method: str | None,
    out: Tensor,
) -> None:
    """Plan and write the convolution into out (B, H, L); no gradients."""
    plan = _plan(source, out.shape, k.shape[1], right, method)
    run_plan(plan, source, fold_taps(plan, k, skip), post, out)


def _plan(
    source: Source, shape: torch.Size, K: int, right: int, method: str | None
) -> ConvPlan:
    B, H, L = shape
    return plan_conv(
        B, H, L, K, source.u.dtype,
        right=right, history=source.state is not None, method=method,
    )  # fmt: skip


@fft_conv_op.register_fake
def _(u, k, pre, post, skip, state, right, method):
    return empty_as(u)


@torch.library.custom_op("genomeconv::fft_conv_backward", mutates_args=())
def _fft_conv_backward(
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
) -> list[Tensor]:
    """Gradients of u, k, pre, post, skip, state; empty where not needed."""
    inputs = (u, k, pre, post, skip, state)
    grads = empty_grads(inputs, needs)
    if backend.path(u) == "triton":
        from genomeconv_kernels.fftconv.gpu import run

        run.fft_conv_backward(grad, *inputs, right, method, needs, grads)
        return grads
    work = compute_dtype(u.dtype)
    computed = [g.to(work) for g in grads]
    grad, *given = in_dtype(work, grad, *inputs)
    _torch_backward(grad, given, right, method, needs, computed)
    for g, c in zip(grads, computed, strict=True):
        if c is not g:
            g.copy_(c)
    return grads


def _torch_backward(
    grad: Tensor,
    inputs: list[Any],
    right: int,
    method: str | None,
    needs: list[bool],
    grads: list[Tensor],
) -> None:
    u, k, pre, post, skip, state = inputs
    K = k.shape[1]
    du, dk, dpre, dpost, dskip, dstate = grads
    x, g = Source(u, pre, state), Source(grad, post)
    if needs[3]:
        _convolve(x, k, skip, None, right, method, dpost)
        dpost.mul_(grad)
    # The gradient of the input is the gated gradient through the filter read backwards.
    back = k.flip(-1)
    if needs[0] or needs[2]:
        dx = torch.empty_like(u, memory_format=torch.contiguous_format)
        _convolve(g, back, skip, None, K - 1 - right, method, dx)
        if needs[2]:
            torch.mul(dx, u, out=dpre)
        if needs[0]:
            du.copy_(dx) if pre is None else torch.mul(dx, pre, out=du)
    if needs[5] and K > 1:
        _convolve(g.until(K - 1), back, None, None, 0, method, dstate)
    if needs[1]:
        plan = _plan(x, u.shape, K, right, method)
        dk.zero_()
        kept = torch.empty(len(dk), plan.taps, dtype=dk.dtype, device=dk.device)
        run_filter_grad(plan, x, g, kept)
        dk[:, plan.first_tap : plan.first_tap + plan.taps] = kept
    if needs[4]:
        gated = u if pre is None else u * pre
        back_gated = grad if post is None else grad * post
        torch.sum(gated * back_gated, (0, 2), out=dskip)


@_fft_conv_backward.register_fake
def _(grad, u, k, pre, post, skip, state, right, method, needs):
    return empty_grads((u, k, pre, post, skip, state), needs)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.right, ctx.method = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad[:6])
    grads = _fft_conv_backward(grad, *ctx.saved_tensors, ctx.right, ctx.method, needs)
    return (*only_needed(grads, needs), None, None)


fft_conv_op.register_autograd(_backward, setup_context=_setup)
