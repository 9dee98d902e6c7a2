"""The public short convolution: checks, the custom operators, gradients.

Axes: B batch, H channels, L positions, K taps.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

from genomeconv_kernels.checks import (
    check_companion,
    check_out,
    check_signal,
    check_taps,
    compute_dtype,
    refuse,
)
from genomeconv_kernels.fftconv.op import next_state
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
    x, k = u.to(work), w.to(work)
    b, s = (None if t is None else t.to(work) for t in (bias, state))
    if torch.compiler.is_compiling() or (
        torch.is_grad_enabled()
        and any(t is not None and t.requires_grad for t in (x, k, b, s))
    ):
        y = _short_conv(x, k, b, s)
    else:
        y = out if out is not None and out.dtype == work else torch.empty_like(x)
        cpu.convolve(x, k, b, s, y)
    if out is not None and y is not out:
        y = out.copy_(y)
    y = y.to(u.dtype)
    return (y, next_state(x, None, s, K - 1)) if return_state else y


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
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    cpu.convolve(u, w, bias, state, out)
    return out


@_short_conv.register_fake
def _(u, w, bias, state):  # type: ignore[no-untyped-def]
    return torch.empty(u.shape, dtype=u.dtype, device=u.device)


@torch.library.custom_op("genomeconv::short_conv_backward", mutates_args=())
def _short_conv_backward(
    grad: Tensor, u: Tensor, w: Tensor, state: Tensor | None, needs: list[bool]
) -> list[Tensor]:
    """Gradients of u, w, bias, state; empty where not needed."""
    du, dw, dbias, dstate = grads = _empty_grads(grad, u, w, state, needs)
    L, K = u.shape[-1], w.shape[-1]
    if needs[0]:  # the filter read backwards, over the gradient read backwards
        torch.mul(grad, w[:, K - 1, None], out=du)
        for j in range(1, min(K, L)):
            du[..., : L - j].addcmul_(grad[..., j:], w[:, K - 1 - j, None])
    if needs[1]:
        for j in range(K):
            n = min(j, L)
            tap = (grad[..., n:] * u[..., : L - n]).sum((0, 2))
            if state is not None and n:
                past = state[..., K - 1 - j :][..., :n]
                tap += (grad[..., :n] * past).sum((0, 2))
            dw[:, K - 1 - j] = tap
    if needs[2]:
        torch.sum(grad, (0, 2), out=dbias)
    if needs[3]:
        dstate.zero_()
        for j in range(1, K):
            n = min(j, L)
            past = dstate[..., K - 1 - j :][..., :n]
            past.addcmul_(grad[..., :n], w[:, K - 1 - j, None])
    return grads


def _empty_grads(
    grad: Tensor, u: Tensor, w: Tensor, state: Tensor | None, needs: list[bool]
) -> list[Tensor]:
    shapes = (u.shape, w.shape, w.shape[:1], u.shape if state is None else state.shape)
    return [
        torch.empty(shape if need else (0,), dtype=grad.dtype, device=grad.device)
        for shape, need in zip(shapes, needs, strict=True)
    ]


@_short_conv_backward.register_fake
def _(grad, u, w, state, needs):  # type: ignore[no-untyped-def]
    return _empty_grads(grad, u, w, state, needs)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    u, w, _, state = inputs
    ctx.save_for_backward(u, w, state)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad)
    grads = _short_conv_backward(grad, *ctx.saved_tensors, needs)
    return tuple(g if need else None for g, need in zip(grads, needs, strict=True))


_short_conv.register_autograd(_backward, setup_context=_setup)
