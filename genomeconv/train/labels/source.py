"""Genomes and the genes on them: what models of labels learn from."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

from genomeconv.config import ModelConfig
from genomeconv.errors import ModelError
from genomeconv.model import Model
from genomeconv.train.config import TrainConfig
from genomeconv.train.data.splits import Part
from genomeconv.train.data.windows import Sampler, Samples
from genomeconv.train.labels.annotation import OUTPUTS, Annotation
from genomeconv.train.labels.files import read_annotation
from genomeconv.train.labels.focus import FocusedSampler, drawn_frequencies
from genomeconv.train.labels.judge import judge_labels
from genomeconv.train.labels.objective import GeneLabels, start_from
from genomeconv.train.notify import Notify
from genomeconv.train.objectives import Objective
from genomeconv.train.source import GenomeSource


class LabelSource(GenomeSource):
    """Windows of genomes, and an annotation to look their labels up in.

    Parameters
    ----------
    config : TrainConfig
        A model without outputs is given OUTPUTS.
    notify : callable

    Raises
    ------
    GenomeconvError
        The model has other outputs, or the files are not what they have to be.
    """

    def __init__(self, config: TrainConfig, notify: Notify) -> None:
        model = with_labels(config.model)
        super().__init__(config, notify)
        self.config = dataclasses.replace(self.config, model=model)

    @cached_property
    def annotation(self) -> Annotation:
        """The genes of the genomes, read once."""
        path = self.config.objective.annotation
        lengths, label = self.corpus.length_of, self.corpus.label
        return read_annotation(path, lengths, label, self.notify)

    def samples(self, part: Part) -> Samples | None:
        """Return windows of a split; to learn from, more of them around exons."""
        if part == "train" and self.config.data.focus:
            return self._focused()
        return super().samples(part)

    def objective(self, model: Model) -> Objective:
        """Return the labels; a fresh model starts from how frequent they are."""
        config, drawn = self.config, None
        frequencies = self.annotation.frequencies(self.splits["train"])
        if config.data.focus:
            drawn = drawn_frequencies(
                self._focused(), self.annotation, config.data.window
            )
        objective = GeneLabels(
            model.config,
            self.annotation,
            frequencies,
            drawn,
            config.objective.emphasis,
        )
        start_from(model, frequencies)
        return objective

    def fingerprints(self) -> list[dict[str, Any]]:
        """Return those of the genomes and of the labels."""
        labels = {"file": self.config.objective.annotation}
        return [*super().fingerprints(), labels | self.annotation.fingerprint()]

    def judge(self, model: Model) -> dict[str, Any]:
        """Return average precision and F1 beside weight matrices and open frames."""
        objective = self.config.objective
        return judge_labels(
            model,
            objective.annotation,
            self.corpus,
            self.splits,
            self.notify,
            objective.average,
        )

    def _focused(self) -> Sampler:
        data, seed = self.config.data, self.config.schedule.seed
        return FocusedSampler(
            self.corpus,
            self.splits["train"],
            seed,
            data.reverse_complement,
            self.annotation,
            data.focus,
        )


def with_labels(model: ModelConfig) -> ModelConfig:
    """Return a model with the labels as its outputs.

    Raises
    ------
    ModelError
        It has other outputs.
    """
    outputs = model.outputs or OUTPUTS
    if outputs != OUTPUTS:
        raise ModelError(
            f"config: model.outputs must be {', '.join(OUTPUTS)} for labels of genes, "
            f"or absent, got {', '.join(outputs)}"
        )
    return dataclasses.replace(model, outputs=outputs)
