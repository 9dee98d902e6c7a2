"""Genomes and the genes on them: what models of labels learn from."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from genomeconv.model import Model
from genomeconv.train.annotation import Annotation
from genomeconv.train.annotation_files import read_annotation
from genomeconv.train.focus import FocusedSampler, drawn_frequencies
from genomeconv.train.judge_labels import judge_labels
from genomeconv.train.labels import GeneLabels, start_from
from genomeconv.train.objectives import Objective
from genomeconv.train.source import GenomeSource
from genomeconv.train.splits import Part
from genomeconv.train.windows import Sampler, Samples


class LabelSource(GenomeSource):
    """Windows of genomes, and an annotation to look their labels up in."""

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
