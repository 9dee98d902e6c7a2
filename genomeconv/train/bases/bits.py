"""Bits per base of a model and of Markov models, by sequence and by class of region.

A causal model predicts every base but the first from all that stands before it. A model
of hidden bases predicts every base, a seventh of them hidden at a time, from all the
others. A bit is a bit in both: log2 of one over the probability of the right one of
four bases.

Axes: P positions, K orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genomeconv.alphabet import SIZE, Codes, N
from genomeconv.errors import ModelError
from genomeconv.model import Model
from genomeconv.stream import TrunkStream
from genomeconv.train.bases.markov import Markov
from genomeconv.train.bases.objective import base_logits

Floats = npt.NDArray[np.float64]
Read = Callable[[int, int], Codes]
"""Returns the codes from start to stop of one sequence."""

PHASES = 7
"""Of the bases one in so many is hidden at a time: 14 %, as when trained."""
_HIDDEN = SIZE
"""Code of a hidden base; it follows those of the alphabet."""
_PIECE = 1 << 20


class Scorer:
    """Runs a model over sequences and tells the bits of each base.

    Parameters
    ----------
    model : Model
        On its device.
    mask_id : int, optional
        Row of the embedding table for a hidden base; None: the model is causal and
        predicts the next base.

    Raises
    ------
    ModelError
        The model can do neither.
    """

    def __init__(self, model: Model, mask_id: int | None = None) -> None:
        config = model.config
        if config.head == "none":
            raise ModelError("the model has no head: it predicts no bases")
        if mask_id is None and not config.causal:
            raise ModelError(
                "the model sees both sides and its card names no row for hidden bases "
                "(objective.mask_id): bits per base cannot be measured"
            )
        self.model = model
        self.mask_id = mask_id
        self._engine = TrunkStream(model.trunk)
        if mask_id is not None:
            row = model.trunk.embedding.weight.detach()[mask_id]
            self._engine.table = torch.cat([self._engine.table, row[None]])

    def bits(self, read: Read, length: int) -> Iterator[tuple[int, Floats]]:
        """Yield first position and bits of the bases that follow, (P,).

        NaN is not scored; together the parts score each called base at most once.
        """
        if self.mask_id is None:
            yield from self._next(read, length)
        else:
            for phase in range(min(PHASES, length)):
                yield from self._hidden(read, length, phase)

    def _next(self, read: Read, length: int) -> Iterator[tuple[int, Floats]]:
        for start, x in self._engine.run(read, length):
            stop = min(start + 1 + len(x), length)
            if stop > start + 1:
                codes = read(start + 1, stop)
                yield start + 1, self._score(x[: len(codes)], codes)

    def _hidden(
        self, read: Read, length: int, phase: int
    ) -> Iterator[tuple[int, Floats]]:
        def hide(a: int, b: int) -> Codes:
            codes = np.array(read(a, b))
            codes[(phase - a) % PHASES :: PHASES] = _HIDDEN
            return codes

        for start, x in self._engine.run(hide, length):
            codes = read(start, start + len(x))
            out = np.full(len(x), np.nan)
            at = slice((phase - start) % PHASES, None, PHASES)
            out[at] = self._score(x[at], codes[at])
            yield start, out

    @torch.no_grad()
    def _score(self, x: torch.Tensor, codes: Codes) -> Floats:
        """Return the bits of each base, NaN for N."""
        nats = -base_logits(self.model, x).double().log_softmax(-1).cpu().numpy()
        known = codes != N
        out = np.full(len(codes), np.nan)
        at = np.flatnonzero(known)
        out[at] = nats[at, codes[at]] / math.log(2)
        return out


def markov_bits(
    markov: Markov, read: Read, length: int, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, Floats]]:
    """Yield first position and bits of the bases that follow, (K, P); NaN: N.

    The first base of a sequence is left out by one-sided models, as a causal model
    leaves it out.
    """
    margin = markov.longest
    stop = length if stop is None else stop
    for a in range(start, stop, _PIECE):
        b = min(a + _PIECE, stop)
        low, high = max(0, a - margin), min(length, b + margin)
        out = markov.bits(np.asarray(read(low, high)))[:, a - low : b - low]
        if a == 0 and not markov.two_sided:
            out[:, 0] = np.nan
        yield a, out


class Tally:
    """Sums of bits by class of region, for one model or one model an order.

    Parameters
    ----------
    classes : Mapping
        Name -> (starts, stops) of disjoint ascending stretches of one sequence.
    """

    def __init__(self, classes: Mapping[str, tuple[Sequence[int], Sequence[int]]]):
        self._classes = {
            name: (np.asarray(a, np.int64), np.asarray(b, np.int64))
            for name, (a, b) in classes.items()
        }
        self.sums: dict[str, Floats] = {}
        self.counts: dict[str, int] = {}

    def add(self, start: int, bits: Floats) -> None:
        """Take the bits of positions from ``start`` on, (..., P)."""
        bits = np.atleast_2d(bits)
        known = ~np.isnan(bits[0])
        totals = np.cumsum(np.where(known, bits, 0.0), axis=-1)
        totals = np.concatenate([np.zeros((len(bits), 1)), totals], axis=-1)
        counts = np.concatenate([[0], np.cumsum(known)])
        for name, (a, b) in self._classes.items():
            low, high = (np.clip(edge - start, 0, bits.shape[-1]) for edge in (a, b))
            part = (totals[:, high] - totals[:, low]).sum(axis=-1)
            self.sums[name] = self.sums.get(name, 0.0) + part
            self.counts[name] = self.counts.get(name, 0) + int(
                (counts[high] - counts[low]).sum()
            )


class Totals:
    """Bits per base by class, added up over sequences."""

    def __init__(self) -> None:
        self._sums: dict[str, Floats] = {}
        self._counts: dict[str, int] = {}

    def add(self, tally: Tally) -> None:
        """Add what was counted on one sequence."""
        for name, sums in tally.sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + sums
            self._counts[name] = self._counts.get(name, 0) + tally.counts[name]

    def bits(self) -> dict[str, list[float]]:
        """Return bits per base by class, a number an order; no empty classes."""
        return {
            name: (sums / self._counts[name]).tolist()
            for name, sums in self._sums.items()
            if self._counts[name]
        }

    def counts(self) -> dict[str, int]:
        """Return bases scored by class."""
        return dict(self._counts)


def tally(
    parts: Iterable[tuple[int, Floats]],
    length: int,
    classes: Mapping[str, tuple[Sequence[int], Sequence[int]]] | None = None,
) -> Tally:
    """Sum the bits of one sequence: in all ("all"), and by class."""
    out = Tally({"all": ([0], [length]), **(classes or {})})
    for start, bits in parts:
        out.add(start, bits)
    return out


def mask_id_of(card: Mapping[str, Any], model: Model) -> int | None:
    """Return the row of hidden bases that a model's card names, None if it has none."""
    objective = card.get("objective")
    if not isinstance(objective, Mapping) or objective.get("kind") != "mask":
        return None
    row = objective.get("mask_id")
    if type(row) is not int or not 0 <= row < model.config.vocabulary:
        raise ModelError("the model's card: objective.mask_id is no row of its table")
    return row
