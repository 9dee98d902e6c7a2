"""`genomeconv doctor`: what this machine has, and whether the tool works on it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from genomeconv.errors import DeviceError
from genomeconv_cli.console import put_json, put_table
from genomeconv_cli.options import json_option


@click.command()
@click.argument("fasta", metavar="[FASTA]", required=False)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    default=".",
    help="The folder outputs will be written to [default: the current one].",
)
@json_option
@click.pass_context
def command(ctx: click.Context, fasta: str | None, folder: Path, as_json: bool) -> None:
    """Check this machine by a small real run.

    Shows versions, processor, GPUs, filters and disk; with FASTA, also whether its
    index can be trusted.  Ends with 69 if a check fails.

    \b
    Examples:
      genomeconv doctor
      genomeconv doctor genome.fa --dir /scratch/me --json
    """  # noqa: D301
    from genomeconv_cli.checks import examine

    checks = [asdict(check) for check in examine(folder, fasta)]
    if as_json:
        put_json(checks)
    else:
        put_table(checks)
    if any(check["status"] == "fail" for check in checks):
        ctx.exit(DeviceError.exit_code)
