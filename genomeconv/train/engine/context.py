"""One sequence over several processes: each holds a stretch, neighbours lend the rest.

Axes: B windows, C channels, L positions of a stretch.

A mixer needs the positions before its stretch that its taps reach, K - 1 in all with
those behind it. They are sent in the forward pass; in the backward pass their
gradients go back to whoever lent them. So every process ends with its share of each
gradient, and the shares add up to that of the whole sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from genomeconv.model import Model
from genomeconv.model.block import Block


class Stretches:
    """The stretches of a sequence, in the order of the processes that hold them.

    Parameters
    ----------
    group : ProcessGroup
    place : int
        Number of this process's stretch.
    count : int
        How many there are, all of one length.
    """

    def __init__(self, group: dist.ProcessGroup, place: int, count: int) -> None:
        self._group = group
        self._place = place
        self._count = count

    def share(self, model: Model) -> None:
        """Let a model take its sequences for stretches."""
        for block in model.trunk.blocks:
            assert isinstance(block, Block)
            block.mixer.neighbours = self

    def widened(self, x: Tensor, left: int, right: int) -> Tensor:
        """Return x (B, C, L) with what stands beside it, (B, C, left + L + right).

        Zero beyond the ends of the sequence. All processes must call it together, and
        in the backward pass as well.
        """
        if not left + right:
            return x
        out: Tensor = _Widened.apply(x, left, right, self)  # type: ignore[no-untyped-call]
        return out

    def lend(self, x: Tensor, left: int, right: int) -> Tensor:
        """Return the widened stretch, without gradients."""
        size = x.shape[-1]
        out = x.new_zeros(*x.shape[:-1], left + size + right)
        out[..., left : left + size] = x
        parts = list(_parts(left, right, size))
        sent = [(steps, x[..., theirs]) for steps, theirs, _ in parts]
        got = [(-steps, out[..., ours]) for steps, _, ours in parts]
        for part, value in self._exchange(sent, got):
            part.copy_(value)
        return out

    def give_back(self, grad: Tensor, left: int, right: int) -> Tensor:
        """Return the gradient of a stretch, from that of the widened one."""
        size = grad.shape[-1] - left - right
        out = grad[..., left : left + size].clone()
        parts = list(_parts(left, right, size))
        sent = [(-steps, grad[..., ours]) for steps, _, ours in parts]
        got = [(steps, out[..., theirs]) for steps, theirs, _ in parts]
        for part, value in self._exchange(sent, got):
            part.add_(value)
        return out

    def _exchange(
        self, sent: list[tuple[int, Tensor]], got: list[tuple[int, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Send to and receive from places so many steps on.

        Yields
        ------
        part, value
            Each tensor of ``got`` that somebody sent something for, and what.
        """
        operations, values = [], []
        for steps, part in sent:
            if self._is(steps):
                operations.append(self._operation(dist.isend, part.contiguous(), steps))
        for steps, part in got:
            if self._is(steps):
                value = torch.empty_like(part, memory_format=torch.contiguous_format)
                operations.append(self._operation(dist.irecv, value, steps))
                values.append((part, value))
        if operations:
            for work in dist.batch_isend_irecv(operations):
                work.wait()
        yield from values

    def _is(self, steps: int) -> bool:
        return 0 <= self._place + steps < self._count

    def _operation(self, kind: Any, value: Tensor, steps: int) -> dist.P2POp:
        peer = self._place + steps
        return dist.P2POp(kind, value, group=self._group, group_peer=peer)


def _parts(left: int, right: int, size: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield what one stretch lends another.

    Yields
    ------
    steps, theirs, ours
        How many places further right the borrower stands (negative: left), positions
        of the lender's stretch, and of the borrower's widened one. A reach beyond a
        stretch takes from several.
    """
    for n in range(-(-left // size)):
        end = left - n * size
        length = min(size, end)
        yield n + 1, slice(size - length, size), slice(end - length, end)
    for n in range(-(-right // size)):
        length = min(size, right - n * size)
        start = left + (n + 1) * size
        yield -n - 1, slice(0, length), slice(start, start + length)


class _Widened(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, left: int, right: int, stretches: Stretches
    ) -> Tensor:
        ctx.given = left, right, stretches
        return stretches.lend(x, left, right)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, stretches = ctx.given
        return stretches.give_back(grad, left, right), None, None, None
