"""Windows around the edges of exons, drawn more often than chance would.

A splice site is one base in twenty thousand of a vertebrate genome: of windows that
fall anywhere few show one. The others still have to be seen, or everything would look
like an exon; and outputs stay probabilities of the whole text, because the objective is
told how frequent each label is in what is drawn (:func:`drawn_frequencies`).

Axes: C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genomeconv.errors import ModelError
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import Stretch
from genomeconv.train.data.windows import Sampler, Window
from genomeconv.train.labels.annotation import OUTPUTS, Annotation, other_strand

Floats = npt.NDArray[np.float64]

COUNTED = 4096
"""Windows in which labels are counted."""
_COUNTING = (1 << 63) + 1
"""In place of the step, for these windows: no step is as high."""


class FocusedSampler(Sampler):
    """Draws a share of the windows around edges of exons, the others anywhere.

    An edge is a donor, an acceptor, or the first base of a stretch of CDS, of either
    strand. All are drawn alike; the edge lies anywhere in the middle half of the
    window, unless the stretch ends before.

    Parameters
    ----------
    corpus : Corpus
    stretches : sequence of Stretch
        At least one.
    seed : int
    flips : bool
        Read every second window, by chance, from the other strand.
    annotation : Annotation
    share : float
        Of the windows, in (0, 1].

    Raises
    ------
    ModelError
        The stretches have no edges.
    """

    def __init__(
        self,
        corpus: Corpus,
        stretches: Sequence[Stretch],
        seed: int,
        flips: bool,
        annotation: Annotation,
        share: float,
    ) -> None:
        super().__init__(corpus, stretches, seed, flips)
        self.share = share
        found = [annotation.edges(*stretch) for stretch in stretches]
        self._edges = np.concatenate(found)
        self._holders = np.repeat(np.arange(len(found)), [len(f) for f in found])
        if not len(self._edges):
            raise ModelError(
                "config: data.focus needs exons in the training text, the annotation "
                f"has none there; set it to 0, got {share:g}"
            )

    def _place(self, rng: np.random.Generator, size: int) -> Window:
        if rng.random() >= self.share:
            return super()._place(rng, size)
        i = int(rng.integers(len(self._edges)))
        stretch = self._stretches[int(self._holders[i])]
        before = size // 4 + int(rng.integers(max(1, size // 2)))
        start = min(int(self._edges[i]) - before, stretch.stop - size)
        start = max(stretch.start, start)
        reverse = bool(rng.integers(2)) and self.flips
        stop = min(start + size, stretch.stop)
        return Window(record=stretch.record, start=start, stop=stop, reverse=reverse)


def drawn_frequencies(sampler: Sampler, annotation: Annotation, size: int) -> Floats:
    """Return the share of the bases of drawn windows that have each label, (C,).

    Counted in COUNTED windows of ``size`` bases: the same ones for the same seed.
    """
    counts, total = np.zeros(len(OUTPUTS)), 0
    bits = np.arange(len(OUTPUTS))
    for i in range(COUNTED):
        window, _, _ = sampler.draw(_COUNTING, i, size)
        masks = annotation.masks(window.record, window.start, window.stop)
        masks = other_strand(masks) if window.reverse else masks
        counts += (masks[:, None] >> bits & 1).sum(axis=0)
        total += len(masks)
    return counts / total
