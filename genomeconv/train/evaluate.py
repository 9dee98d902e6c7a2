"""`genomeconv evaluate`: a model judged on any sequences, beside baselines."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genomeconv.device import resolve_device
from genomeconv.errors import UsageError
from genomeconv.train.bases.evaluate import SELF, Advance, evaluate_bases
from genomeconv.train.classes.evaluate import evaluate_classes, of_classes
from genomeconv.train.labels.evaluate import evaluate_labels
from genomeconv.train.notify import Notify
from genomeconv.train.tracks.evaluate import evaluate_tracks
from genomeconv.weights import DEFAULT_MODEL, LoadedModel, load_model


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to judge; fields are the options of ``genomeconv evaluate``."""

    fasta: str
    """Path, or "-" for standard input; for classes without annotation a CSV file."""
    model: str = DEFAULT_MODEL
    """Name of a model at hand, or its folder."""
    bed: Path | None = None
    """Regions; column 4 names the class. With annotation or tracks: what is judged."""
    annotation: Path | None = None
    """GTF, GFF3 or BED file of the genes, for models of their labels; BED file of
    regions, for models of their classes."""
    tracks: tuple[str, ...] = ()
    """BigWig files in the order of the model's outputs, for models of tracks."""
    markov: str = SELF
    """FASTA the Markov models learn from; "self": by turns from halves of the FASTA
    that is judged, each half from the other; "none": no Markov models."""
    order: int | None = None
    """Longest context of the Markov models; None: what the text allows."""
    device: str = "auto"
    threads: int | None = None


def evaluate(
    options: EvaluateOptions, progress: Advance, notify: Notify
) -> dict[str, Any]:
    """Judge a model on a FASTA.

    Returns
    -------
    dict
        "rows": one a sequence, one a class, one for all; JSON.

    Raises
    ------
    GenomeconvError
        With the exit code of the fault.
    """
    with ExitStack() as stack:
        if options.threads:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(options.threads)
        device = resolve_device(options.device)
        loaded = load_model(options.model)
        found = _judged(options, loaded, device, progress, notify)
    return {
        "model": loaded.name,
        "model_sha256": loaded.sha256,
        "fasta": options.fasta,
        **found,
    }


def _judged(
    options: EvaluateOptions,
    loaded: LoadedModel,
    device: torch.device,
    progress: Advance,
    notify: Notify,
) -> dict[str, Any]:
    """Return what is found of the kind of model it is, or is asked to be."""
    fasta, bed, genes = options.fasta, options.bed, options.annotation
    if of_classes(loaded):
        _refuse(options, "for classes", bed, options.tracks)
        return evaluate_classes(loaded, device, fasta, genes, notify)
    if options.tracks:
        _refuse(options, "with --track", genes)
        return evaluate_tracks(loaded, device, fasta, options.tracks, bed, notify)
    if genes is not None:
        _refuse(options, "with --annotation")
        return evaluate_labels(loaded, device, fasta, genes, bed, notify)
    markov, order = options.markov, options.order
    return evaluate_bases(
        loaded, device, fasta, bed, progress, notify, markov=markov, order=order
    )


def _refuse(options: EvaluateOptions, when: str, *others: object) -> None:
    """Refuse options that the kind of model has no use for."""
    if options.markov != SELF or options.order is not None:
        raise UsageError(
            "--markov and --order are for models that predict bases; leave them out "
            f"{when}"
        )
    if any(others):
        raise UsageError(
            f"--bed, --annotation and --track are for other models; leave out {when} "
            "what does not belong to it"
        )
