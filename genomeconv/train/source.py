"""What a run learns from and is judged by: sequences, splits, and what is predicted."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from genomeconv.model import Model
from genomeconv.train.bases.judge import judge_bits
from genomeconv.train.bases.objective import build_objective
from genomeconv.train.config import TrainConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import Part, bases, describe, make_splits
from genomeconv.train.data.windows import Sampler, Samples
from genomeconv.train.notify import Notify
from genomeconv.train.objectives import Objective
from genomeconv.train.schedule import automatic_steps


class Source(Protocol):
    """Interface of what the objectives learn from.

    Attributes
    ----------
    config : TrainConfig
        With what the data decide: the number of steps, and for some objectives the
        names of the outputs and the length of a window.
    corpus : Corpus
        What windows are cut from.
    """

    config: TrainConfig
    corpus: Corpus

    def samples(self, part: Part) -> Samples | None:
        """Return where the samples of a split come from; None where it is empty."""
        ...

    def objective(self, model: Model) -> Objective:
        """Return what is predicted; a fresh model may be made to start from it."""
        ...

    def judge(self, model: Model) -> dict[str, Any]:
        """Return the metrics on the held-out splits beside those of baselines."""
        ...

    def described(self) -> dict[str, Any]:
        """Return the splits for the record, ready for JSON."""
        ...

    def fingerprints(self) -> list[dict[str, Any]]:
        """Return what tells these data from any others, one entry a file."""
        ...


def with_steps(config: TrainConfig, bases_to_learn: int) -> TrainConfig:
    """Return the config with the number of steps that the data decide."""
    if config.schedule.steps:
        return config
    steps = automatic_steps(bases_to_learn, config.data.window * config.data.windows)
    schedule = dataclasses.replace(config.schedule, steps=steps)
    return dataclasses.replace(config, schedule=schedule)


class GenomeSource:
    """Windows of genomes, for objectives that need nothing else.

    Parameters
    ----------
    config : TrainConfig
    notify : callable

    Raises
    ------
    GenomeconvError
        The files are not what they have to be, or the splits do not fit them.
    """

    grid = 1

    def __init__(self, config: TrainConfig, notify: Notify) -> None:
        self.notify = notify
        self.corpus = Corpus.open(config.data, notify)
        self.splits = make_splits(config, self.corpus)
        self.config = with_steps(config, bases(self.splits["train"]))

    def samples(self, part: Part) -> Samples | None:
        """Return windows of a split; None where it is empty."""
        seed, flips = self.config.schedule.seed, self.config.data.reverse_complement
        stretches = self.splits[part]
        if not stretches:
            return None
        return Sampler(self.corpus, stretches, seed, flips, self.grid)

    def objective(self, model: Model) -> Objective:
        """Return the objective of bases: the next one, or hidden ones."""
        return build_objective(self.config.objective, self.config.model)

    def judge(self, model: Model) -> dict[str, Any]:
        """Return bits per base beside Markov models."""
        return judge_bits(model, self.config.objective, self.corpus, self.splits)

    def described(self) -> dict[str, Any]:
        """Return the splits as regions."""
        return describe(self.splits, self.corpus)

    def fingerprints(self) -> list[dict[str, Any]]:
        """Return those of the genomes."""
        return self.corpus.fingerprints()
