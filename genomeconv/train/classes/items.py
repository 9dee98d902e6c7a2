"""Sequences with a class as samples: every one once in each pass, in its own order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import Codes, N, reverse_complement
from genomeconv.train.classes.sequences import Item
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.windows import Window

_JUDGED = 1 << 63
"""In place of the sample's number, for sequences that are judged."""


class ItemSamples:
    """Draws whole sequences, a pass in an order of its own after the other.

    Which one is sample i of a step depends on the seed and the step alone.

    Parameters
    ----------
    corpus : Corpus
    items : sequence of Item
        At least one.
    labels : sequence of int
        Number of the class of each.
    seed : int
    flips : bool
        Read every second one, by chance, from the other strand.
    windows : int
        Samples of a step.
    """

    def __init__(
        self,
        corpus: Corpus,
        items: Sequence[Item],
        labels: Sequence[int],
        *,
        seed: int,
        flips: bool,
        windows: int,
    ) -> None:
        self.corpus = corpus
        self.items = list(items)
        self.labels = list(labels)
        self.seed = seed
        self.flips = flips
        self._windows = windows
        self._order = lru_cache(maxsize=2)(self._permutation)

    def draw(
        self, step: int, index: int, size: int
    ) -> tuple[Window, Codes, np.random.Generator]:
        """Draw sample ``index`` of a step, (bases,): it is as long as it is."""
        rng = np.random.default_rng((self.seed, step, index))
        epoch, place = divmod(step * self._windows + index, len(self.items))
        flip = bool(rng.integers(2)) and self.flips
        return self._sample(int(self._order(epoch)[place]), flip, size, rng)

    def spread(
        self, index: int, count: int, size: int
    ) -> tuple[Window, Codes, np.random.Generator]:
        """Return sequence ``index`` of ``count`` that lie evenly over all."""
        number = (2 * index + 1) * len(self.items) // (2 * count)
        rng = np.random.default_rng((self.seed, _JUDGED, index))
        return self._sample(number, False, size, rng)

    def count(self, size: int) -> int:
        """Return how many sequences there are."""
        return len(self.items)

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, epoch))
        return rng.permutation(len(self.items))

    def _sample(
        self, number: int, flip: bool, size: int, rng: np.random.Generator
    ) -> tuple[Window, Codes, np.random.Generator]:
        item = self.items[number]
        window = Window(
            record=item.record,
            start=item.start,
            stop=item.stop,
            reverse=item.reverse != flip,
            label=self.labels[number],
        )
        out = np.full(size, N, dtype=np.uint8)
        codes = item_codes(self.corpus, item)
        out[: len(codes)] = reverse_complement(codes) if flip else codes
        return window, out, rng


def item_codes(corpus: Corpus, item: Item) -> Codes:
    """Return the sequence of an item, read from its strand."""
    codes = np.asarray(corpus.codes(item.record, item.start, item.stop))
    return reverse_complement(codes) if item.reverse else codes
