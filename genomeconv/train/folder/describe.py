"""What `genomeconv info` shows of a run folder; torch is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genomeconv.errors import ModelError
from genomeconv.train.folder.log import read_log

RECORD = "run.json"


def is_run(folder: Path) -> bool:
    """Whether a folder is one of `genomeconv train`."""
    return (folder / RECORD).is_file()


def describe_run(folder: Path) -> dict[str, Any]:
    """Return how far a run is, and what it is of.

    Raises
    ------
    ModelError
        Its record is damaged.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        config, data = record["config"], record["data"]
        facts = {
            "kind": "training run",
            "objective": config["objective"]["kind"],
            "steps": config["schedule"]["steps"],
            "data": [d["file"] for d in data],
            "bases": {part: s["bases"] for part, s in record["splits"].items()},
            "processes": record["world_size"],
            "command": record["command"],
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder / RECORD}: damaged: {error}") from None
    lines = read_log(folder / "metrics.jsonl")
    for kind, title in (("train", "training"), ("valid", "validation")):
        last = [line for line in lines if line.get("kind") == kind][-1:]
        facts[f"last {title}"] = {
            k: v for line in last for k, v in line.items() if k != "kind"
        }
    saved = sorted(p.name for p in folder.glob("checkpoints/step-*"))
    model = folder / "model"
    return {
        **facts,
        "checkpoints": saved,
        "model": str(model) if model.exists() else None,
    }
