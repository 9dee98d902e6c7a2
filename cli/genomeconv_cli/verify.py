"""`genomeconv verify`: checksums and completeness of an output."""

from __future__ import annotations

import click

from genomeconv.errors import DataError
from genomeconv_cli.console import put_fields, put_json, say
from genomeconv_cli.options import json_option


@click.command()
@click.argument("file", metavar="FILE")
@json_option
def command(file: str, as_json: bool) -> None:
    """Say whether FILE, an output of genomeconv, is whole.

    Every value is read and compared with its checksum; damaged rows are named.  Files
    of unknown origin are safe to verify: a process of its own reads them.

    \b
    Examples:
      genomeconv verify genome.embeddings.h5
      genomeconv verify genome.embeddings.h5 --json && echo whole
    """  # noqa: D301
    from genomeconv.store.apart import ask

    try:
        facts = ask("verify", file)
    except DataError as error:
        if as_json:
            put_json({"whole": False, "path": file, "error": str(error)})
        raise
    beside = facts.pop("beside")
    if as_json:
        put_json({"whole": True, **facts, "beside": beside})
    else:
        put_fields({"whole": True, **facts})
    if beside:
        say(
            f"warning: beside the file lie {', '.join(beside)}: those of a run that is "
            "going to replace it, or of one that was killed"
        )
