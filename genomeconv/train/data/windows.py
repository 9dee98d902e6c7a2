"""Windows of the training text: a pure function of seed, step and place in the batch.

So the order of samples depends on no worker, process or restart. Every random number a
sample needs, what an objective hides included, comes from one generator of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from genomeconv.alphabet import Codes, N, reverse_complement
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import Stretch, region_text

_TRIES = 64
_MOST_N = 0.5
_EVALUATION = 1 << 63
"""In place of the step, for windows that are judged: no step is as high."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where a sample comes from, 0-based half-open on the forward strand."""

    record: int
    start: int
    stop: int
    reverse: bool
    """Whether it is read from the other strand."""
    label: int = -1
    """Number of its class, where the sample is a sequence that has one."""


class Samples(Protocol):
    """Interface of where samples come from."""

    def draw(
        self, step: int, index: int, size: int
    ) -> tuple[Window, Codes, np.random.Generator]:
        """Draw sample ``index`` of a step, ``size`` bases long, and its generator."""
        ...

    def spread(
        self, index: int, count: int, size: int
    ) -> tuple[Window, Codes, np.random.Generator]:
        """Return sample ``index`` of ``count`` that lie evenly over all there are."""
        ...

    def count(self, size: int) -> int:
        """Return how many samples of ``size`` bases cover all there is."""
        ...


class Sampler:
    """Draws windows from stretches, longer ones more often.

    Parameters
    ----------
    corpus : Corpus
    stretches : sequence of Stretch
        At least one.
    seed : int
    flips : bool
        Read every second window, by chance, from the other strand.
    grid : int
        Windows start and end at multiples of so many bases of their sequence; what
        a stretch has beyond is not looked at.
    """

    def __init__(
        self,
        corpus: Corpus,
        stretches: Sequence[Stretch],
        seed: int,
        flips: bool,
        grid: int = 1,
    ) -> None:
        self.corpus = corpus
        self.seed = seed
        self.flips = flips
        self.grid = grid
        snapped = [
            Stretch(r, -(-a // grid) * grid, b // grid * grid) for r, a, b in stretches
        ]
        self._stretches = [s for s in snapped if s.start < s.stop]
        self._ends = np.cumsum([s.stop - s.start for s in self._stretches])

    def draw(
        self, step: int, index: int, size: int
    ) -> tuple[Window, Codes, np.random.Generator]:
        """Draw a sample of a step.

        Windows that are mostly N are drawn again, a bounded number of times; a
        stretch that is shorter than the window is followed by N.

        Parameters
        ----------
        step : int
            Global step.
        index : int
            Place in the batch of all processes together.
        size : int
            Bases wanted.

        Returns
        -------
        window, codes, generator : Window, (size,) uint8, Generator
            The generator is the sample's own, for what an objective needs.
        """
        rng = np.random.default_rng((self.seed, step, index))
        for _ in range(_TRIES):
            window = self._place(rng, size)
            codes = self.codes(window, size)
            if np.count_nonzero(codes == N) <= _MOST_N * size:
                break
        return window, codes, rng

    def spread(
        self, index: int, count: int, size: int
    ) -> tuple[Window, Codes, np.random.Generator]:
        """Return window ``index`` of ``count`` that lie evenly over the stretches."""
        total = self.bases
        place = (2 * index + 1) * total // (2 * count)
        stretch, offset = self._at(place)
        start = min(stretch.start + offset, max(stretch.start, stretch.stop - size))
        start -= start % self.grid
        stop = min(start + size, stretch.stop)
        window = Window(record=stretch.record, start=start, stop=stop, reverse=False)
        rng = np.random.default_rng((self.seed, _EVALUATION, index))
        return window, self.codes(window, size), rng

    def count(self, size: int) -> int:
        """Return how many windows cover the stretches."""
        return -(-self.bases // size)

    @property
    def bases(self) -> int:
        """Bases of all stretches together."""
        return int(self._ends[-1])

    def codes(self, window: Window, size: int) -> Codes:
        """Return the codes of a window in the order of its strand, (size,)."""
        found = self.corpus.codes(window.record, window.start, window.stop)
        if window.reverse:
            found = reverse_complement(found)
        out = np.full(size, N, dtype=np.uint8)
        out[: len(found)] = found
        return out

    def _place(self, rng: np.random.Generator, size: int) -> Window:
        stretch, _ = self._at(int(rng.integers(self.bases)))
        places = max(1, (stretch.stop - stretch.start - size) // self.grid + 1)
        start = stretch.start + self.grid * int(rng.integers(places))
        reverse = bool(rng.integers(2)) and self.flips
        stop = min(start + size, stretch.stop)
        return Window(record=stretch.record, start=start, stop=stop, reverse=reverse)

    def _at(self, place: int) -> tuple[Stretch, int]:
        """Return the stretch that holds base ``place`` of all, and where in it."""
        i = int(np.searchsorted(self._ends, place, side="right"))
        stretch = self._stretches[i]
        return stretch, place - int(self._ends[i]) + stretch.stop - stretch.start


def describe_windows(windows: Sequence[Window], corpus: Corpus) -> list[dict[str, str]]:
    """Return where windows come from, as regions and strands, ready for JSON."""
    return [
        {
            "region": region_text(Stretch(w.record, w.start, w.stop), corpus),
            "strand": "-" if w.reverse else "+",
        }
        for w in windows
    ]
