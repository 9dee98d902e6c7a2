"""What a launch takes: the gated input, the filter, the gated outputs.

Axes: B batch, H channels, L positions, S positions of the state, K taps, F points, T
taps of the short filter.
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

    @property
    def short_taps(self) -> int:
        """T of the short filters, 0 where there are none."""
        return max((s.taps for s in (self.u_short, self.pre_short) if s), default=0)


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


def read_arguments(
    x: Input, *, align: bool = True
) -> tuple[list[Tensor], list[int], int]:
    """Return tensors, strides and S of a gated input as kernels take them.

    Without `align` a state stays where it is, however long: see `aligned_state`.
    """
    u, pre = lined(x.u), lined(x.pre)
    state = lined(aligned_state(x.state) if align else x.state)
    assert u is not None
    tensors = [u, u if pre is None else pre, u if state is None else state]
    tensors += [*short_arguments(x.u_short, u), *short_arguments(x.pre_short, u)]
    S = 0 if state is None else state.shape[-1]
    return tensors, [*strides(u), *strides(pre), *strides(state)], S


def write_arguments(y: Output, like: Tensor) -> tuple[list[Tensor], list[int]]:
    """Return tensors and strides of gated outputs; `like` stands for what is not."""
    post, post2 = lined(y.post), lined(y.post2)
    given = (y.out, post, y.out2, post2)
    tensors = [like if t is None else t for t in given]
    tensors += short_arguments(y.post_short, like)
    return tensors, [step for t in given for step in strides(t)]


def options(x: Input, y: Output) -> dict[str, int]:
    """Return what a kernel that reads x and writes y is compiled for."""
    return {
        "HAS_PRE": x.pre is not None,
        "HAS_STATE": x.state is not None,
        "HAS_POST": y.post is not None,
        "TWO": y.out2 is not None,
        "T": x.short_taps,
    }


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
