"""Which sequences with a class are learned from, watched, and reported on.

No sequence is in two splits, nor the reverse complement of one that is: those that are
equal stay together, or are taken out of what is learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from genomeconv.alphabet import reverse_complement
from genomeconv.errors import ModelError
from genomeconv.train.classes.sequences import Item
from genomeconv.train.config import SplitConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import PARTS, Part, Splits
from genomeconv.train.notify import Notify

ItemSplits = dict[Part, list[Item]]


def by_fractions(
    items: Sequence[Item], corpus: Corpus, split: SplitConfig
) -> ItemSplits:
    """Deal sequences out by chance, those that are equal together."""
    groups: dict[bytes, list[Item]] = {}
    for item in items:
        groups.setdefault(_either_strand(item, corpus), []).append(item)
    kept = list(groups.values())
    order = np.random.default_rng(split.seed).permutation(len(kept)).tolist()
    out: ItemSplits = {part: [] for part in PARTS}
    fractions: dict[Part, float] = {
        "test": split.test_fraction,
        "valid": split.valid_fraction,
    }
    for part, fraction in fractions.items():
        while order and len(out[part]) < round(fraction * len(items)):
            out[part] += kept[order.pop()]
    for i in sorted(order):
        out["train"] += kept[i]
    return out


def by_place(items: Sequence[Item], splits: Splits, notify: Notify) -> ItemSplits:
    """Take the regions that lie in the stretches of a split; others are left out."""
    out: ItemSplits = {
        part: [
            item
            for item, inside in zip(items, _inside(items, splits[part]), strict=True)
            if inside
        ]
        for part in PARTS
    }
    left = len(items) - sum(map(len, out.values()))
    if left:
        notify("info", f"{left:,} regions lie in no split and are left out")
    return out


def _inside(
    items: Sequence[Item], stretches: Sequence[tuple[int, int, int]]
) -> Iterator[bool]:
    """Yield for each item whether a stretch, of those that are sorted, holds it."""
    keys = np.array([[r, a] for r, a, _ in stretches], np.int64).reshape(-1, 2)
    order = [(r << 40) + a for r, a in keys.tolist()]
    for item in items:
        at = int(np.searchsorted(order, (item.record << 40) + item.start, "right")) - 1
        yield at >= 0 and (
            stretches[at][0] == item.record and item.stop <= stretches[at][2]
        )


def without_repeats(splits: ItemSplits, corpus: Corpus, notify: Notify) -> ItemSplits:
    """Take out of a split what one behind it has: of train before valid and test."""
    out: ItemSplits = {part: [] for part in PARTS}
    seen: set[bytes] = set()
    for part in reversed(PARTS):
        keys = [_either_strand(item, corpus) for item in splits[part]]
        out[part] = [
            item
            for item, key in zip(splits[part], keys, strict=True)
            if key not in seen
        ]
        seen.update(keys)
        if repeats := len(splits[part]) - len(out[part]):
            notify(
                "warning",
                f"{repeats:,} sequences of split.{part} are left out: held-out text "
                "has them too, or their reverse complement",
            )
    return out


def check_splits(splits: ItemSplits) -> None:
    """Refuse splits that nothing can be learned from.

    Raises
    ------
    ModelError
        Nothing is left for training.
    """
    if not splits["train"]:
        raise ModelError(
            "config: split leaves no sequence to learn from; lower "
            "split.valid_fraction and split.test_fraction, or name other regions"
        )


def _either_strand(item: Item, corpus: Corpus) -> bytes:
    """Return the sequence or its reverse complement, whichever comes first."""
    codes = np.asarray(corpus.codes(item.record, item.start, item.stop))
    return min(codes.tobytes(), reverse_complement(codes).tobytes())
