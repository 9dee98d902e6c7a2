"""The public short convolution: checks, the custom operators, gradients.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

from genomeconv_kernels import backend
from genomeconv_kernels.checks import (
    check_companion,
    check_out,
    check_signal,
    check_taps,
    compute_dtype,
    refuse,
)
from genomeconv_kernels.fftconv.op import next_state
from genomeconv_kernels.gradients import empty_grads, only_needed
from genomeconv_kernels.layout import empty_as
from genomeconv_kernels.shortconv import cpu

MAX_TAPS = 8
_OP = "short_conv"


@overload
def short_conv(
    u: Tensor,
    w: Tensor,
    bias: Tensor | None = ...,
    state: Tensor | None = ...,
    *,
    return_state: Literal[False] = ...,
    out: Tensor | None = ...,
) -> Tensor: ...
@overload
def short_conv(
    u: Tensor,
    w: Tensor,
    bias: Tensor | None = ...,
    state: Tensor | None = ...,
    *,
    return_state: Literal[True],
    out: Tensor | None = ...,
) -> tuple[Tensor, Tensor]: ...
def short_conv(
    u: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    state: Tensor | None = None,
    *,
    return_state: bool = False,
    out: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve each channel causally with a few taps: y[t] = b + sum_j w[K-1-j] u[t-j].

    The taps stand in the order of torch's conv1d. float16 and bfloat16 are computed in
    float32.

    Parameters
    ----------
    u
        Input (B, H, L).
    w
        Taps (H, K), K <= 8, the last for the position itself.
    bias
        (H,).
    state
        (B, H, K-1), the inputs before position 0; None for zeros.
    return_state
        Also return the last K-1 inputs (B, H, K-1), the state of the next piece,
        in the dtype of the computation.
    out
        Where to write y: shape and dtype of u, not overlapping it; without gradients.

    Returns
    -------
    y or (y, state)
        y (B, H, L) in the dtype of u.

    Raises
    ------
    TypeError, ValueError
        In the one message form, before anything is computed.
    """
    check_signal(_OP, "u", u)
    K = _check(u, w, bias, state)
    if out is not None:
        check_out(_OP, out, u, (w, bias, state), read=(u, state))
    work = compute_dtype(u.dtype)
    k = w.to(work)
    b, s = (None if t is None else t.to(work) for t in (bias, state))
    if torch.compiler.is_compiling() or (
        torch.is_grad_enabled()
        and any(t is not None and t.requires_grad for t in (u, k, b, s))
    ):
        y = _short_conv(u, k, b, s)
        if out is not None:
            y = out.copy_(y)
    else:
        y = _run(u, k, b, s, out)
    return (y, next_state(u, None, s, K - 1)) if return_state else y


def _run(
    u: Tensor, w: Tensor, bias: Tensor | None, state: Tensor | None, out: Tensor | None
) -> Tensor:
    """Compute in the dtype of w; return y in that of u, in `out` where there is one."""
    if backend.path(u) == "triton":
        from genomeconv_kernels.shortconv import gpu

        y = empty_as(u) if out is None else out
        gpu.convolve(u, w, bias, state, y)
        return y
    x = u.to(w.dtype)
    y = out if out is not None and out.dtype == x.dtype else empty_as(x)
    cpu.convolve(x, w, bias, state, y)
    if out is None or y is out:
        return y.to(u.dtype)
    return out.copy_(y)


def _check(u: Tensor, w: Any, bias: Tensor | None, state: Tensor | None) -> int:
    """Check the companions of u; return the number of taps K."""
    B, H, _ = u.shape
    check_taps(_OP, "w", w)
    K = int(w.shape[1])
    check_companion(_OP, "w", w, (H, K), "(H, K)", u)
    if K > MAX_TAPS:
        refuse(_OP, "w", f"of at most {MAX_TAPS} taps (see fft_conv)", w, ValueError)
    if bias is not None:
        check_companion(_OP, "bias", bias, (H,), "(H,)", u)
    if state is not None:
        check_companion(_OP, "state", state, (B, H, K - 1), "(B, H, K-1)", u)
    return K


@torch.library.custom_op("genomeconv::short_conv", mutates_args=())
def _short_conv(
    u: Tensor, w: Tensor, bias: Tensor | None, state: Tensor | None
) -> Tensor:
    return _run(u, w, bias, state, empty_as(u))


@_short_conv.register_fake
def _(u, w, bias, state):
    return empty_as(u)


@torch.library.custom_op("genomeconv::short_conv_backward", mutates_args=())
def _short_conv_backward(
    grad: Tensor, u: Tensor, w: Tensor, state: Tensor | None, needs: list[bool]
) -> list[Tensor]:
    """Gradients of u, w, bias, state; empty where not needed."""
    grads = empty_grads((u, w, w[:, 0], state), needs)
    if backend.path(u) == "triton":
        _grads_triton(grad, u, w, state, needs, grads)
    else:
        _grads_torch(grad.to(w.dtype), u.to(w.dtype), w, state, needs, grads)
    return grads


def _grads_triton(
    grad: Tensor,
    u: Tensor,
    w: Tensor,
    state: Tensor | None,
    needs: list[bool],
    grads: list[Tensor],
) -> None:
    from genomeconv_kernels.shortconv import gpu

    du, dw, dbias, dstate = grads
    if needs[0]:
        gpu.input_grad(grad, w, du)
    if needs[1] or needs[2]:
        for out, total in zip(
            (dw, dbias), gpu.weight_grad(grad, u, state, w.shape[1]), strict=True
        ):
            if out.numel():
                out.copy_(total)
    if needs[3]:
        gpu.state_grad(grad, w, dstate)


def _grads_torch(
    grad: Tensor,
    u: Tensor,
    w: Tensor,
    state: Tensor | None,
    needs: list[bool],
    grads: list[Tensor],
) -> None:
    L, K = u.shape[-1], w.shape[-1]
    du, dw, dbias, dstate = grads
    if needs[0]:
        exact = du if du.dtype == w.dtype else empty_as(grad)
        cpu.input_grad(grad, w, exact)
        if exact is not du:
            du.copy_(exact)
    if needs[1]:
        cpu.weight_grad(grad, u, state, dw)
    if needs[2]:
        torch.sum(grad, (0, 2), out=dbias)
    if needs[3]:
        dstate.zero_()
        for j in range(1, K):
            n = min(j, L)
            past = dstate[..., K - 1 - j :][..., :n]
            past.addcmul_(grad[..., :n], w[:, K - 1 - j, None])


@_short_conv_backward.register_fake
def _(grad, u, w, state, needs):
    return empty_grads((u, w, w[:, 0], state), needs)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    u, w, _, state = inputs
    ctx.save_for_backward(u, w, state)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad)
    grads = _short_conv_backward(grad, *ctx.saved_tensors, needs)
    return only_needed(grads, needs)


_short_conv.register_autograd(_backward, setup_context=_setup)
