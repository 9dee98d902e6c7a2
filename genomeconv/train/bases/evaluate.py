"""A model's bits per base on any FASTA, beside Markov models."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from genomeconv.alphabet import Codes
from genomeconv.errors import DataError, UsageError
from genomeconv.fasta import ReadPolicy, SpooledGenome, read_genome
from genomeconv.intervals import read_bed
from genomeconv.train.bases.bits import (
    Floats,
    Read,
    Scorer,
    Totals,
    markov_bits,
    mask_id_of,
    tally,
)
from genomeconv.train.bases.markov import Markov, longest_order
from genomeconv.train.data.splits import Stretch, joined
from genomeconv.train.notify import Notify
from genomeconv.weights import LoadedModel

SELF, NONE = "self", "none"
_CHOOSING_BASES = 2_000_000
_FOLDS = 2
_SMALLEST_BLOCK, _LARGEST_BLOCK, _BLOCKS = 1_000, 100_000, 20

Classes = Mapping[str, tuple[Sequence[int], Sequence[int]]]


class Advance(Protocol):
    """A display of bases done."""

    def start(self, total: int, description: str) -> None:
        """Begin; ``total`` bases are to be done."""
        ...

    def advance(self, bases: int) -> None:
        """Count bases."""
        ...


def evaluate_bases(
    loaded: LoadedModel,
    device: torch.device,
    fasta: str,
    bed: Path | None,
    progress: Advance,
    notify: Notify,
    *,
    markov: str,
    order: int | None,
) -> dict[str, Any]:
    """Judge the probabilities of next or hidden bases.

    Parameters
    ----------
    loaded : LoadedModel
    device : torch.device
    fasta : str
        Path, or "-" for standard input.
    bed : Path, optional
        Regions; column 4 names the class.
    progress : Advance
    notify : callable
    markov : str
        FASTA that Markov models learn from, SELF or NONE.
    order : int, optional
        Their longest context; None: what the text allows.

    Returns
    -------
    dict
        "rows": one a sequence, one a class, one for all; JSON.

    Raises
    ------
    ModelError
        The model predicts no bases.
    DataError
        A file is not what it has to be, or they do not fit each other.
    UsageError
        ``order`` is more than the Markov models can have.
    """
    mask_id = mask_id_of(loaded.card, loaded.model)
    scorer = Scorer(loaded.model.to(device), mask_id)
    with ExitStack() as stack:
        genome = _read(fasta, stack, notify)
        classes = _classes(bed, genome)
        two_sided = mask_id is not None
        baseline = _baseline(markov, order, genome, two_sided, stack, notify)
        rows = list(_rows(scorer, baseline, genome, classes, progress))
    return {
        "fasta_sha256": genome.fingerprint["sha256"],
        "objective": "hidden base" if two_sided else "next base",
        "markov_learned_from": None if baseline is None else baseline.origin,
        "rows": rows,
    }


def _read(fasta: str, stack: ExitStack, notify: Notify) -> SpooledGenome:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    policy = ReadPolicy(empty="skip")
    genome = read_genome(fasta, folder, policy, warn=partial(notify, "warning"))
    return stack.enter_context(genome)


def _classes(bed: Path | None, genome: SpooledGenome) -> list[Classes]:
    """Return, for each record, the stretches of each class, joined."""
    names = genome.records.names
    lengths = dict(zip(names, genome.records.lengths.tolist(), strict=True))
    by_class: dict[str, list[Stretch]] = {}
    number = {name: i for i, name in enumerate(names)}
    for region in read_bed(bed, lengths) if bed else ():
        if not region.label:
            raise DataError(
                f"{bed}: {region} has no name; column 4 has to name the class"
            )
        stretch = Stretch(number[region.name], region.start, region.end)
        by_class.setdefault(region.label, []).append(stretch)
    out: list[dict[str, tuple[list[int], list[int]]]] = [{} for _ in names]
    for label, stretches in by_class.items():
        for record, start, stop in joined(stretches):
            starts, stops = out[record].setdefault(f"class {label}", ([], []))
            starts.append(start)
            stops.append(stop)
    return list(out)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Baseline:
    """Markov models, one a fold, and the bases of a fold's blocks."""

    origin: str
    models: list[Markov]
    block: int

    def bits(self, read: Read, first: int, length: int) -> Iterator[tuple[int, Floats]]:
        """Yield the bits of one sequence, each block by the model of the other fold.

        ``first`` is the place of the sequence's first base among all.
        """
        if len(self.models) == 1:
            yield from markov_bits(self.models[0], read, length)
            return
        for start, stop, fold in _blocks(first, length, self.block):
            yield from markov_bits(self.models[1 - fold], read, length, start, stop)


