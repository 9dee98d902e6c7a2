"""A model's labels of genes on any FASTA and annotation, beside baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from genomeconv.errors import ModelError
from genomeconv.fields import checked_keys
from genomeconv.genes import GeneCosts
from genomeconv.train.config import DataConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import regions_of
from genomeconv.train.labels.annotation import OUTPUTS
from genomeconv.train.labels.baselines import learn_baselines
from genomeconv.train.labels.files import read_annotation
from genomeconv.train.labels.judge import judge_baselines, judge_model
from genomeconv.train.labels.labeller import Labeller
from genomeconv.train.notify import Notify
from genomeconv.weights import LoadedModel


def evaluate_labels(
    loaded: LoadedModel,
    device: torch.device,
    fasta: str,
    annotation: Path,
    bed: Path | None,
    notify: Notify,
) -> dict[str, Any]:
    """Judge labels; baselines learn from the very text that is judged.

    Parameters
    ----------
    loaded : LoadedModel
    device : torch.device
    fasta : str
        Path; encoded once and kept as training does.
    annotation : Path
        GTF, GFF3 or BED.
    bed : Path, optional
        Regions to judge; None: all of it.
    notify : callable

    Returns
    -------
    dict
        "rows": one a label and one a way to call coding bases; JSON.

    Raises
    ------
    ModelError
        The model has no labels of genes.
    DataError
        A file is not what it has to be, or they do not fit each other.
    """
    if loaded.model.config.outputs != OUTPUTS:
        raise ModelError(
            f"model {loaded.name}: predicts no labels of genes; evaluate it without "
            "--annotation"
        )
    corpus = Corpus.open(DataConfig(fasta=(fasta,)), notify)
    genes = read_annotation(annotation, corpus.length_of, corpus.label, notify)
    parts = regions_of(corpus, bed)
    labeller = Labeller(loaded.model.to(device), averages(loaded.card))
    found = judge_model(labeller, corpus, genes, parts, costs_of(loaded.card))
    learned = learn_baselines(corpus, genes, parts)
    baselines = judge_baselines(learned, corpus, genes, parts)
    return {
        "fasta_sha256": corpus.fingerprints()[0]["sha256"],
        "annotation": str(annotation),
        "objective": "labels of genes",
        "baselines_learned_from": "the text that is judged",
        "shortest_frame": baselines["shortest_frame"],
        "rows": [*_labels(found, baselines), *_coding(found, baselines)],
    }


def averages(card: Mapping[str, Any]) -> bool:
    """Return whether a model's card says that both strands are read and averaged."""
    training = card.get("training")
    objective = training.get("objective") if isinstance(training, Mapping) else None
    return isinstance(objective, Mapping) and objective.get("average") is True


def costs_of(card: Mapping[str, Any]) -> GeneCosts:
    """Return the costs of the decoder that a model's card says were chosen."""
    results = card.get("results")
    parts = results.values() if isinstance(results, Mapping) else ()
    for part in parts:
        if isinstance(part, Mapping) and "costs" in part:
            return GeneCosts(**checked_keys(GeneCosts, part["costs"], "card: costs"))
    return GeneCosts()


def _labels(
    found: Mapping[str, Any], baselines: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for name, value in found["average_precision"].items():
        yield {
            "what": name,
            "metric": "average precision",
            "model": value,
            "baseline": baselines["average_precision"].get(name),
        }


def _coding(
    found: Mapping[str, Any], baselines: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    ways = (("cds", "CDS"), ("cds_decoded", "CDS, decoded"))
    for key, label in ways:
        for which in ("both strands", "either strand"):
            for metric in ("f1", "precision", "recall"):
                yield {
                    "what": f"{label}, {which}",
                    "metric": metric,
                    "model": found[key][which][metric],
                    "baseline": baselines["cds"][which][metric],
                }
