"""Functions of rows, a few rows at a time: nothing they make on the way is kept.

Axes: N rows, I and O channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

ROWS = 2048
"""Rows of a piece: what an MLP makes of them stays in a core's cache."""
FEW = 32 * ROWS
"""So many are run as one, a sixth faster; what they keep has an end."""


def by_rows(
    f: Callable[..., Tensor], inputs: tuple[Tensor, ...], weights: tuple[Tensor, ...]
) -> Tensor:
    """Return f(*inputs, *weights), (N, O), where row n depends on rows n alone.

    Of many rows on a CPU nothing but the inputs is kept: the gradient runs ``f`` again,
    piece by piece (Chen et al. 2016, "sublinear memory cost"). A GPU wants large
    products and a compiler the whole graph: there ``f`` runs once, over all rows.

    Parameters
    ----------
    f : callable
        Differentiable, with no other tensor that has a gradient than its arguments.
    inputs : tuple of Tensor
        (N, I) each; rows or columns may be what lies together in memory.
    weights : tuple of Tensor
    """
    if not (runs_by_rows(inputs[0]) and torch.is_grad_enabled()):
        return f(*inputs, *weights)
    out: Tensor = _ByRows.apply(f, len(inputs), *inputs, *weights)  # type: ignore[no-untyped-call]
    return out


def runs_by_rows(x: Tensor) -> bool:
    """Whether rows (N, I) are so many that a gradient keeps nothing but them."""
    return x.device.type == "cpu" and len(x) > FEW and not torch.compiler.is_compiling()


def _pieces(rows: int) -> Iterator[slice]:
    for start in range(0, rows, ROWS):
        yield slice(start, start + ROWS)


class _ByRows(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(ctx: Any, f: Any, count: int, *tensors: Tensor) -> Tensor:
        ctx.f, ctx.count = f, count
        ctx.save_for_backward(*tensors)
        # Detached, lest autocast keeps copies for later that know no gradient.
        given = [t.detach() for t in tensors]
        inputs, weights = given[:count], given[count:]
        out = None
        for rows in _pieces(len(inputs[0])):
            piece = f(*(x[rows] for x in inputs), *weights)
            if out is None:
                out = _room(piece, len(inputs[0]))
            out[rows] = piece
        assert out is not None, "there are rows"
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needs, count = ctx.needs_input_grad[2:], ctx.count
        given = [
            t.detach().requires_grad_(need)
            for t, need in zip(ctx.saved_tensors, needs, strict=True)
        ]
        inputs, weights = given[:count], given[count:]
        found = [torch.empty_like(x) if x.requires_grad else None for x in inputs]
        for rows in _pieces(len(grad)):
            parts = [x[rows].detach().requires_grad_(x.requires_grad) for x in inputs]
            with torch.enable_grad():
                y = ctx.f(*parts, *weights)
            torch.autograd.backward(y, grad[rows])
            for dx, part in zip(found, parts, strict=True):
                if dx is not None:
                    dx[rows] = part.grad
        return (None, None, *found, *(w.grad for w in weights))


def _room(piece: Tensor, rows: int) -> Tensor:
    """Return room for so many rows, laid out as a piece is."""
    if piece.stride(0) == 1 and piece.shape[1] > 1:
        return piece.new_empty(piece.shape[1], rows).T
    return piece.new_empty(rows, piece.shape[1])
