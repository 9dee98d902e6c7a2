"""Labels of genes judged: a model beside weight matrices and open reading frames.

Axes: L positions, C outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import Codes
from genomeconv.genes import GeneCosts, coding_mask, decode_genes
from genomeconv.model import Model
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import PARTS, Splits, bases
from genomeconv.train.labels.annotation import CLASSES, OUTPUTS, STRANDS, Annotation
from genomeconv.train.labels.baselines import (
    SITE,
    Baselines,
    Part,
    coding,
    has_label,
    learn_baselines,
    longest_frames,
    strands,
)
from genomeconv.train.labels.files import read_annotation
from genomeconv.train.labels.labeller import Labeller, Logits
from genomeconv.train.labels.objective import near_n
from genomeconv.train.labels.ranking import Confusion, Ranking, compared
from genomeconv.train.notify import Notify

START_COSTS = (10.0, 40.0, 160.0, 640.0, 1280.0)
BONUSES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
WEIGHTS = ((1.0, 1.0), (40.0, 0.015), (60.0, 0.015))
"""Costs of the decoder that are tried, see :class:`genomeconv.genes.GeneCosts`; its
weights of sites and of introns go together: genes of one exon, or of many."""

Bools = npt.NDArray[np.bool_]
Masks = npt.NDArray[np.uint16]


class Score:
    """Metrics of all outputs, added up over stretches."""

    def __init__(self) -> None:
        self.by_output = {name: Ranking() for name in OUTPUTS}
        self.merged = Ranking()
        """CDS of either strand: the greater logit."""

    def add(self, logits: Logits, masks: Masks, counted: Bools) -> None:
        """Count bases (L,) where ``counted``."""
        logits, masks = logits[counted], masks[counted]
        for i, name in enumerate(OUTPUTS):
            self.by_output[name].add(logits[:, i], has_label(masks, i))
        i, j = (_index("CDS", strand) for strand in STRANDS)
        self.merged.add(
            np.maximum(logits[:, i], logits[:, j]),
            has_label(masks, i) | has_label(masks, j),
        )

    def results(self) -> dict[str, Any]:
        """Return the metrics for JSON; a base is called where its logit is >= 0."""
        out: dict[str, Any] = {
            "average_precision": {
                name: _rounded(self.by_output[name].average_precision())
                for name in OUTPUTS
                if self.by_output[name].positives
            },
            "sites": {
                name: ranking.positives
                for name, ranking in self.by_output.items()
                if name[:-1] in SITE
            },
        }
        out["cds"] = self.cds(0.0)
        return out

    def cds(self, threshold: float) -> dict[str, Any]:
        """Return the metrics of coding bases, called from a logit on."""
        found = [self.by_output[f"CDS{strand}"].at(threshold) for strand in STRANDS]
        return cds_rows(found, self.merged.at(threshold))

    def best_threshold(self) -> float:
        """Return the logit from which on coding bases have the greatest F1."""
        plus, minus = (self.by_output[f"CDS{strand}"] for strand in STRANDS)
        return (plus + minus).best_threshold()


def cds_rows(by_strand: Sequence[Confusion], merged: Confusion) -> dict[str, Any]:
    """Return F1, precision and recall of coding bases.

    "both strands" asks for the strand too: base and strand are one thing to be right
    or wrong; "either strand" asks only whether the base is coding.
    """
    return {
        **{s: c.row() for s, c in zip(STRANDS, by_strand, strict=True)},
        "both strands": sum(by_strand, Confusion(0, 0, 0)).row(),
        "either strand": merged.row(),
    }


class CodingScore:
    """F1 of coding bases where what is called is yes or no."""

    def __init__(self) -> None:
        self._by_strand = [Confusion(0, 0, 0), Confusion(0, 0, 0)]
        self._merged = Confusion(0, 0, 0)

    def add(
        self, called: Sequence[Bools], right: Sequence[Bools], counted: Bools
    ) -> None:
        """Count the bases of a stretch, masks of "+" and "-", where ``counted``."""
        a, b = ([mask & counted for mask in masks] for masks in (called, right))
        for i in range(2):
            self._by_strand[i] += compared(a[i], b[i])
        self._merged += compared(a[0] | a[1], b[0] | b[1])

    @property
    def f1(self) -> float:
        """F1 of base and strand together."""
        return sum(self._by_strand, Confusion(0, 0, 0)).f1

    def results(self) -> dict[str, Any]:
        """Return the metrics for JSON."""
        return cds_rows(self._by_strand, self._merged)


def judge_labels(
    model: Model,
    path: str,
    corpus: Corpus,
    splits: Splits,
    notify: Notify,
    average: bool = False,
) -> dict[str, Any]:
    """Return the metrics of model and baselines on the held-out splits.

    Parameters
    ----------
    model : Model
    path : str
        The annotation.
    corpus : Corpus
    splits : Splits
        Baselines learn from "train", costs of the decoder are chosen on "valid".
    notify : callable
    average : bool
        See :class:`Labeller`.
    """
    annotation = read_annotation(path, corpus.length_of, corpus.label, notify)
    out: dict[str, Any] = {}
    labeller = Labeller(model, average)
    costs, threshold = GeneCosts(), 0.0
    if splits["valid"]:
        costs, threshold = choose_costs(labeller, corpus, annotation, splits["valid"])
    learned = learn_baselines(corpus, annotation, splits["train"])
    for part in PARTS[1:]:
        if not (stretches := splits[part]):
            continue
        out[part] = {
            "bases": bases(stretches),
            **judge_model(labeller, corpus, annotation, stretches, costs, threshold),
            "baselines": judge_baselines(learned, corpus, annotation, stretches),
        }
    return out


def judge_model(
    labeller: Labeller,
    corpus: Corpus,
    annotation: Annotation,
    parts: Sequence[Part],
    costs: GeneCosts,
    threshold: float = 0.0,
) -> dict[str, Any]:
    """Return the metrics of a model's labels, and of the genes decoded from them.

    Coding bases are called from the logits 0 and ``threshold`` on.
    """
    score, genes = Score(), CodingScore()
    for part in parts:
        codes, masks = np.asarray(corpus.codes(*part)), annotation.masks(*part)
        logits, counted = labeller.whole(corpus, part), ~near_n(codes)
        score.add(logits, masks, counted)
        genes.add(_decoded(codes, logits, costs), coding(masks), counted)
    return {
        **score.results(),
        "cds_chosen": {"threshold": round(threshold, 4), **score.cds(threshold)},
        "cds_decoded": genes.results(),
        "costs": dataclasses.asdict(costs),
    }


def choose_costs(
    labeller: Labeller, corpus: Corpus, annotation: Annotation, parts: Sequence[Part]
) -> tuple[GeneCosts, float]:
    """Return costs of the decoder, and a threshold, of the greatest F1 of CDS."""
    raw = Score()
    scores = {
        GeneCosts(start=start, bonus=bonus, site=site, intron=intron): CodingScore()
        for start in START_COSTS
        for bonus in BONUSES
        for site, intron in WEIGHTS
    }
    for part in parts:
        codes, masks = np.asarray(corpus.codes(*part)), annotation.masks(*part)
        logits, counted = labeller.whole(corpus, part), ~near_n(codes)
        right = coding(masks)
        raw.add(logits, masks, counted)
        for costs, score in scores.items():
            score.add(_decoded(codes, logits, costs), right, counted)
    best = max(scores, key=lambda costs: scores[costs].f1)
    return best, raw.best_threshold()


def _decoded(codes: Codes, logits: Logits, costs: GeneCosts) -> list[Bools]:
    """Return which bases are coding on "+" and on "-" in the decoded genes."""
    genes = decode_genes(codes, dict(zip(OUTPUTS, logits.T, strict=True)), costs)
    return [coding_mask(genes, len(codes), strand) for strand in STRANDS]


def judge_baselines(
    learned: Baselines,
    corpus: Corpus,
    annotation: Annotation,
    parts: Sequence[Part],
) -> dict[str, Any]:
    """Return the metrics of weight matrices and open frames."""
    out: dict[str, Any] = {"average_precision": {}}
    for name, matrix in learned.matrices.items():
        bit = CLASSES.index(name)
        rankings = [Ranking(), Ranking()]
        for part in parts:
            readings = strands(corpus, annotation, part)
            for ranking, (codes, masks) in zip(rankings, readings, strict=True):
                counted = ~near_n(codes)
                sites = has_label(masks[counted], bit)
                ranking.add(matrix.scores(codes)[counted], sites)
        for strand, ranking in zip(STRANDS, rankings, strict=True):
            found = _rounded(ranking.average_precision())
            out["average_precision"][f"{name}{strand}"] = found
    score = CodingScore()
    for part in parts:
        codes, right = _frames(corpus, annotation, part)
        score.add(longest_frames(codes, learned.shortest), right, ~near_n(codes))
    return {**out, "cds": score.results(), "shortest_frame": learned.shortest}


def judge_annotation(
    other: Annotation, corpus: Corpus, annotation: Annotation, parts: Sequence[Part]
) -> dict[str, Any]:
    """Return the metrics of the CDS that another program has found.

    Its GTF or GFF3 file is read by
    :func:`genomeconv.train.labels.files.read_annotation`, that of AUGUSTUS too.
    """
    score = CodingScore()
    for part in parts:
        codes, right = _frames(corpus, annotation, part)
        score.add(coding(other.masks(*part)), right, ~near_n(codes))
    return score.results()


def _frames(
    corpus: Corpus, annotation: Annotation, part: Part
) -> tuple[Codes, list[Bools]]:
    return np.asarray(corpus.codes(*part)), coding(annotation.masks(*part))


def _index(name: str, strand: str) -> int:
    return OUTPUTS.index(f"{name}{strand}")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
