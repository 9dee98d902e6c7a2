"""The public synthesis of implicit filters: checks, the operator, its gradient.

Axes: H channels, K taps, E width of the encoding, W width of the network.

Both ways go through the positions in slices and keep nothing of them: the gradient
makes a slice's activations again, so memory does not grow with K but by the taps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genomeconv_kernels import backend
from genomeconv_kernels.checks import (
    FLOATS,
    check_companion,
    check_count,
    compute_dtype,
    refuse,
)
from genomeconv_kernels.implicit.reference import (
    ImplicitWeights,
    implicit_gradients,
    implicit_taps_reference,
)

_OP = "implicit_taps"

_POSITIONS_AT_ONCE = 1 << 16
"""Positions of a slice: bounds the memory."""

LONGEST = 1 << 30
"""Largest l_max."""


def implicit_taps(
    weights: ImplicitWeights, deltas: Tensor, taps: int, *, l_max: int, shift: float
) -> Tensor:
    """Return the taps of an implicit filter: a sine network under a decay window.

    k[h, t] = network(z(t))[h] (exp(-t |delta_h| / (l_max - 1)) + shift), formula in
    full in `implicit.reference` (Hyena hierarchy, Poli et al. 2023, section 3.3).
    float16 and bfloat16 weights are computed in float32 and the taps rounded once.

    Parameters
    ----------
    weights
        Of one dtype and device.
    deltas
        Decay rates of the window, nepers per l_max, (1, H); they take no gradient.
    taps
        K, 1..l_max.
    l_max
        Positions that the encoding is scaled to, at most `LONGEST`.
    shift
        Added to the window.

    Returns
    -------
    Tensor
        (H, K), in the dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        In the one message form, before anything is computed.
    """
    weights = ImplicitWeights(*weights)
    _check(weights, deltas, taps, l_max)
    work = compute_dtype(weights.freq.dtype)
    made: Tensor = implicit_taps_op(
        [w.to(work) for w in weights], deltas.to(work), taps, l_max, float(shift)
    )
    return made.to(weights.freq.dtype)


@torch.library.custom_op("genomeconv::implicit_taps", mutates_args=())
def implicit_taps_op(
    weights: list[Tensor], deltas: Tensor, taps: int, l_max: int, shift: float
) -> Tensor:
    """Return the taps (H, K); arguments checked, float32 or float64."""
    network = ImplicitWeights(*weights)
    if backend.path(network.freq) == "triton":
        from genomeconv_kernels.implicit import gpu

        if gpu.fits(network):
            return gpu.taps(network, deltas, taps, l_max, shift)
    out = deltas.new_empty(deltas.numel(), taps)
    with _in_full(deltas):
        for start, stop in _slices(taps):
            out[:, start:stop] = implicit_taps_reference(
                network, deltas, start, stop, l_max=l_max, shift=shift
            )
    return out


@implicit_taps_op.register_fake
def _(weights, deltas, taps, l_max, shift):
    return deltas.new_empty(deltas.numel(), taps)


@torch.library.custom_op("genomeconv::implicit_taps_backward", mutates_args=())
def _implicit_taps_backward(
    grad: Tensor, weights: list[Tensor], deltas: Tensor, l_max: int, shift: float
) -> list[Tensor]:
    """Return the weights' gradients, summed over slices in one order."""
    network = ImplicitWeights(*weights)
    sums = [torch.zeros_like(w) for w in weights]
    with _in_full(deltas):
        for start, stop in _slices(grad.shape[1]):
            parts = implicit_gradients(
                grad[:, start:stop], network, deltas, start, stop,
                l_max=l_max, shift=shift,
            )  # fmt: skip
            for total, part in zip(sums, parts, strict=True):
                total += part
    return sums


@_implicit_taps_backward.register_fake
def _(grad, weights, deltas, l_max, shift):
    return [torch.empty_like(w) for w in weights]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weights, deltas, _, ctx.l_max, ctx.shift = inputs
    ctx.save_for_backward(*weights, deltas)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    *weights, deltas = ctx.saved_tensors
    grads = _implicit_taps_backward(grad, weights, deltas, ctx.l_max, ctx.shift)
    return grads, None, None, None, None


implicit_taps_op.register_autograd(_backward, setup_context=_setup)


def _in_full(like: Tensor) -> torch.autocast:
    """Keep autocast out: in bfloat16 the arguments of the sines would be noise."""
    return torch.autocast(like.device.type, enabled=False)


def _slices(taps: int) -> Iterator[tuple[int, int]]:
    for start in range(0, taps, _POSITIONS_AT_ONCE):
        yield start, min(start + _POSITIONS_AT_ONCE, taps)


def _check(weights: ImplicitWeights, deltas: Any, taps: Any, l_max: Any) -> None:
    freq, w0, _, _, _, _, _, last = weights
    wanted = "a floating-point tensor of shape (1, W), W at least 1"
    if not isinstance(freq, Tensor) or freq.dtype not in FLOATS:
        refuse(_OP, "freq", wanted, freq, TypeError)
    if freq.dim() != 2 or len(freq) != 1 or 0 in freq.shape:
        refuse(_OP, "freq", wanted, freq, ValueError)
    W = freq.shape[1]
    E = w0.shape[-1] if isinstance(w0, Tensor) and w0.dim() else 0
    if E < 3 or E % 2 == 0:
        wanted = f"of shape (W, E) = ({W}, E), E odd and at least 3"
        refuse(_OP, "w0", wanted, w0, ValueError)
    H = last.shape[0] if isinstance(last, Tensor) and last.numel() else 1
    shapes = {
        "w0": ((W, E), "(W, E)"),
        "b0": ((W,), "(W,)"),
        "w1": ((W, W), "(W, W)"),
        "b1": ((W,), "(W,)"),
        "w2": ((W, W), "(W, W)"),
        "b2": ((W,), "(W,)"),
        "last": ((H, W), "(H, W)"),
    }
    for name, (shape, axes) in shapes.items():
        check_companion(_OP, name, getattr(weights, name), shape, axes, freq)
    check_companion(_OP, "deltas", deltas, (1, H), "(1, H)", freq)
    if deltas.requires_grad and torch.is_grad_enabled():
        refuse(_OP, "deltas", "free of gradients", "requires_grad=True", ValueError)
    check_count(_OP, "l_max", l_max, 1, LONGEST)
    check_count(_OP, "taps", taps, 1, l_max)
