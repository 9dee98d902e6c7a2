"""What the sections of a config ask of each other, by the kind of objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genomeconv.fields import require

if TYPE_CHECKING:
    from genomeconv.train.config import TrainConfig


BY_BASE = ("lm", "mask", "labels")
"""Objectives whose loss is a sum over bases, wherever a sequence is cut."""


def check_context(config: TrainConfig) -> None:
    """Refuse windows and objectives that a team of processes cannot share.

    Raises
    ------
    ModelError
        Names the field, what was wanted and what came.
    """
    context, kind = config.compute.context, config.objective.kind
    if context == 1:
        return
    wanted = f"one of {', '.join(BY_BASE)} with compute.context = {context}"
    require(kind in BY_BASE, "objective.kind", wanted, kind)
    first, wanted = config.schedule.first_window, f"a multiple of {context} processes"
    require(first % context == 0, "schedule.first_window", wanted, first)
    require(
        config.data.window % context == 0, "data.window", wanted, config.data.window
    )


def check_objective(config: TrainConfig) -> None:
    """Refuse settings that do not go with what is predicted.

    Raises
    ------
    ModelError
        Names the field, what was wanted and what came.
    """
    kind = config.objective.kind
    _check_files(config)
    focus, emphasis = config.data.focus, config.objective.emphasis
    labels = kind == "labels"
    require(labels or not focus, "data.focus", "0 but for labels", focus)
    ok = labels or set(emphasis) == {1.0}
    require(ok, "objective.emphasis", "absent but for labels", emphasis)
    average = config.objective.average
    require(labels or not average, "objective.average", "false but for labels", average)
    if kind == "classes":
        _check_classes(config)
    elif kind == "tracks":
        _check_tracks(config)
    elif not labels:
        _check_bases(config)


def _check_files(config: TrainConfig) -> None:
    """Refuse files that the objective does not read, and missing ones it does."""
    objective, data = config.objective, config.data
    kind, annotation = objective.kind, objective.annotation
    annotated = kind in ("labels", "classes")
    wanted = "a file" if annotated else "absent where objective.kind is not labels"
    wanted += "" if annotated else " or classes"
    require(annotated == bool(annotation), "objective.annotation", wanted, annotation)
    tracked = kind == "tracks"
    wanted = "at least one BigWig file" if tracked else "absent but for tracks"
    require(
        tracked == bool(objective.tracks), "objective.tracks", wanted, objective.tracks
    )
    ok = bool(data.fasta) or kind == "classes"
    require(ok, "data.fasta", "at least one file", data.fasta)
    by = config.split.by
    ok = kind == "classes" or by != "files"
    require(ok, "split.by", 'fractions, regions or bed but for "classes"', by)


def _check_classes(config: TrainConfig) -> None:
    first, by = config.schedule.first_window, config.split.by
    require(first == 0, "schedule.first_window", "0 for classes", first)
    ok = bool(config.data.fasta) or by in ("fractions", "files")
    require(ok, "split.by", "fractions or files for sequences of a CSV file", by)
    _check_learns(config)


def _check_tracks(config: TrainConfig) -> None:
    size, first = config.objective.bin, config.schedule.first_window
    for name, value in (
        ("data.window", config.data.window),
        ("schedule.first_window", first),
    ):
        wanted = f"a multiple of objective.bin ({size})"
        require(value % size == 0, name, wanted, value)
    names = config.model.outputs
    ok = not names or len(names) == len(config.objective.tracks)
    wanted = f"absent, or a name for each of {len(config.objective.tracks)} tracks"
    require(ok, "model.outputs", wanted, names)
    _check_learns(config)


def _check_learns(config: TrainConfig) -> None:
    """Refuse a head of its own weights that nothing would teach."""
    head = config.model.head
    own = head == "free" and not config.start.start
    require(not own, "model.head", f"none or tied for {config.objective.kind}", head)


def _check_bases(config: TrainConfig) -> None:
    objective, model = config.objective, config.model
    require(model.head != "none", "model.head", "tied or free to be trained", "none")
    own = model.head == "free" or not config.start.freeze
    require(
        own,
        "model.freeze",
        'false where model.head = "tied": nothing would be left to learn',
        config.start.freeze,
    )
    if objective.kind == "lm":
        right = max(f.right for f in model.filters)
        require(
            model.causal,
            "filter.right",
            '0 with objective.kind = "lm", where the next base must not be seen',
            right,
        )
        return
    free = objective.mask_id < model.vocabulary
    require(
        free and objective.mask_id not in model.token_ids,
        "objective.mask_id",
        f"a row below model.vocabulary ({model.vocabulary}) that no base has",
        objective.mask_id,
    )