def _blocks(first: int, length: int, block: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, stop and fold of the blocks of a sequence."""
    start = 0
    while start < length:
        number = (first + start) // block
        stop = min(length, (number + 1) * block - first)
        yield start, stop, number % _FOLDS
        start = stop


def _baseline(
    markov: str,
    order: int | None,
    genome: SpooledGenome,
    two_sided: bool,
    stack: ExitStack,
    notify: Notify,
) -> _Baseline | None:
    if markov == NONE:
        return None
    own = markov == SELF
    text = genome if own else _read(markov, stack, notify)
    total = text.records.bases
    if order is None:
        half = total // _FOLDS if own else total
        order = longest_order(half, two_sided=two_sided)
    if two_sided and order > 6:
        raise UsageError(f"--order must be at most 6 with bases on both sides: {order}")
    notify("info", f"counting words for Markov models of order 0 to {order}")
    block = max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, total // _BLOCKS))
    models = [Markov(order, two_sided=two_sided) for _ in range(_FOLDS if own else 1)]
    learned: list[list[Codes]] = [[] for _ in range(_FOLDS)]
    for i, codes, fold in _pieces(text, block):
        models[fold if own else 0].count(codes)
        if i < _CHOOSING_BASES:
            learned[fold].append(codes)
    if own:
        for fold, model in enumerate(models):
            model.choose_strengths(learned[1 - fold] or learned[fold])
    else:
        models[0].choose_strengths(
            [c for _, c, _ in _pieces(genome, _CHOOSING_BASES)][:1]
        )
    origin = "the other half of the same text" if own else markov
    return _Baseline(origin=origin, models=models, block=block)


def _pieces(genome: SpooledGenome, block: int) -> Iterator[tuple[int, Codes, int]]:
    """Yield the blocks of a genome: place of the first base, codes, fold."""
    first = 0
    for record, length in enumerate(genome.records.lengths.tolist()):
        for start, stop, fold in _blocks(first, length, block):
            yield first + start, genome.codes(record, start, stop), fold
        first += length


def _rows(
    scorer: Scorer,
    baseline: _Baseline | None,
    genome: SpooledGenome,
    classes: list[Classes],
    progress: Advance,
) -> Iterator[dict[str, Any]]:
    records = genome.records
    progress.start(records.bases, "evaluate")
    ours, theirs, first = Totals(), Totals(), 0
    for record, length in enumerate(records.lengths.tolist()):
        read = partial(genome.codes, record)
        one, other = Totals(), Totals()
        mine = tally(scorer.bits(read, length), length, classes[record])
        for total in (ours, one):
            total.add(mine)
        if baseline is not None:
            parts = baseline.bits(read, first, length)
            its = tally(parts, length, classes[record])
            for total in (theirs, other):
                total.add(its)
        first += length
        progress.advance(length)
        yield _row(records.names[record], "all", one, other)
    for name in ours.counts():
        if name != "all":
            yield _row(name, name, ours, theirs)
    if len(records) > 1:
        yield _row("all sequences", "all", ours, theirs)


def _row(label: str, name: str, ours: Totals, theirs: Totals) -> dict[str, Any]:
    bits, orders = ours.bits().get(name, [None])[0], theirs.bits().get(name, [])
    best = int(np.argmin(orders)) if orders else None
    return {
        "sequence": label,
        "bases": ours.counts().get(name, 0),
        "bits_per_base": bits,
        "markov_bits_per_base": None if best is None else orders[best],
        "markov_order": best,
        "markov_by_order": orders,
    }
