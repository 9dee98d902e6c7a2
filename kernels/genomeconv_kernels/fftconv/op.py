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
from genomeconv_kernels.fftconv.autograd import fft_conv_op, write
from genomeconv_kernels.fftconv.plan import check_method
from genomeconv_kernels.fftconv.prepared import (
    PreparedFilter,
    methods_for,
    prepared_conv_op,
    run_prepared,
    written,
)

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
    circular: bool = ...,
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
    circular: bool = ...,
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
    circular: bool = False,
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
    circular
        Take the input as periodic: x[t] = x[t mod L].
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
    if circular:
        _check_circular(k, state, return_state, out)
        assert isinstance(k, Tensor)
        return _circular(u, k, pre, post, skip, right, method)
    if out is not None:
        check_out(_OP, out, u, (k, pre, post, skip, state), read=(u, pre, state))

    if isinstance(k, PreparedFilter):
        y = _run_prepared(u, k, pre, post, state, out)
    elif out is not None and not torch.compiler.is_compiling():
        # Nothing wants gradients here: straight into the caller's memory.
        write(u, k, pre, post, skip, state, right, method, out)
        y = out
    else:
        y = fft_conv_op(u, k, pre, post, skip, state, right, method)
        y = y if out is None else out.copy_(y)
    return (y, next_state(u, pre, state, K - 1)) if return_state else y


def _check_circular(
    k: Any, state: Tensor | None, return_state: bool, out: Tensor | None
) -> None:
    own = "left out where circular, which needs none"
    given = {"state": state, "return_state": return_state or None, "out": out}
    for name, value in given.items():
        if value is not None:
            refuse(_OP, name, own, value, ValueError)
    if isinstance(k, PreparedFilter):
        refuse(_OP, "k", "taps (H, K) where circular", k, TypeError)


def _circular(
    u: Tensor,
    k: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    skip: Tensor | None,
    right: int,
    method: str | None,
) -> Tensor:
    """Fold the taps into one period, then let each side begin with the other's end."""
    L = u.shape[-1]
    if k.shape[1] > L:
        # Lag j - right falls on (j - right) mod L: all are causal in the folded filter.
        k = torch.nn.functional.pad(k, (-right % L, -(k.shape[1] - right) % L))
        k, right = k.view(len(k), -1, L).sum(1), 0
    left = k.shape[1] - 1 - right
    if not right:
        state = next_state(u, pre, None, left)
        y: Tensor = fft_conv_op(u, k, pre, post, skip, state, 0, method)
        return y

    def widened(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        return torch.cat([x[..., L - left :], x, x[..., :right]], dim=-1)

    wide = widened(u)
    assert wide is not None
    y = fft_conv_op(wide, k, widened(pre), None, skip, None, right, method)
    y = y[..., left : left + L]
    return y.contiguous() if post is None else y * post


def next_state(u: Tensor, pre: Tensor | None, state: Tensor | None, n: int) -> Tensor:
    """Return the last n gated inputs (B, H, n) of what came so far.

    In the dtype of the computation, whatever that of u.
    """
    L, work = u.shape[-1], compute_dtype(u.dtype)
    tail = slice(max(L - n, 0), L)
    last = u[..., tail].to(work, copy=True)
    if pre is not None:
        last *= pre[..., tail]
    if n <= L:
        return last
    if state is None:
        return torch.nn.functional.pad(last, (n - L, 0))
    return torch.cat([state[..., L:].to(work), last], dim=-1)


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
    if method is not None:
        check_method(_OP, method, methods_for(u))
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
    if torch.compiler.is_compiling():
        y: Tensor = prepared_conv_op(u, pre, post, state, *written(k))
        return y if out is None else out.copy_(y)
    if out is None:
        out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    run_prepared(k, u, pre, post, state, out)
    return out
