"""Genomes and the tracks along them: what models of tracks learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genomeconv.errors import ModelError
from genomeconv.model import Model
from genomeconv.train.bases.judge import JUDGED_BASES, limited
from genomeconv.train.config import TrainConfig
from genomeconv.train.data.splits import PARTS
from genomeconv.train.notify import Notify
from genomeconv.train.objectives import Objective
from genomeconv.train.source import GenomeSource
from genomeconv.train.tracks.bigwig import read_tracks, track_fingerprint
from genomeconv.train.tracks.judge import TrackBaselines, judge_tracks
from genomeconv.train.tracks.objective import (
    TrackBins,
    check_means,
    start_from_means,
    track_means,
)


class TrackSource(GenomeSource):
    """Windows of genomes on the grid of the bins, and the tracks' means in them."""

    def __init__(self, config: TrainConfig, notify: Notify) -> None:
        super().__init__(config, notify)
        chosen = config.objective
        self.grid = chosen.bin
        names = config.model.outputs or track_names(chosen.tracks)
        model = dataclasses.replace(config.model, outputs=names)
        self.config = dataclasses.replace(self.config, model=model)
        self._values = read_tracks(
            chosen.tracks, self.corpus, chosen.bin, chosen.missing, notify
        )
        self._means = track_means(self._values, self.splits["train"], chosen.bin)
        check_means(self._means, chosen.tracks)

    def objective(self, model: Model) -> Objective:
        """Return the tracks; a fresh model starts from their means."""
        chosen = self.config.objective
        start_from_means(model, self._means)
        return TrackBins(
            model.config, self._values, self._means, chosen.bin, chosen.loss
        )

    def judge(self, model: Model) -> dict[str, Any]:
        """Return correlations and deviances beside the mean and GC content."""
        size = self.config.objective.bin
        train = limited(self.splits["train"], JUDGED_BASES)
        baselines = TrackBaselines(self.corpus, self._values, train, size)
        return {
            part: judge_tracks(
                model,
                self.corpus,
                self._values,
                limited(self.splits[part], JUDGED_BASES),
                size,
                baselines,
            )
            for part in PARTS[1:]
            if self.splits[part]
        }

    def fingerprints(self) -> list[dict[str, Any]]:
        """Return those of the genomes and of the tracks."""
        tracks = [track_fingerprint(path) for path in self.config.objective.tracks]
        return [*super().fingerprints(), *tracks]


def track_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return what tracks are called: their files, without folder and suffix.

    Raises
    ------
    ModelError
        Two have the same name.
    """
    names = tuple(Path(path).stem for path in paths)
    for name in names:
        if names.count(name) > 1:
            raise ModelError(
                f"config: objective.tracks has two files {name!r}; name the tracks "
                "in model.outputs"
            )
    return names
