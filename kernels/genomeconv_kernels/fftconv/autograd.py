"""The long convolution as one operator of torch, with its gradients.

Axes: B batch, H channels, L positions, K taps.

With g = post * dy, the gradients are convolutions again: dx is g through the filter
read backwards (right turned to K - 1 - right), dstate its part before position 0, dk
the correlation of g with x; then du = pre * dx, dpre = u * dx, dpost = dy * (y without
post), recomputed, and dskip = sum g x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genomeconv_kernels.fftconv.plan import ConvPlan, plan_conv
from genomeconv_kernels.fftconv.prepared import fold_taps, run_filter_grad, run_plan
from genomeconv_kernels.fftconv.source import Source


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
    """Return y (B, H, L); all arguments checked, of one dtype."""
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    convolve(Source(u, pre, state), k, skip, post, right, method, out)
    return out


def convolve(
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
def _(u, k, pre, post, skip, state, right, method):  # type: ignore[no-untyped-def]
    return torch.empty(u.shape, dtype=u.dtype, device=u.device)


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
    K = k.shape[1]
    grads = _empty_grads((u, k, pre, post, skip, state), needs)
    du, dk, dpre, dpost, dskip, dstate = grads
    x, g = Source(u, pre, state), Source(grad, post)
    if needs[3]:
        convolve(x, k, skip, None, right, method, dpost)
        dpost.mul_(grad)
    # The gradient of the input is the gated gradient through the filter read backwards.
    back = k.flip(-1)
    if needs[0] or needs[2]:
        dx = torch.empty_like(u, memory_format=torch.contiguous_format)
        convolve(g, back, skip, None, K - 1 - right, method, dx)
        if needs[2]:
            torch.mul(dx, u, out=dpre)
        if needs[0]:
            du.copy_(dx) if pre is None else torch.mul(dx, pre, out=du)
    if needs[5] and K > 1:
        convolve(g.until(K - 1), back, None, None, 0, method, dstate)
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
    return grads


def _empty_grads(inputs: Sequence[Tensor | None], needs: list[bool]) -> list[Tensor]:
    """Return room for the gradients of u and its companions, empty where not needed."""
    like = next(t for t in inputs if t is not None)
    return [
        like.new_empty(t.shape if need and t is not None else (0,))
        for t, need in zip(inputs, needs, strict=True)
    ]


@_fft_conv_backward.register_fake
def _(grad, u, k, pre, post, skip, state, right, method, needs):  # type: ignore[no-untyped-def]
    return _empty_grads((u, k, pre, post, skip, state), needs)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.right, ctx.method = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad[:6])
    grads = _fft_conv_backward(grad, *ctx.saved_tensors, ctx.right, ctx.method, needs)
    return (
        *(g if need else None for g, need in zip(grads, needs, strict=True)),
        None,
        None,
    )


fft_conv_op.register_autograd(_backward, setup_context=_setup)
