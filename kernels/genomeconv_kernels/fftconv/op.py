"""The public long convolution: checks, then the operator or a prepared filter.

Axes: B batch, H channels, L positions, K taps.

    y[t] = post[t] * (sum_j k[j] x[t + right - j] + skip * x[t]),   x = pre * u
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

from genomeconv_kernels.checks import (
    check_companion,
    check_count,
    check_out,
    check_signal,
    check_taps,
    compute_dtype,
    describe,
    refuse,
)
from genomeconv_kernels.fftconv.autograd import convolve, fft_conv_op
from genomeconv_kernels.fftconv.plan import check_method
from genomeconv_kernels.fftconv.prepared import PreparedFilter, run_plan
from genomeconv_kernels.fftconv.source import Source

_OP = "fft_conv"


@overload
def fft_conv(
    u: Tensor,
    k: Tensor | PreparedFilter,
    pre: Tensor | None = ...,
    post: Tensor | None = ...,
    skip: Tensor | None = ...,
    state: Tensor | None = ...,
    *,
    right: int = ...,
    return_state: Literal[False] = ...,
    method: str | None = ...,
    out: Tensor | None = ...,
) -> Tensor: ...
@overload
def fft_conv(
    u: Tensor,
    k: Tensor | PreparedFilter,
    pre: Tensor | None = ...,
    post: Tensor | None = ...,
    skip: Tensor | None = ...,
    state: Tensor | None = ...,
    *,
    right: int = ...,
    return_state: Literal[True],
    method: str | None = ...,
    out: Tensor | None = ...,
) -> tuple[Tensor, Tensor]: ...
def fft_conv(
    u: Tensor,
    k: Tensor | PreparedFilter,
    pre: Tensor | None = None,
    post: Tensor | None = None,
    skip: Tensor | None = None,
    state: Tensor | None = None,
    *,
    right: int = 0,
    return_state: bool = False,
    method: str | None = None,
    out: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve each channel with its own long filter, gates and skip included.

    Any L >= 1 and any K >= 1, K > L too. float16 and bfloat16 are computed in float32
    and rounded once at the end. The companions of u have its dtype or, beside half
    precision, float32.

    Parameters
    ----------
    u
        Input (B, H, L).
    k
        Taps (H, K), k[:, 0] the furthest into the future; or a `PreparedFilter`, which
        brings its own skip and right and takes no gradient.
    pre, post
        Gates (B, H, L) on the input and on the output.
    skip
        (H,), weight of the gated input itself.
    state
        (B, H, K-1), the gated inputs before position 0; None for zeros.
    right
        Taps that reach to the future, 0..K-1: 0 is causal.
    return_state
        Also return the gated inputs of the last K-1 positions, (B, H, K-1), in the
        dtype of the computation: the state of the next piece.
    method
        One of `METHODS` to have it so; None to take the cheapest.
    out
        Where to write y: shape and dtype of u, in memory of its own or in that of
        post, which is then overwritten; without gradients.

    Returns
    -------
    y or (y, state)
        y (B, H, L), contiguous unless it is `out`, in the dtype of u.

    Raises
    ------
    TypeError, ValueError
        In the one message form, before anything is computed.
    """
    check_signal(_OP, "u", u)
    K = _check_filter(k, u, skip, right, method)
    _check_companions(u, K, pre, post, skip, state)
    _check_direction(k, state, right, return_state)
    if out is not None:
        check_out(_OP, out, u, (k, pre, post, skip, state), read=(u, pre, state))

    work = compute_dtype(u.dtype)
    x = u.to(work)
    a, b, d, s = (None if t is None else t.to(work) for t in (pre, post, skip, state))
    if isinstance(k, PreparedFilter):
        y = _run_prepared(x, k, a, b, s, out)
    elif out is not None and out.dtype == work and not torch.compiler.is_compiling():
        # Nothing wants gradients here: straight into the caller's memory.
        convolve(Source(x, a, s), k.to(work), d, b, right, method, out)
        y = out
    else:
        y = fft_conv_op(x, k.to(work), a, b, d, s, right, method)
    if out is not None and y is not out:
        y = out.copy_(y)
    y = y.to(u.dtype)
    return (y, next_state(x, a, s, K - 1)) if return_state else y


