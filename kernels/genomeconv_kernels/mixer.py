"""Short filter, gate, long convolution, gate: one pass over the projection.

Axes: B batch, H channels, L positions, K taps of the long filter, T of the short one.

    [x0, x1, v] = bias + short * z;    y = x0 * (k * (x1 v))

(Poli et al. 2023, definition 3.1 with order 2.) In Triton z is read where the long
convolution reads its input and gate, the short filter running on the way, so nothing
between z and y is stored: 3 reads and 1 write an output, 8 bytes in half precision
(the windows' overlap aside), where separate passes move 26.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genomeconv_kernels.checks import (
    check_companion,
    check_out,
    check_signal,
    check_taps,
    compute_dtype,
    describe,
    refuse,
)
from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Short
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.op import next_state
from genomeconv_kernels.fftconv.prepared import (
    PreparedFilter,
    read,
    run_prepared,
    written,
)
from genomeconv_kernels.shortconv.op import MAX_TAPS, short_conv

_OP = "mixer_conv"


class MixerPast(NamedTuple):
    """What came before position 0."""

    short: Tensor
    """Inputs of the short filter (B, 3H, T - 1)."""
    long: Tensor | None
    """Gated inputs of the long filter (B, H, K - 1); None: the filter has none."""


def mixer_conv(
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    k: PreparedFilter,
    past: MixerPast,
    out: Tensor | None = None,
) -> tuple[Tensor, MixerPast]:
    """Run the inner part of a mixer over a piece of a sequence, without gradients.

    Parameters
    ----------
    z
        Projected input (B, 3H, L): outer gate, inner gate, value.
    weight, bias
        Short taps (3H, T), T <= 8, the last for the position itself; (3H,); float32.
    k
        Long filter of H channels, causal, its skip inside.
    past
        What came before; float32.
    out
        Where to write y (B, H, L), in the dtype of z.

    Returns
    -------
    y, past
        y (B, H, L) in the dtype of z, and what comes before the next piece.

    Raises
    ------
    TypeError, ValueError
        In the one message form, before anything is computed.
    """
    B, H, L = _check(z, weight, bias, k, past)
    _check_call(z, weight, bias, k, past, out)
    if torch.compiler.is_compiling():
        y: Tensor = mixer_conv_op(z, weight, bias, past.short, past.long, *written(k))
        out = y if out is None else out.copy_(y)
    else:
        if out is None:
            out = torch.empty(B, H, L, dtype=z.dtype, device=z.device)
        _write(z, weight, bias, k, past, out)
    return out, _next(z, weight, bias, k, past)


@torch.library.custom_op("genomeconv::mixer_conv", mutates_args=())
def mixer_conv_op(
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    short: Tensor,
    long: Tensor | None,
    filter_: list[Tensor],
    plan: str,
) -> Tensor:
    """Return y (B, H, L); all arguments checked, the filter as `written` writes it."""
    B, _, L = z.shape
    out = torch.empty(B, len(filter_[0]), L, dtype=z.dtype, device=z.device)
    _write(z, weight, bias, read(filter_, plan), MixerPast(short, long), out)
    return out


@mixer_conv_op.register_fake
def _(z, weight, bias, short, long, filter_, plan):
    B, _, L = z.shape
    return torch.empty(B, len(filter_[0]), L, dtype=z.dtype, device=z.device)


def _check_call(
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    k: PreparedFilter,
    past: MixerPast,
    out: Tensor | None,
) -> None:
    """Refuse a filter prepared for other calls, gradients, and an `out` of no use."""
    work, L = compute_dtype(z.dtype), z.shape[-1]
    if k.taps.dtype != work or k.taps.device != z.device:
        wanted = f"a filter prepared for {describe(work)} on {z.device}"
        refuse(_OP, "k", wanted, k.taps, ValueError)
    if not k.history and k.length < L:
        wanted = f"of at most {k.length} positions, as the filter was prepared for"
        refuse(_OP, "z", wanted, z, ValueError)
    if not k.history and past.long is not None:
        wanted = "None, the filter being prepared with history=False"
        refuse(_OP, "past.long", wanted, past.long, ValueError)
    for name, t in (("z", z), ("weight", weight), ("bias", bias)):
        if t.requires_grad and torch.is_grad_enabled():
            refuse(_OP, name, "free of gradients", "requires_grad=True", ValueError)
    if out is not None:
        like = z[:, : len(k.taps)]
        wanted = f"{describe(z.dtype)} of shape (B, H, L) = {tuple(like.shape)}"
        wanted = f"{wanted} on {z.device}"
        check_out(_OP, out, like, (), read=(z,), wanted=wanted)


def _write(
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    k: PreparedFilter,
    past: MixerPast,
    out: Tensor,
) -> None:
    if isinstance(k.plan, GpuPlan):
        _fused(z, weight, bias, k, past, out)
        return
    filtered = short_conv(_computed(z), weight, bias, past.short)
    x0, x1, v = filtered.chunk(3, dim=1)
    y = torch.empty_like(out, dtype=filtered.dtype)
    run_prepared(k, v, x1, x0, past.long, y)
    out.copy_(y)


def _check(
    z: Tensor, weight: Tensor, bias: Tensor, k: PreparedFilter, past: MixerPast
) -> tuple[int, int, int]:
    check_signal(_OP, "z", z)
    check_taps(_OP, "weight", weight)
    B, C, L = z.shape
    H, T = len(k.taps), weight.shape[1]
    if C != 3 * H:
        refuse(_OP, "z", f"of 3 H = {3 * H} channels, as the filter has", z, ValueError)
    if T > MAX_TAPS:
        refuse(_OP, "weight", f"of at most {MAX_TAPS} taps", weight, ValueError)
    if k.right:
        refuse(_OP, "k", "a causal filter", k, ValueError)
    check_companion(_OP, "weight", weight, (C, T), "(3H, T)", z)
    check_companion(_OP, "bias", bias, (C,), "(3H,)", z)
    check_companion(_OP, "past.short", past.short, (B, C, T - 1), "(B, 3H, T-1)", z)
    if past.long is not None:
        shape = (B, H, k.K - 1)
        check_companion(_OP, "past.long", past.long, shape, "(B, H, K-1)", z)
    return B, H, L


def _fused(
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    k: PreparedFilter,
    past: MixerPast,
    out: Tensor,
) -> None:
    from genomeconv_kernels.fftconv.gpu import run

    assert isinstance(k.plan, GpuPlan)
    assert k.spectrum is not None
    x0, x1, v = z.chunk(3, dim=1)
    table = torch.cat([weight, bias[:, None]], dim=1).float()
    shorts = [
        Short(t, p.contiguous())
        for t, p in zip(table.chunk(3), past.short.float().chunk(3, dim=1), strict=True)
    ]
    x = Input(v, x1, past.long, u_short=shorts[2], pre_short=shorts[1])
    run.convolve(k.plan, x, k.spectrum, Output(out, x0, post_short=shorts[0]))


def _next(
    z: Tensor, weight: Tensor, bias: Tensor, k: PreparedFilter, past: MixerPast
) -> MixerPast:
    """Run the short filter once more over the end alone, for the long state."""
    L, T = z.shape[-1], weight.shape[1]
    short = next_state(z, None, past.short, T - 1)
    if past.long is None or k.K == 1:
        return MixerPast(short, past.long)
    n, H = k.K - 1, len(k.taps)
    first = max(L - n, 0)
    inner = slice(H, 3 * H)
    before = next_state(z[:, inner, :first], None, past.short[:, inner], T - 1)
    end = _computed(z[:, inner, first:])
    filtered = short_conv(end, weight[inner], bias[inner], before)
    x1, v = filtered.chunk(2, dim=1)
    return MixerPast(short, next_state(v, x1, past.long, n))


def _computed(z: Tensor) -> Tensor:
    """Return z in the dtype of the computation: what lies between is not rounded."""
    return z.to(compute_dtype(z.dtype))
