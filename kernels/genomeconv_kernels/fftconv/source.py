"""The gated input, readable at any position.

Axes: B batch, H channels, L positions.

``x[t] = pre[t] * u[t]`` inside 0..L, the history (or zero) before, zero after.
The product is never stored whole: windows of it are written straight into the
buffers of the transforms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Source(NamedTuple):
    """u (B, H, L), pre (B, H, L) or None, state (B, H, S) or None."""

    u: Tensor
    pre: Tensor | None = None
    state: Tensor | None = None

    def select(self, batch: slice, channels: slice) -> Source:
        """Return the part of some batch rows and channels."""
        return self._map((batch, channels))

    def until(self, stop: int) -> Source:
        """Return the part before a position."""
        return self._map((..., slice(stop)))

    def _map(self, index: Any) -> Source:
        u, pre, state = self
        return Source(
            u[index],
            None if pre is None else pre[index],
            None if state is None else state[index],
        )

    def fill(self, out: Tensor, start: int) -> None:
        """Write x[start : start + n] into out (B, H, n); start may be negative."""
        n, length = out.shape[-1], self.u.shape[-1]
        inside = min(max(-start, 0), n)
        after = min(max(length - start, 0), n)
        if inside:
            self._fill_past(out[..., :inside], start)
        if after > inside:
            u = self.u[..., start + inside : start + after]
            if self.pre is None:
                out[..., inside:after].copy_(u)
            else:
                pre = self.pre[..., start + inside : start + after]
                torch.mul(u, pre, out=out[..., inside:after])
        if after < n:
            out[..., after:].zero_()

    def _fill_past(self, out: Tensor, start: int) -> None:
        n = out.shape[-1]
        if self.state is None:
            out.zero_()
            return
        kept = self.state.shape[-1]
        blank = min(max(-kept - start, 0), n)
        if blank:
            out[..., :blank].zero_()
        if blank < n:
            out[..., blank:].copy_(
                self.state[..., kept + start + blank :][..., : n - blank]
            )

    def fill_blocks(self, out: Tensor, start: int, step: int) -> None:
        """Write x[start + i step : ... + n] into out[:, :, i] of out (B, H, N, n)."""
        blocks, n = out.shape[-2:]
        length = self.u.shape[-1]
        first = min(max(-(start // step), 0), blocks)
        last = max(min((length - n - start) // step + 1, blocks), first)
        if last - first > 1:
            span = slice(start + first * step, start + (last - 1) * step + n)
            windows = self.u[..., span].unfold(-1, n, step)
            inner = out[..., first:last, :]
            if self.pre is None:
                inner.copy_(windows)
            else:
                torch.mul(windows, self.pre[..., span].unfold(-1, n, step), out=inner)
        else:
            first = last = 0
        for i in (*range(first), *range(last, blocks)):
            self.fill(out[..., i, :], start + i * step)


def write_blocks(out: Tensor, post: Tensor | None, y: Tensor, start: int) -> None:
    """Write y (B, H, N, V) to out[..., start:], gated, the end cut."""
    blocks, step = y.shape[-2:]
    whole = min((out.shape[-1] - start) // step, blocks)
    stop = start + whole * step
    if whole:
        shape = (whole, step)
        _write(
            out[..., start:stop].unflatten(-1, shape),
            None if post is None else post[..., start:stop].unflatten(-1, shape),
            y[..., :whole, :],
        )
    if whole < blocks and stop < out.shape[-1]:
        rest = out.shape[-1] - stop
        _write(
            out[..., stop:],
            None if post is None else post[..., stop:],
            y[..., whole, :rest],
        )


def _write(out: Tensor, post: Tensor | None, y: Tensor) -> None:
    if post is None:
        out.copy_(y)
    else:
        torch.mul(y, post, out=out)


def in_dtype(dtype: torch.dtype, *tensors: Tensor | None) -> list[Any]:
    """Return tensors in one dtype, None for those that are not there."""
    return [None if t is None else t.to(dtype) for t in tensors]
