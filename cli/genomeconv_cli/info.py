"""`genomeconv info`: what a FASTA, an output or a model folder is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from genomeconv.errors import ModelError
from genomeconv_cli.console import Notifier, put_fields, put_json, value_text
from genomeconv_cli.options import json_option

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_LONGEST = 200
"""Letters of an entry of a model card that are shown; --json has all of it."""
_WEIGHTS = {".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"}
"""How weights end: those that are read, and the pickles that are refused."""


@click.command()
@click.argument("file", metavar="FILE")
@json_option
def command(file: str, as_json: bool) -> None:
    """Say what FILE is: a FASTA, an output of genomeconv, a model, or a run.

    A model at hand also goes by its name.

    \b
    Examples:
      genomeconv info genome.fa.gz
      genomeconv info genome.embeddings.h5 --json
      genomeconv info human
    """  # noqa: D301
    facts = _describe(file)
    if as_json:
        put_json(facts)
    else:
        put_fields(_brief(facts))


def _brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Put the card's entries beside the others, those that fit on a line."""
    out = {key: value for key, value in facts.items() if key != "card"}
    for key, value in facts.get("card", {}).items():
        text = value_text(key, value)
        if key not in out and text and len(text) <= _LONGEST:
            out[key] = value
    return out


def _describe(file: str) -> Mapping[str, Any]:
    path = Path(file)
    if not path.exists() and (folder := _named(file)) is not None:
        path = folder
    if path.is_dir():
        from genomeconv.train.folder.describe import describe_run, is_run

        if is_run(path):
            return describe_run(path)
    if path.is_dir() or (path.exists() and path.suffix.lower() in _WEIGHTS):
        from genomeconv.weights import describe as describe_model

        return describe_model(path)
    if path.is_file() and _starts_with(path, _HDF5_MAGIC):
        from genomeconv.store.apart import ask

        return ask("describe", path)

    return _describe_fasta(file)


def _named(name: str) -> Path | None:
    """Return the folder of a model at hand, None where there is none of that name."""
    from genomeconv.weights import find_folder

    try:
        return find_folder(name)
    except ModelError:
        return None


def _describe_fasta(file: str) -> Mapping[str, Any]:
    """Read all of a FASTA: it is checked as `embed` checks it, and counted."""
    from genomeconv.fasta import ReadPolicy
    from genomeconv.fasta.scan import Scanner
    from genomeconv.inputs import Input

    strong = 0

    def count(codes: bytes) -> None:
        nonlocal strong
        strong += codes.count(1) + codes.count(2)  # C and G

    notify = Notifier()
    with Input(file) as source:
        policy = ReadPolicy(empty="skip")
        scanner = Scanner(source, policy, partial(notify, "warning"), count)
        records = scanner.run()
    longest = int(records.lengths.argmax())
    called = int(records.called.sum())
    return {
        "kind": f"FASTA ({source.packing})",
        "records": len(records),
        "bases": records.bases,
        "called": called,
        "unknown": records.bases - called,
        "gc_percent": round(100 * strong / called, 2) if called else None,
        "longest": records.names[longest],
        "longest_bases": int(records.lengths[longest]),
        "sha256": records.fingerprint()["sha256"],
    }


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
