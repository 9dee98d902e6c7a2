"""The public frequency-sparse convolution: checks, the operator, its gradients.

Axes: B batch, H channels, L positions, K taps, F points of a window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genomeconv_kernels import backend
from genomeconv_kernels.checks import (
    check_companion,
    check_count,
    check_signal,
    check_taps,
    compute_dtype,
    refuse,
)
from genomeconv_kernels.fftconv import sparse
from genomeconv_kernels.fftconv.mask import FrequencyMask
from genomeconv_kernels.fftconv.source import Source, in_dtype
from genomeconv_kernels.fftconv.sparse import Windows
from genomeconv_kernels.gradients import empty_grads, only_needed

_OP = "sparse_fft_conv"


def sparse_fft_conv(
    u: Tensor,
    k: Tensor,
    mask: FrequencyMask,
    pre: Tensor | None = None,
    post: Tensor | None = None,
    *,
    right: int = 0,
    circular: bool = False,
) -> Tensor:
    """Convolve each channel with its own filter, of whose spectrum blocks are kept.

    Block by block of V outputs, the valid part of the circular convolution of the
    window of F inputs with irfft(mask * rfft(k, F)). A masked filter reaches over the
    whole window, so y depends on F. Where the signal fits a block it is the
    frequency-sparse convolution of Fu et al. 2023, section 3.3 (arXiv:2311.05908); with
    everything kept it is `fft_conv`. In Triton dropped blocks cost nothing.

    Parameters
    ----------
    u
        Input (B, H, L).
    k
        Taps (H, K), k[:, 0] the furthest into the future; a window of F positions must
        have room for them and 16 outputs.
    mask
        The blocks kept, and F.
    pre, post
        Gates (B, H, L) on the input and on the output.
    right
        Taps that reach to the future, 0..K-1: 0 is causal.
    circular
        Take the input as periodic; then L = F, the one window, and K at most F.

    Returns
    -------
    Tensor
        y (B, H, L) in the dtype of u. There is no state: pieces would have other
        windows than the whole.

    Raises
    ------
    TypeError, ValueError
        In the one message form, before anything is computed.
    """
    check_signal(_OP, "u", u)
    check_taps(_OP, "k", k)
    H, K = u.shape[1], int(k.shape[1])
    check_companion(_OP, "k", k, (H, K), "(H, K)", u)
    if not isinstance(mask, FrequencyMask):
        refuse(_OP, "mask", "a FrequencyMask", mask, TypeError)
    for name, gate in (("pre", pre), ("post", post)):
        if gate is not None:
            check_companion(_OP, name, gate, u.shape, "(B, H, L)", u)
    check_count(_OP, "right", right, 0, K - 1)
    _check_room(u, k, mask, right, circular)
    kept = [keep for row in mask.kept for keep in row]
    y: Tensor = sparse_fft_conv_op(
        u, k, pre, post, mask.fft_size, kept, right, bool(circular)
    )
    return y


def _check_room(
    u: Tensor, k: Tensor, mask: FrequencyMask, right: int, circular: bool
) -> None:
    F, K = mask.fft_size, int(k.shape[1])
    if circular:
        if u.shape[-1] != F:
            refuse(_OP, "u", f"of F = {F} positions where circular", u, ValueError)
        if K > F:
            refuse(_OP, "k", f"of at most F = {F} taps", k, ValueError)
        return
    try:
        Windows.of(mask, K, right)
    except ValueError:
        wanted = f"of fewer taps, for windows of F = {F} positions to have room for 16"
        refuse(_OP, "k", f"{wanted} outputs", k, ValueError)


@torch.library.custom_op("genomeconv::sparse_fft_conv", mutates_args=())
def sparse_fft_conv_op(
    u: Tensor,
    k: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    fft_size: int,
    kept: list[bool],
    right: int,
    circular: bool,
) -> Tensor:
    """Return y (B, H, L) in the dtype of u; all arguments checked."""
    windows, taps = _windows(k, fft_size, kept, right, circular)
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    _write(windows, u, taps, pre, post, out)
    return out


@sparse_fft_conv_op.register_fake
def _(u, k, pre, post, fft_size, kept, right, circular):
    return torch.empty(u.shape, dtype=u.dtype, device=u.device)


def _windows(
    k: Tensor, fft_size: int, kept: list[bool], right: int, circular: bool
) -> tuple[Windows, Tensor]:
    """Return the windows and the taps they meet; a period's are turned to be causal."""
    mask = FrequencyMask.of_blocks(fft_size, kept)
    if not circular:
        return Windows.of(mask, k.shape[1], right), k
    taps = torch.nn.functional.pad(k, (0, fft_size - k.shape[1])).roll(-right, -1)
    return Windows.whole(mask), taps


def _write(
    w: Windows,
    u: Tensor,
    k: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    out: Tensor,
) -> None:
    """Write y into out (B, H, L) of u's dtype, on the path for u."""
    if backend.path(u) == "triton":
        from genomeconv_kernels.fftconv.gpu import sparse as gpu
        from genomeconv_kernels.fftconv.gpu.operands import Input, Output

        plan = gpu.plan(w.mask, k.shape[1], w.right, w.halo, w.block, u)
        if plan is not None:
            filter_ = gpu.prepare(plan, k, w.mask)
            gpu.convolve(plan, Input(u, pre), filter_, Output(out, post))
            return
    x, k, a, b = in_dtype(compute_dtype(u.dtype), u, k, pre, post)
    y = out if out.dtype == x.dtype else torch.empty_like(out, dtype=x.dtype)
    sparse.convolve(w, Source(x, a), k, b, y)
    if y is not out:
        out.copy_(y)


@torch.library.custom_op("genomeconv::sparse_fft_conv_backward", mutates_args=())
def _sparse_fft_conv_backward(
    grad: Tensor,
    u: Tensor,
    k: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    fft_size: int,
    kept: list[bool],
    right: int,
    circular: bool,
    needs: list[bool],
) -> list[Tensor]:
    """Gradients of u, k, pre, post, empty where not needed; all but dpost in torch."""
    windows, taps = _windows(k, fft_size, kept, right, circular)
    work = compute_dtype(u.dtype)
    x, full, a, b, dy = in_dtype(work, u, taps, pre, post, grad)
    du, dk, dpre, dpost = empty_grads((u, k, pre, post), needs)
    g = Source(dy, b)
    if needs[3]:
        _write(windows, u, taps, pre, grad, dpost)
    if needs[0] or needs[2]:
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        sparse.input_grad(windows, g, full, dx)
        if needs[2]:
            dpre.copy_(dx * x)
        if needs[0]:
            du.copy_(dx if a is None else dx * a)
    if needs[1]:
        lags = sparse.filter_grad(windows, Source(x, a), g)
        dk.copy_((lags.roll(right, -1) if circular else lags)[:, : k.shape[1]])
    return [du, dk, dpre, dpost]


@_sparse_fft_conv_backward.register_fake
def _(grad, u, k, pre, post, fft_size, kept, right, circular, needs):
    return empty_grads((u, k, pre, post), needs)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.fft_size, ctx.kept, ctx.right, ctx.circular = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad[:4])
    how = ctx.fft_size, ctx.kept, ctx.right, ctx.circular
    grads = _sparse_fft_conv_backward(grad, *ctx.saved_tensors, *how, needs)
    return (*only_needed(grads, needs), None, None, None, None)


sparse_fft_conv_op.register_autograd(_backward, setup_context=_setup)
