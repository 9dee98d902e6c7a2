"""Which stretches of the genomes are learned from, watched, and reported on.

A stretch is (record, start, stop), 0-based half-open, records numbered over all FASTA
files. Between two splits a gap is left out; training gives way to validation, and
validation to the test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from genomeconv.errors import ModelError
from genomeconv.intervals import parse_region, read_bed
from genomeconv.train.config import SplitConfig, TrainConfig
from genomeconv.train.data.corpus import Corpus

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")

LARGEST_BLOCK = 1_000_000
_BLOCKS = 50
_WINDOWS_A_BLOCK = 4


class Stretch(NamedTuple):
    """Part of one record, 0-based half-open."""

    record: int
    start: int
    stop: int


Stretches = list[Stretch]
Splits = dict[Part, Stretches]


def make_splits(config: TrainConfig, corpus: Corpus) -> Splits:
    """Return the stretches of each split, in the order of the genome.

    Raises
    ------
    DataError
        A region or BED file does not fit the genomes.
    ModelError
        Splits overlap, are empty, or no training stretch holds a window.
    """
    split = config.split
    if split.by == "fractions":
        chosen = _by_fractions(split, corpus, config.data.window)
    else:
        chosen = {part: _given(split, part, corpus) for part in PARTS}
        _refuse_overlaps(chosen, corpus)
    if not chosen["train"]:
        chosen["train"] = _whole(corpus)
    chosen["valid"] = subtract(chosen["valid"], widened(chosen["test"], split.gap))
    held_out = chosen["valid"] + chosen["test"]
    chosen["train"] = subtract(chosen["train"], widened(held_out, split.gap))
    _check(chosen, config)
    return chosen


def bases(stretches: Iterable[Stretch]) -> int:
    """Return the bases of all stretches together."""
    return sum(s.stop - s.start for s in stretches)


def describe(splits: Splits, corpus: Corpus) -> dict[str, Any]:
    """Return the splits as regions, 1-based inclusive, ready for JSON."""
    return {
        part: {
            "bases": bases(stretches),
            "regions": [region_text(s, corpus) for s in stretches],
        }
        for part, stretches in splits.items()
    }


def region_text(stretch: Stretch, corpus: Corpus) -> str:
    """Return a stretch as people write it, 1-based inclusive."""
    name = corpus.names[stretch.record]
    return f"{name}:{stretch.start + 1}-{stretch.stop}"


def _by_fractions(split: SplitConfig, corpus: Corpus, window: int) -> Splits:
    """Cut records into blocks and deal them out by chance."""
    size = split.block or _block_size(sum(corpus.lengths), window)
    blocks = [
        Stretch(record, int(a), int(b))
        for record, length in enumerate(corpus.lengths)
        if length
        for a, b in _cut(length, size)
    ]
    order = np.random.default_rng(split.seed).permutation(len(blocks)).tolist()
    out: Splits = {"train": [], "valid": [], "test": []}
    fractions: dict[Part, float] = {
        "valid": split.valid_fraction,
        "test": split.test_fraction,
    }
    for part, fraction in fractions.items():
        count = max(1, round(fraction * len(blocks))) if fraction else 0
        out[part] = joined(blocks[i] for i in order[:count])
        order = order[count:]
    if not order:
        raise ModelError(
            f"config: split.block must leave blocks to learn from, got {len(blocks)} "
            f"blocks of about {size:,} bases; make split.block or data.window smaller"
        )
    out["train"] = joined(blocks[i] for i in order)
    return out


def _block_size(total: int, window: int) -> int:
    return min(LARGEST_BLOCK, max(_WINDOWS_A_BLOCK * window, total // _BLOCKS))


def _cut(length: int, size: int) -> Iterable[tuple[int, int]]:
    """Cut a record into equal parts of about ``size`` bases."""
    edges = np.linspace(0, length, max(1, round(length / size)) + 1).astype(int)
    return zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def _given(split: SplitConfig, part: Part, corpus: Corpus) -> Stretches:
    """Read the regions or BED files of one split."""
    found = []
    for text in getattr(split, part):
        if split.by == "bed":
            found += read_bed(Path(text), corpus.length_of, corpus.label)
        else:
            found.append(parse_region(text, corpus.length_of, corpus.label))
    numbers = corpus.number_of
    return joined(Stretch(numbers[i.name], i.start, i.end) for i in found)


def regions_of(corpus: Corpus, bed: Path | None) -> Stretches:
    """Return the regions of a BED file, joined; without one, all sequences whole."""
    if bed is None:
        return _whole(corpus)
    numbers = corpus.number_of
    found = read_bed(bed, corpus.length_of, corpus.label)
    return joined(Stretch(numbers[i.name], i.start, i.end) for i in found)


def _whole(corpus: Corpus) -> Stretches:
    return [Stretch(r, 0, length) for r, length in enumerate(corpus.lengths) if length]


def joined(stretches: Iterable[Stretch]) -> Stretches:
    """Sort, and make one of those that touch or overlap."""
    out: Stretches = []
    for s in sorted(stretches):
        if out and out[-1].record == s.record and s.start <= out[-1].stop:
            out[-1] = out[-1]._replace(stop=max(out[-1].stop, s.stop))
        else:
            out.append(s)
    return out


def widened(stretches: Iterable[Stretch], gap: int) -> Stretches:
    """Add ``gap`` bases on both sides; the end of a record may be passed."""
    return joined(Stretch(r, max(0, a - gap), b + gap) for r, a, b in stretches)


def subtract(stretches: Sequence[Stretch], removed: Sequence[Stretch]) -> Stretches:
    """Return what of ``stretches`` no joined stretch of ``removed`` covers."""
    by_record: dict[int, Stretches] = {}
    for s in removed:
        by_record.setdefault(s.record, []).append(s)
    out: Stretches = []
    for record, start, stop in stretches:
        for _, a, b in by_record.get(record, ()):
            if start < min(a, stop):
                out.append(Stretch(record, start, min(a, stop)))
            start = max(start, b)
        if start < stop:
            out.append(Stretch(record, start, stop))
    return out


def _refuse_overlaps(chosen: Mapping[Part, Stretches], corpus: Corpus) -> None:
    for i, part in enumerate(PARTS):
        for other in PARTS[i + 1 :]:
            left = subtract(chosen[part], chosen[other])
            if bases(left) < bases(chosen[part]):
                shared = subtract(chosen[part], left)[0]
                raise ModelError(
                    f"config: split.{part} and split.{other} share "
                    f"{region_text(shared, corpus)}; a base belongs to one split"
                )


def _check(chosen: Splits, config: TrainConfig) -> None:
    split, window = config.split, config.data.window
    wanted: dict[Part, bool] = {
        "valid": bool(split.valid)
        or (split.by == "fractions" and split.valid_fraction > 0),
        "test": bool(split.test),
    }
    for part, asked in wanted.items():
        if asked and not chosen[part]:
            raise ModelError(
                f"config: split.gap leaves nothing of split.{part}; make split.gap "
                "smaller"
            )
    longest = max((s.stop - s.start for s in chosen["train"]), default=0)
    if longest < window:
        raise ModelError(
            f"config: data.window must be at most {longest:,} bases, the longest "
            f"stretch to learn from, got {window:,}"
        )
