"""The source of a run, by the kind of its objective."""

from __future__ import annotations

from genomeconv.train.classes.source import ClassSource
from genomeconv.train.config import TrainConfig
from genomeconv.train.labels.source import LabelSource
from genomeconv.train.notify import Notify
from genomeconv.train.source import GenomeSource, Source
from genomeconv.train.tracks.source import TrackSource


def open_source(config: TrainConfig, notify: Notify) -> Source:
    """Open the files of a config and split them up.

    Raises
    ------
    GenomeconvError
        With the exit code of the fault.
    """
    match config.objective.kind:
        case "classes":
            return ClassSource(config, notify)
        case "tracks":
            return TrackSource(config, notify)
        case "labels":
            return LabelSource(config, notify)
        case _:
            return GenomeSource(config, notify)
