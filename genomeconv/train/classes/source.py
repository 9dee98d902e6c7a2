"""Sequences with a class each: what models of classes learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from genomeconv.alphabet import Codes
from genomeconv.errors import DataError
from genomeconv.model import Model
from genomeconv.train.classes.items import ItemSamples, item_codes
from genomeconv.train.classes.judge import Baselines, judged, probabilities
from genomeconv.train.classes.objective import SequenceClasses, class_weights
from genomeconv.train.classes.sequences import (
    Item,
    class_names,
    numbered,
    read_csv,
    read_regions,
    regions_fingerprint,
)
from genomeconv.train.classes.splits import (
    ItemSplits,
    by_fractions,
    by_place,
    check_splits,
    without_repeats,
)
from genomeconv.train.config import TrainConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import PARTS, Part, make_splits
from genomeconv.train.data.windows import Samples
from genomeconv.train.notify import Notify
from genomeconv.train.objectives import Objective
from genomeconv.train.source import with_steps

_SHORTEST = 16
"""Fewest bases of a window."""


class ClassSource:
    """Whole sequences, of CSV files or of regions of genomes.

    Parameters
    ----------
    config : TrainConfig
    notify : callable

    Raises
    ------
    GenomeconvError
        The files are not what they have to be, or the splits do not fit them.
    """

    def __init__(self, config: TrainConfig, notify: Notify) -> None:
        self._regions: dict[str, list[Item]] = {}
        self.corpus, files = self._read(config, notify)
        self.items = self._split(config, files, notify)
        names = class_names(self.items["train"], config.model.outputs)
        self._labels = {p: numbered(items, names) for p, items in self.items.items()}
        self.config = _resolved(config, names, self.items)

    def _read(
        self, config: TrainConfig, notify: Notify
    ) -> tuple[Corpus, dict[str, list[Item]]]:
        """Return the corpus, and the items of each file."""
        split, objective = config.split, config.objective
        held = (*split.valid, *split.test) if split.by == "files" else ()
        paths = [objective.annotation, *held]
        if len(set(paths)) < len(paths):
            raise DataError(f"{paths[0]}: is named twice; a file is of one split")
        if not config.data.fasta:
            corpus, found = read_csv(paths, config.data)
            return corpus, dict(zip(paths, found, strict=True))
        corpus, longest = Corpus.open(config.data, notify), config.data.window
        self._regions = {
            path: read_regions(path, corpus, objective, longest) for path in paths
        }
        return corpus, self._regions

    def _split(
        self, config: TrainConfig, files: dict[str, list[Item]], notify: Notify
    ) -> ItemSplits:
        split, own = config.split, files[config.objective.annotation]
        if split.by == "fractions":
            out = by_fractions(own, self.corpus, split)
        elif split.by == "files":
            out = {
                "train": own,
                "valid": [item for path in split.valid for item in files[path]],
                "test": [item for path in split.test for item in files[path]],
            }
        else:
            splits = make_splits(config, self.corpus)
            out = by_place(own, splits, notify)
        out = without_repeats(out, self.corpus, notify)
        check_splits(out)
        return out

    def samples(self, part: Part) -> Samples | None:
        """Return the sequences of a split; None where it is empty."""
        if not self.items[part]:
            return None
        return ItemSamples(
            self.corpus,
            self.items[part],
            self._labels[part],
            seed=self.config.schedule.seed,
            flips=self.config.data.reverse_complement,
            windows=self.config.data.windows,
        )

    def objective(self, model: Model) -> Objective:
        """Return the objective, classes weighed by how frequent they are."""
        names, chosen = self.config.model.outputs, self.config.objective
        counts = np.bincount(self._labels["train"], minlength=len(names))
        weights = class_weights(counts, chosen.balance)
        return SequenceClasses(model.config, weights, chosen.pooling)

    def judge(self, model: Model) -> dict[str, Any]:
        """Return the metrics beside those of the majority and of k-mers."""
        parts = [part for part in PARTS[1:] if self.items[part]]
        if not parts:
            return {}
        watched = parts[0]
        baselines = Baselines(
            (self._codes("train"), self._labels["train"]),
            (self._codes(watched), self._labels[watched]),
            len(self.config.model.outputs),
        )
        pooling = self.config.objective.pooling
        return {
            part: judged(
                probabilities(model, self._codes(part), pooling),
                self._codes(part),
                np.asarray(self._labels[part]),
                baselines,
            )
            for part in parts
        }

    def _codes(self, part: Part) -> list[Codes]:
        return [item_codes(self.corpus, item) for item in self.items[part]]

    def described(self) -> dict[str, Any]:
        """Return bases and, in place of regions, how many there are of each class."""
        names = self.config.model.outputs
        return {
            part: {
                "bases": sum(item.stop - item.start for item in items),
                "regions": [
                    f"{name}: {self._labels[part].count(i):,}"
                    for i, name in enumerate(names)
                    if items
                ],
            }
            for part, items in self.items.items()
        }

    def fingerprints(self) -> list[dict[str, Any]]:
        """Return those of genomes and regions, or of the CSV files."""
        regions = [regions_fingerprint(p, r) for p, r in self._regions.items()]
        return [*self.corpus.fingerprints(), *regions]


def _resolved(
    config: TrainConfig, names: Sequence[str], items: ItemSplits
) -> TrainConfig:
    """Return the config with the classes, the longest sequence and the steps."""
    every = [item for part in items.values() for item in part]
    window = max(_SHORTEST, *(item.stop - item.start for item in every))
    data = dataclasses.replace(config.data, window=window)
    model = dataclasses.replace(config.model, outputs=tuple(names))
    config = dataclasses.replace(config, data=data, model=model)
    return with_steps(config, window * len(items["train"]))
