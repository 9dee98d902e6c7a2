"""A model's tracks on any FASTA and BigWig files, beside baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from genomeconv.errors import ModelError, UsageError
from genomeconv.train.config import DataConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import regions_of
from genomeconv.train.notify import Notify
from genomeconv.train.tracks.bigwig import read_tracks
from genomeconv.train.tracks.judge import TrackBaselines, judge_tracks
from genomeconv.weights import LoadedModel


def evaluate_tracks(
    loaded: LoadedModel,
    device: torch.device,
    fasta: str,
    tracks: Sequence[str],
    bed: Path | None,
    notify: Notify,
) -> dict[str, Any]:
    """Judge tracks; baselines learn from the very text that is judged.

    Parameters
    ----------
    loaded : LoadedModel
    device : torch.device
    fasta : str
        Path; encoded once and kept as training does.
    tracks : sequence of str
        BigWig files, one for each output of the model.
    bed : Path, optional
        Regions to judge; None: all of it.
    notify : callable

    Returns
    -------
    dict
        "rows": two a track; JSON.

    Raises
    ------
    ModelError
        The model predicts no tracks.
    UsageError
        There are not as many files as the model has tracks.
    DataError
        A file is not what it has to be, or they do not fit each other.
    """
    size, missing = _settings(loaded)
    names = loaded.model.config.outputs
    if len(tracks) != len(names):
        raise UsageError(
            f"--track: {len(tracks)} given, the model has {len(names)}: "
            f"{', '.join(names)}; give one for each, in this order"
        )
    corpus = Corpus.open(DataConfig(fasta=(fasta,)), notify)
    values = read_tracks(tracks, corpus, size, missing, notify)
    parts = regions_of(corpus, bed)
    baselines = TrackBaselines(corpus, values, parts, size)
    model = loaded.model.to(device)
    found = judge_tracks(model, corpus, values, parts, size, baselines)
    return {
        "fasta_sha256": corpus.fingerprints()[0]["sha256"],
        "tracks": list(tracks),
        "bin": size,
        "objective": "tracks",
        "baselines_learned_from": "the text that is judged",
        "rows": list(_rows(found["tracks"])),
    }


def _settings(loaded: LoadedModel) -> tuple[int, Any]:
    """Return the bin, and what missing values are, as the model's card has them."""
    match loaded.card.get("objective"):
        case {"kind": "tracks", "bin": int(size), "missing": ("skip" | "zero") as way}:
            if size >= 1:
                return size, way
    raise ModelError(
        f"model {loaded.name}: predicts no tracks; evaluate it without --track"
    )


def _rows(tracks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    titles = {"pearson": "Pearson", "deviance": "Poisson deviance"}
    for name, track in tracks.items():
        for key, title in titles.items():
            yield {
                "what": name,
                "bins": track["bins"],
                "metric": title,
                "model": track[key],
                **{who: row[key] for who, row in track["baselines"].items()},
            }
