"""Labels of genes judged: a model beside weight matrices and open reading frames.

Axes: L positions, C outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genomeconv.alphabet import Codes
from genomeconv.genes import GeneCosts, coding_mask, decode_genes
from genomeconv.model import Model
from genomeconv.stream import TrunkStream
from genomeconv.train.annotation import CLASSES, OUTPUTS, STRANDS, Annotation
from genomeconv.train.annotation_files import read_annotation
from genomeconv.train.baselines import (
    SITE,
    Part,
    choose_shortest,
    longest_frames,
    strands,
    weight_matrix,
)
from genomeconv.train.corpus import Corpus
from genomeconv.train.labels import near_n, output_logits
from genomeconv.train.notify import Notify
from genomeconv.train.ranking import Confusion, Ranking, compared
from genomeconv.train.splits import PARTS, Splits, bases

START_COSTS = (10.0, 40.0, 160.0, 640.0, 1280.0)
BONUSES = (0.0, 1.0, 2.0, 4.0)
"""Costs of the decoder that are tried, see :class:`genomeconv.genes.GeneCosts`."""

Read = Callable[[int, int], Codes]
Logits = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Masks = npt.NDArray[np.uint16]


class Labeller:
    """Runs a model over sequences of any length and gives its logits."""

    def __init__(self, model: Model) -> None:
        self._model = model
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
        out = np.empty((stop - start, len(OUTPUTS)), np.float32)
        read, length = partial(corpus.codes, record), corpus.lengths[record]
        for first, logits in self.logits(read, length, start, stop):
            out[first - start : first - start + len(logits)] = logits
        return out


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
            self.by_output[name].add(logits[:, i], _has(masks, i))
        i, j = (_index("CDS", strand) for strand in STRANDS)
        self.merged.add(
            np.maximum(logits[:, i], logits[:, j]), _has(masks, i) | _has(masks, j)
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
        cds = [self.by_output[f"CDS{strand}"].at(0.0) for strand in STRANDS]
        out["cds"] = cds_rows(cds, self.merged.at(0.0))
        return out


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
    model: Model, path: str, corpus: Corpus, splits: Splits, notify: Notify
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
    """
    annotation = read_annotation(path, corpus.length_of, corpus.label, notify)
    out: dict[str, Any] = {}
    costs = GeneCosts()
    if splits["valid"]:
        costs = choose_costs(model, corpus, annotation, splits["valid"])
    for part in PARTS[1:]:
        if not (stretches := splits[part]):
            continue
        out[part] = {
            "bases": bases(stretches),
            **judge_model(model, corpus, annotation, stretches, costs),
            "baselines": judge_baselines(
                corpus, annotation, splits["train"], stretches
            ),
        }
    return out


def judge_model(
    model: Model,
    corpus: Corpus,
    annotation: Annotation,
    parts: Sequence[Part],
    costs: GeneCosts,
) -> dict[str, Any]:
    """Return the metrics of a model's labels, and of the genes decoded from them."""
    labeller, score, genes = Labeller(model), Score(), CodingScore()
    for part in parts:
        codes, masks = np.asarray(corpus.codes(*part)), annotation.masks(*part)
        logits, counted = labeller.whole(corpus, part), ~near_n(codes)
        score.add(logits, masks, counted)
        genes.add(_decoded(codes, logits, costs), coding(masks), counted)
    return {
        **score.results(),
        "cds_decoded": genes.results(),
        "costs": dataclasses.asdict(costs),
    }


def choose_costs(
    model: Model, corpus: Corpus, annotation: Annotation, parts: Sequence[Part]
) -> GeneCosts:
    """Return the costs of the decoder with the greatest F1 of coding bases."""
    labeller = Labeller(model)
    scores = {
        GeneCosts(start=start, bonus=bonus): CodingScore()
        for start in START_COSTS
        for bonus in BONUSES
    }
    for part in parts:
        codes, right = _frames(corpus, annotation, part)
        logits, counted = labeller.whole(corpus, part), ~near_n(codes)
        for costs, score in scores.items():
            score.add(_decoded(codes, logits, costs), right, counted)
    return max(scores, key=lambda costs: scores[costs].f1)


def _decoded(codes: Codes, logits: Logits, costs: GeneCosts) -> list[Bools]:
    """Return which bases are coding on "+" and on "-" in the decoded genes."""
    genes = decode_genes(codes, dict(zip(OUTPUTS, logits.T, strict=True)), costs)
    return [coding_mask(genes, len(codes), strand) for strand in STRANDS]


def judge_baselines(
    corpus: Corpus,
    annotation: Annotation,
    train: Sequence[Part],
    parts: Sequence[Part],
) -> dict[str, Any]:
    """Return the metrics of weight matrices and open frames that ``train`` taught."""
    out: dict[str, Any] = {"average_precision": {}}
    for name, (before, behind) in SITE.items():
        bit = CLASSES.index(name)
        texts = (
            (codes, _has(masks, bit))
            for part in train
            for codes, masks in strands(corpus, annotation, part)
        )
        matrix = weight_matrix(texts, before, behind)
        rankings = [Ranking(), Ranking()]
        for part in parts:
            readings = strands(corpus, annotation, part)
            for ranking, (codes, masks) in zip(rankings, readings, strict=True):
                counted = ~near_n(codes)
                ranking.add(matrix.scores(codes)[counted], _has(masks[counted], bit))
        for strand, ranking in zip(STRANDS, rankings, strict=True):
            found = _rounded(ranking.average_precision())
            out["average_precision"][f"{name}{strand}"] = found
    shortest = choose_shortest([_frames(corpus, annotation, part) for part in train])
    score = CodingScore()
    for part in parts:
        codes, right = _frames(corpus, annotation, part)
        score.add(longest_frames(codes, shortest), right, ~near_n(codes))
    return {**out, "cds": score.results(), "shortest_frame": shortest}


def judge_annotation(
    other: Annotation, corpus: Corpus, annotation: Annotation, parts: Sequence[Part]
) -> dict[str, Any]:
    """Return the metrics of the CDS that another program has found.

    Its GTF or GFF3 file is read by
    :func:`genomeconv.train.annotation_files.read_annotation`, that of AUGUSTUS too.
    """
    score = CodingScore()
    for part in parts:
        codes, right = _frames(corpus, annotation, part)
        score.add(coding(other.masks(*part)), right, ~near_n(codes))
    return score.results()


def coding(masks: Masks) -> list[Bools]:
    """Return which bases are CDS on "+" and on "-"."""
    return [_has(masks, _index("CDS", strand)) for strand in STRANDS]


def _frames(
    corpus: Corpus, annotation: Annotation, part: Part
) -> tuple[Codes, list[Bools]]:
    return np.asarray(corpus.codes(*part)), coding(annotation.masks(*part))


def _index(name: str, strand: str) -> int:
    return OUTPUTS.index(f"{name}{strand}")


def _has(masks: Masks, output: int) -> Bools:
    found: Bools = (masks >> np.uint16(output)) & np.uint16(1) > 0
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
