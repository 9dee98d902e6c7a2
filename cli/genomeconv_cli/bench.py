"""`genomeconv bench`: speed on this machine beside torch.fft."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from genomeconv_cli.console import put_json, put_table, say
from genomeconv_cli.options import json_option, threads_option


@click.command()
@click.argument("what", type=click.Choice(["conv", "model"]), required=False)
@json_option
@click.option("--quick", is_flag=True, help="Short sequences: under a minute.")
@threads_option
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the rows to FILE as JSON, too.",
)
def command(
    what: str | None, as_json: bool, quick: bool, threads: int | None, save: Path | None
) -> None:
    """Measure the convolution, the model, or both on this machine.

    \b
    Examples:
      genomeconv bench --quick
      genomeconv bench conv --json
      genomeconv bench --save bench.json
    """  # noqa: D301
    tables = {
        name: list(_announced(name, rows(quick=quick, threads=threads)))
        for name, rows in _benchmarks().items()
        if what in (name, None)
    }
    if save is not None:
        save.write_text(json.dumps(tables, indent=2) + "\n")
    if as_json:
        put_json(tables)
        return
    for rows in tables.values():
        put_table(rows)


def _benchmarks() -> Mapping[str, Any]:
    from genomeconv.bench import convolution_rows, model_rows

    return {"conv": convolution_rows, "model": model_rows}


def _announced(
    name: str, rows: Iterator[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Pass rows on, saying on stderr that the work goes on."""
    for count, row in enumerate(rows, start=1):
        say(f"bench {name}: row {count} measured")
        yield row