def next_state(u: Tensor, pre: Tensor | None, state: Tensor | None, n: int) -> Tensor:
    """Return the last n gated inputs (B, H, n) of what came so far."""
    L = u.shape[-1]
    tail = slice(max(L - n, 0), L)
    last = u[..., tail].clone() if pre is None else u[..., tail] * pre[..., tail]
    if n <= L:
        return last
    if state is None:
        return torch.nn.functional.pad(last, (n - L, 0))
    return torch.cat([state[..., L:], last], dim=-1)


def _check_filter(
    k: Any, u: Tensor, skip: Tensor | None, right: int, method: str | None
) -> int:
    """Check the filter, right and method; return the number of taps K."""
    if isinstance(k, PreparedFilter):
        return _check_prepared(k, u, skip, right, method)
    check_taps(_OP, "k", k)
    K = int(k.shape[1])
    check_companion(_OP, "k", k, (u.shape[1], K), "(H, K)", u)
    check_count(_OP, "right", right, 0, K - 1)
    check_method(_OP, method)
    return K


def _check_prepared(
    k: PreparedFilter, u: Tensor, skip: Tensor | None, right: int, method: str | None
) -> int:
    own = "None with a prepared filter, which brings its own"
    for name, value in (("skip", skip), ("method", method)):
        if value is not None:
            refuse(_OP, name, own, value, ValueError)
    if right not in (0, k.right):
        wanted = f"0 or the {k.right} of the prepared filter"
        refuse(_OP, "right", wanted, right, ValueError)
    taps, work = k.taps, compute_dtype(u.dtype)
    if taps.dtype != work or taps.device != u.device or len(taps) != u.shape[1]:
        wanted = f"a filter prepared for {describe(work)}, H = {u.shape[1]}, {u.device}"
        refuse(_OP, "k", wanted, taps, ValueError)
    if not k.history and u.shape[-1] > k.length:
        wanted = f"of at most {k.length} positions, as the filter was prepared for"
        refuse(_OP, "u", wanted, u, ValueError)
    return k.K


def _check_companions(
    u: Tensor,
    K: int,
    pre: Tensor | None,
    post: Tensor | None,
    skip: Tensor | None,
    state: Tensor | None,
) -> None:
    B, H, _ = u.shape
    for name, value, shape, axes in (
        ("pre", pre, u.shape, "(B, H, L)"),
        ("post", post, u.shape, "(B, H, L)"),
        ("skip", skip, (H,), "(H,)"),
        ("state", state, (B, H, K - 1), "(B, H, K-1)"),
    ):
        if value is not None:
            check_companion(_OP, name, value, shape, axes, u)


def _check_direction(
    k: Tensor | PreparedFilter, state: Tensor | None, right: int, return_state: bool
) -> None:
    if isinstance(k, PreparedFilter):
        right = k.right
        if not (k.history or right) and (state is not None or return_state):
            name = "return_state" if state is None else "state"
            wanted = "left out, the filter being prepared with history=False"
            refuse(_OP, name, wanted, True if state is None else state, ValueError)
    if right and (state is not None or return_state):
        wanted = (
            f"0 together with state or return_state (stream a two-sided filter as a "
            f"causal one and read its output {right} positions late)"
        )
        refuse(_OP, "right", wanted, right, ValueError)


def _run_prepared(
    u: Tensor,
    k: PreparedFilter,
    pre: Tensor | None,
    post: Tensor | None,
    state: Tensor | None,
    out: Tensor | None,
) -> Tensor:
    if torch.is_grad_enabled():
        for name, t in (("u", u), ("pre", pre), ("post", post), ("state", state)):
            if t is not None and t.requires_grad:
                wanted = "free of gradients with a prepared filter (pass taps instead)"
                refuse(_OP, name, wanted, "requires_grad=True", ValueError)
    if out is None or out.dtype != u.dtype:
        out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    run_plan(k.plan, Source(u, pre, state), k.taps, post, out, k.spectrum)
    return out
