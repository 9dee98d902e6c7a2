"""run.json: what a run is, and what must agree to go on with it."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from genomeconv._version import __version__
from genomeconv.errors import ModelError
from genomeconv.train.config import to_dict
from genomeconv.train.folder.files import replace_text
from genomeconv.train.source import Source

RECORD = "run.json"
FORMAT_VERSION = 1
Change = Literal["config", "data", "reshard"]

_FREE = {
    "compute": {"device", "threads", "timeout"},
    "data": {"fasta", "cache", "workers"},
    "model": {"start"},
    "objective": {"annotation", "tracks"},
}
"""What changes no number, or is compared by content."""
_FREE_SECTIONS = {"checkpoint", "card"}
_SHARING = ("compute.shard", "compute.context")
"""How the processes share the work: no other numbers, but sums in another order."""
_FIXED = "model."
_SHOWN = 6


def make_record(
    source: Source, start: Mapping[str, str] | None, world: int, command: str
) -> dict[str, Any]:
    """Return what is known of a run before its first step, ready for JSON."""
    return {
        "format": "genomeconv-run",
        "format_version": FORMAT_VERSION,
        "command": command,
        "config": to_dict(source.config),
        "start": start,
        "data": source.fingerprints(),
        "splits": source.described(),
        "world_size": world,
        "software": {
            "genomeconv": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "changes": [],
    }


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run folder.

    Raises
    ------
    ModelError
        There is none, or it is damaged.
    """
    path = folder / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != "genomeconv-run":
            raise ValueError("not the record of a run")
    except FileNotFoundError:
        raise ModelError(f"{folder}: holds no run of genomeconv train") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: damaged: {error}") from None
    if values.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{path}: run format {values.get('format_version')}, this genomeconv reads "
            f"{FORMAT_VERSION}"
        )
    found: dict[str, Any] = values
    return found


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run."""
    replace_text(folder / RECORD, json.dumps(record, indent=1) + "\n")


def agreed(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    allowed: Collection[Change],
    step: int,
) -> dict[str, Any]:
    """Return the record to go on with.

    Parameters
    ----------
    old, new : Mapping
        Records of the run that was begun, and of the one that is asked for.
    allowed : collection of "config", "data", "reshard"
        What may have changed.
    step : int
        Where the run goes on, for the record.

    Raises
    ------
    ModelError
        Something changed that was not allowed to; the message says what.
    """
    differences = dict(_differences(old, new))
    for kind, texts in differences.items():
        fixed = [
            text for text in texts if kind == "config" and text[: len(_FIXED)] == _FIXED
        ]
        if fixed:
            raise ModelError(
                f"the model changed since the run began: {_listed(fixed)}; its weights "
                "do not fit another; start a new run with -o"
            )
        if kind not in allowed:
            option = (
                "--allow-reshard" if kind == "reshard" else f"--allow-{kind}-change"
            )
            raise ModelError(
                f"the {_WORDS[kind]} changed since the run began: {_listed(texts)}; "
                f"undo that, start a new run with -o, or go on with {option}"
            )
    out = dict(new)
    out["changes"] = list(old.get("changes", ()))
    if differences:
        changes = [text for texts in differences.values() for text in texts]
        out["changes"].append({"step": step, "what": changes})
    return out


_WORDS = {"config": "config", "data": "data", "reshard": "sharing of the work"}


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[Change, list[str]]]:
    """Yield each kind of change with what changed, where there is any."""
    data = list(_data_changes(old["data"], new["data"]))
    if data:
        yield "data", data
    before, after = (dict(_settings(record)) for record in (old, new))
    names = dict.fromkeys([*before, *after])
    changed = {
        name: f"{name} {_json(before.get(name))} -> {_json(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    }
    if config := [text for name, text in changed.items() if name not in _SHARING]:
        yield "config", config
    sizes = old["world_size"], new["world_size"]
    sharing = [changed[name] for name in _SHARING if name in changed]
    if sizes[0] != sizes[1]:
        sharing.insert(0, f"{sizes[0]} -> {sizes[1]} processes")
    if sharing:
        yield "reshard", sharing


def _data_changes(
    old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> Iterator[str]:
    if len(old) != len(new):
        yield f"{len(old)} files -> {len(new)}"
    for before, after in zip(old, new, strict=False):
        if before["sha256"] != after["sha256"]:
            yield (
                f"{after['file']}, {before['bases']:,} bases in {before['records']:,} "
                f"sequences then, {after['bases']:,} in {after['records']:,} now, "
                f"sha256 {before['sha256'][:12]} -> {after['sha256'][:12]}"
            )


def _settings(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield all settings that decide a number, flat."""
    for section, values in record["config"].items():
        if section in _FREE_SECTIONS:
            continue
        for name, value in values.items():
            if name not in _FREE.get(section, ()):
                yield f"{section}.{name}", value
    yield "model.start sha256", (record.get("start") or {}).get("sha256")
    for name in ("genomeconv", "torch"):
        yield f"version of {name}", record["software"][name]


def _json(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
