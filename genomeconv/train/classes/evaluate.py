"""A model's classes of sequences on any CSV file or regions, beside baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genomeconv.alphabet import Codes
from genomeconv.train.classes.card import METRICS
from genomeconv.train.classes.items import item_codes
from genomeconv.train.classes.judge import Baselines, Floats, metrics, probabilities
from genomeconv.train.classes.objective import Pooling
from genomeconv.train.classes.sequences import Item, numbered, read_csv, read_regions
from genomeconv.train.classes.splits import by_fractions
from genomeconv.train.config import (
    WINDOW_CAP,
    DataConfig,
    ObjectiveConfig,
    SplitConfig,
)
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.notify import Notify
from genomeconv.weights import LoadedModel

_FEWEST = 20
"""Sequences that baselines are learned from the other half of, at least."""
Labelled = tuple[list[Codes], list[int]]


def of_classes(loaded: LoadedModel) -> bool:
    """Whether a model's card says that it predicts classes of sequences."""
    objective = loaded.card.get("objective")
    return isinstance(objective, dict) and objective.get("kind") == "classes"


def evaluate_classes(
    loaded: LoadedModel,
    device: torch.device,
    file: str,
    regions: Path | None,
    notify: Notify,
) -> dict[str, Any]:
    """Judge classes; baselines learn from the other half of the same sequences.

    Parameters
    ----------
    loaded : LoadedModel
        See :func:`of_classes`.
    device : torch.device
    file : str
        CSV file; with ``regions`` a FASTA file.
    regions : Path, optional
        BED file whose names or scores, as in training, are the classes.
    notify : callable

    Returns
    -------
    dict
        "rows": one a metric; JSON.

    Raises
    ------
    DataError
        A file is not what it has to be, or has a class that the model does not know.
    """
    card, names = loaded.card["objective"], loaded.model.config.outputs
    pooling: Pooling = "last" if card.get("pooling") == "last" else "mean"
    corpus, items = _read(file, regions, card.get("column") == "score", notify)
    right = numbered(items, names)
    codes = [item_codes(corpus, item) for item in items]
    found = metrics(
        probabilities(loaded.model.to(device), codes, pooling), np.asarray(right)
    )
    others = _baselines(corpus, items, right, len(names))
    return {
        "fasta_sha256": corpus.fingerprints()[0]["sha256"],
        "annotation": None if regions is None else str(regions),
        "objective": "classes of sequences",
        "baselines_learned_from": "the other half of the same sequences"
        if others
        else None,
        "rows": [
            {
                "what": f"{len(items):,} sequences",
                "metric": METRICS[name],
                "model": value,
                **{who: row[name] for who, row in others.items()},
            }
            for name, value in found.items()
        ],
    }


def _read(
    file: str, regions: Path | None, by_score: bool, notify: Notify
) -> tuple[Corpus, list[Item]]:
    if regions is None:
        corpus, files = read_csv([file], DataConfig(fasta=(), window=WINDOW_CAP))
        return corpus, files[0]
    corpus = Corpus.open(DataConfig(fasta=(file,)), notify)
    objective = ObjectiveConfig(
        kind="classes",
        annotation=str(regions),
        column="score" if by_score else "name",
    )
    return corpus, read_regions(str(regions), corpus, objective, WINDOW_CAP)


def _baselines(
    corpus: Corpus, items: Sequence[Item], right: Sequence[int], size: int
) -> dict[str, dict[str, Any]]:
    """Return the metrics of baselines, each half judged by what the other taught.

    Size and penalty of the k-mers are chosen on the half that is judged: in their
    favour. Empty where there are too few sequences.
    """
    split = SplitConfig(valid_fraction=0.5, test_fraction=0.0)
    number = {item.place: i for i, item in enumerate(items)}
    parts = by_fractions(items, corpus, split)
    halves = [[number[item.place] for item in parts[p]] for p in ("train", "valid")]
    if min(map(len, halves)) < _FEWEST // 2:
        return {}
    found: dict[str, Floats] = {}
    for mine, other in (halves, halves[::-1]):
        learned, judged = (_chosen(corpus, items, right, n) for n in (mine, other))
        rows = Baselines(learned, judged, size).probabilities(judged[0])
        for who, values in rows.items():
            found.setdefault(who, np.empty((len(items), size)))[other] = values
    return {who: metrics(values, np.asarray(right)) for who, values in found.items()}


def _chosen(
    corpus: Corpus, items: Sequence[Item], right: Sequence[int], numbers: Sequence[int]
) -> Labelled:
    return (
        [item_codes(corpus, items[i]) for i in numbers],
        [right[i] for i in numbers],
    )
