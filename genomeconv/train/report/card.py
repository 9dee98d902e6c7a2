"""The model card: what a model was trained on, how, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genomeconv.train.classes.card import class_lines, class_summary
from genomeconv.train.labels.card import label_lines, label_summary
from genomeconv.train.tracks.card import track_lines, track_summary

LIMITS = (
    "Numbers on held-out sequence of the same genomes say nothing of other species or "
    "of another task: try it there. Not for clinical use."
)
_PREDICTS = {
    "lm": "the next base",
    "mask": "hidden bases",
    "labels": "the labels of genes at each base",
    "classes": "the class of a sequence",
    "tracks": "tracks along the genome",
}
_OF_KIND = {
    "lm": (),
    "mask": ("share", "mask_id"),
    "labels": ("annotation", "emphasis", "average"),
    "classes": ("annotation", "column", "pooling", "balance"),
    "tracks": ("tracks", "bin", "loss", "missing"),
}
"""Settings of [objective] that each kind of it looks at."""


def make_card(
    name: str,
    parameters: int,
    record: Mapping[str, Any],
    results: Mapping[str, Any],
    progress: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the model card, ready for JSON."""
    config = record["config"]
    settings = _settings(config)
    predicts = _PREDICTS[config["objective"]["kind"]]
    files = ", ".join(Path(d["file"]).name for d in record["data"])
    return {
        "name": name,
        "description": config["card"]["description"]
        or f"Predicts {predicts}; trained on {files}.",
        "parameters": parameters,
        "objective": settings["objective"],
        "start": _start(record),
        "in_short": _in_short(results),
        "results": dict(results),
        "data": [{**d, "file": Path(d["file"]).name} for d in record["data"]],
        "splits": {
            part: {"bases": s["bases"], "regions": _few(s["regions"])}
            for part, s in record["splits"].items()
        },
        "progress": _progress(progress),
        "training": settings,
        "processes": record["world_size"],
        "software": record["software"],
        "changes": record["changes"],
        "licence": config["card"]["licence"] or "not stated",
        "limits": LIMITS,
    }


def _in_short(results: Mapping[str, Any]) -> str:
    """Return the numbers beside the best baseline, for one line of `info`."""
    first: Mapping[str, Any] = next(iter(results.values()), {})
    if "cds" in first:
        return label_summary(results)
    if "matthews" in first:
        return class_summary(results)
    if "tracks" in first:
        return track_summary(results)
    return "; ".join(
        f"{part} {_text(found['bits_per_base'])} bits per base, the best Markov model "
        f"{_text(min(filter(None, found['markov_bits_per_base']), default=None))}"
        for part, found in results.items()
        if "markov_bits_per_base" in found
    )


def _start(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return which weights the run began from; None where they were new."""
    if record.get("start") is None:
        return None
    return {**record["start"], "frozen": record["config"]["model"]["freeze"]}


def _start_lines(start: Mapping[str, Any] | None) -> Iterator[str]:
    if start is not None:
        how = "its trunk unchanged" if start["frozen"] else "all of it trained on"
        yield f"Began from {start['name']} (sha256 {start['sha256'][:16]}), {how}."
        yield ""


def _progress(progress: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "steps": progress["step"],
        "model_step": progress["model_step"],
        "bases": progress["bases"],
        "skipped_steps": progress["skipped"],
        "seconds": round(progress["seconds"], 1),
    }


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without what names places on this machine."""
    out = {k: dict(v) for k, v in config.items() if k not in ("card", "model")}
    out["data"]["fasta"] = [Path(f).name for f in out["data"]["fasta"]]
    out["objective"] = _objective(out["objective"])
    for part in ("train", "valid", "test"):
        if out["split"]["by"] in ("bed", "files"):
            out["split"][part] = [Path(f).name for f in out["split"][part]]
    del out["data"]["cache"]
    return out


def _objective(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of this kind of objective, files by their names alone."""
    kind = values["kind"]
    out = {"kind": kind, **{name: values[name] for name in _OF_KIND[kind]}}
    if "annotation" in out:
        out["annotation"] = Path(out["annotation"]).name
    if "tracks" in out:
        out["tracks"] = [Path(f).name for f in out["tracks"]]
    return out


def _few(regions: Sequence[str]) -> list[str]:
    most = 50
    more = [f"and {len(regions) - most} more"] if len(regions) > most else []
    return [*regions[:most], *more]


def card_text(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    progress = card["progress"]
    lines = [
        f"# {card['name']}",
        "",
        card["description"],
        "",
        f"{card['parameters']:,} parameters; step {progress['model_step']:,} of "
        f"{progress['steps']:,}, {progress['bases']:,} bases read in "
        f"{progress['seconds']:,.0f} s; {progress['skipped_steps']:,} steps skipped.",
        "",
        *_start_lines(card["start"]),
        *_result_lines(card["results"]),
        "## Data",
        "",
        "| file | sequences | bases | sha256 |",
        "| --- | --- | --- | --- |",
        *(
            f"| {d['file']} | {d['records']:,} | {d['bases']:,} | {d['sha256'][:16]} |"
            for d in card["data"]
        ),
        "",
        "| split | bases | regions |",
        "| --- | --- | --- |",
        *(
            f"| {part} | {s['bases']:,} | {', '.join(s['regions'])} |"
            for part, s in card["splits"].items()
        ),
        "",
        "## Licence",
        "",
        card["licence"],
        "",
        "## Limits",
        "",
        card["limits"],
        "",
        "## Config",
        "",
        "```json",
        json.dumps(card["training"], indent=1),
        "```",
        "",
    ]
    return "\n".join(lines)


def _result_lines(results: Mapping[str, Any]) -> Iterator[str]:
    if not results:
        yield "Nothing was held out: there is no honest number.\n"
        return
    parts = list(results)
    if "cds" in results[parts[0]]:
        yield from label_lines(results)
        return
    if "matthews" in results[parts[0]]:
        yield from class_lines(results)
        return
    if "tracks" in results[parts[0]]:
        yield from track_lines(results)
        return
    orders = range(len(results[parts[0]]["markov_bits_per_base"]))
    yield "## Bits per base\n"
    heads = [f"{part} ({results[part]['bases']:,} bases)" for part in parts]
    yield "| | " + " | ".join(heads) + " |"
    yield "| --- |" + " --- |" * len(parts)
    ours = [_text(results[part]["bits_per_base"]) for part in parts]
    yield "| **this model** | " + " | ".join(f"**{text}**" for text in ours) + " |"
    for order in orders:
        row = [_text(results[part]["markov_bits_per_base"][order]) for part in parts]
        yield f"| Markov, order {order} | " + " | ".join(row) + " |"
    yield ""


def _text(bits: float | None) -> str:
    return "-" if bits is None else f"{bits:.4f}"
