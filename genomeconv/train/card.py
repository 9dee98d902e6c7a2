"""The model card: what a model was trained on, how, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genomeconv.train.label_card import label_lines

LIMITS = (
    "Numbers on held-out sequence of the same genomes say nothing of other species or "
    "of another task: try it there. Not for clinical use."
)
_PREDICTS = {
    "lm": "the next base",
    "mask": "hidden bases",
    "labels": "the labels of genes at each base",
}


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
    """Return bits per base beside the best baseline, for one line of `info`."""
    return "; ".join(
        f"{part} {_text(found['bits_per_base'])} bits per base, the best Markov model "
        f"{_text(min(filter(None, found['markov_bits_per_base']), default=None))}"
        for part, found in results.items()
        if "markov_bits_per_base" in found
    )


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
    annotation = out["objective"]["annotation"]
    out["objective"]["annotation"] = Path(annotation).name
    for part in ("train", "valid", "test"):
        if out["split"]["by"] == "bed":
            out["split"][part] = [Path(f).name for f in out["split"][part]]
    del out["data"]["cache"]
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
