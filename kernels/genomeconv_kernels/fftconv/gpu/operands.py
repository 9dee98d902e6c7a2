"""What a launch takes: the gated input, the filter, the gated outputs.

Axes: B batch, H channels, L positions, K taps, F points, T taps of the short filter.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F


class Short(NamedTuple):
    """A short causal filter run on a signal as it is read."""

    table: Tensor
    """Taps and bias (H, T + 1), float32; the last tap is the position itself."""
    past: Tensor
    """Inputs before position 0 (B, H, T - 1), float32."""

    @property
    def taps(self) -> int:
        """T."""
        return self.table.shape[1] - 1


class Input(NamedTuple):
    """x = pre * u, after a state; u and pre may pass short filters on the way."""

    u: Tensor
    pre: Tensor | None = None
    state: Tensor | None = None
    u_short: Short | None = None
    pre_short: Short | None = None


class Output(NamedTuple):
    """out = post * y and, where given, out2 = post2 * y."""

    out: Tensor
    post: Tensor | None = None
    out2: Tensor | None = None
    post2: Tensor | None = None
    post_short: Short | None = None


Gated = TypeVar("Gated", Input, Output)


class Spectrum(NamedTuple):
    """Spectra of a filter, in the order the transform on the chip leaves them.

    Or, for Toeplitz products, its taps; both scaled to fit the operands.
    """

    values: Tensor
    """Real then imaginary part (H, 2, F), in the type of the products' operands.

    Toeplitz: copies of the taps (H, 8, W).
    """
    scale: Tensor
    """(H,), float32: what results are multiplied by."""


def lined(t: Tensor | None) -> Tensor | None:
    """Return t with its positions side by side, copied only where they are not."""
    return t if t is None or t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous()


def aligned_state(state: Tensor | None) -> Tensor | None:
    """Return a state with zeros before it, up to a multiple of 16 positions.

    Position t then stands as aligned in the state as in the signal: a state as long as
    the taps less one is otherwise read element by element.
    """
    return state if state is None else F.pad(state, (-state.shape[-1] % 16, 0))


def strides(t: Tensor | None) -> tuple[int, int]:
    """Return the strides of rows (b, h)."""
    return (0, 0) if t is None else (t.stride(0), t.stride(1))


def short_arguments(short: Short | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return table and past, or something to stand in their place."""
    return (like, like) if short is None else (short.table, short.past)


def select(given: Gated, batch: slice, channels: slice) -> Gated:
    """Return the part of an Input or Output that belongs to some rows."""
    return type(given)(*(_cut(t, batch, channels) for t in given))  # type: ignore[arg-type]


def _cut(
    t: Tensor | Short | None, batch: slice, channels: slice
) -> Tensor | Short | None:
    if isinstance(t, Short):
        return Short(t.table[channels], t.past[batch, channels])
    return None if t is None else t[batch, channels]


OPERANDS = {"float16": torch.float16, "float32": torch.float32}
