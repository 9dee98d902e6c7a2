"""A model's labels of sequences of any length, from one strand or from both.

Axes: L positions, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from genomeconv.alphabet import Codes, reverse_complement
from genomeconv.model import Model
from genomeconv.stream import TrunkStream
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.labels.annotation import CLASSES, OUTPUTS
from genomeconv.train.labels.baselines import Part
from genomeconv.train.objectives import output_logits

Read = Callable[[int, int], Codes]
Logits = npt.NDArray[np.float32]


class Labeller:
    """Runs a model over sequences of any length and gives its logits.

    Parameters
    ----------
    model : Model
    average : bool
        Read each sequence from both strands and take the mean of the logits.
    """

    def __init__(self, model: Model, average: bool = False) -> None:
        self._model = model
        self._average = average
        self._engine = TrunkStream(model.trunk)

    @torch.no_grad()
    def logits(
        self, read: Read, length: int, start: int, stop: int
    ) -> Iterator[tuple[int, Logits]]:
        """Yield first position and logits (L, C) of bases from start to stop.

        Every base sees the whole sequence around it, as far as the model reaches.
        """
        for first, x in self._engine.run(read, length, start, stop):
            low, high = max(start, first), min(stop, first + len(x))
            if low < high:
                z = output_logits(self._model, x[low - first : high - first])
                yield low, z.cpu().numpy()

    def whole(self, corpus: Corpus, part: Part) -> Logits:
        """Return the logits (L, C) of a stretch."""
        record, start, stop = part
        read, length = partial(corpus.codes, record), corpus.lengths[record]
        out = self._collected(read, length, start, stop)
        if self._average:

            def other(a: int, b: int) -> Codes:
                return reverse_complement(read(length - b, length - a))

            found = self._collected(other, length, length - stop, length - start)
            out += np.roll(found[::-1], len(CLASSES), axis=1)
            out /= 2
        return out

    def _collected(self, read: Read, length: int, start: int, stop: int) -> Logits:
        out = np.empty((stop - start, len(OUTPUTS)), np.float32)
        for first, logits in self.logits(read, length, start, stop):
            out[first - start : first - start + len(logits)] = logits
        return out
