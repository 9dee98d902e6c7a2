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
@click.option(
    "--plan",
    is_flag=True,
    help="Measure nothing: say how convolutions run on a GPU (an H200), the bytes "
    "and operations of each, and the time no version can beat.",
)
@click.option(
    "--length",
    type=click.IntRange(1, 1 << 30),
    metavar="N",
    help="With --plan: bases [default: 256 to 4 M].",
)
@click.option(
    "--taps",
    type=click.IntRange(1, 1 << 30),
    metavar="K",
    help="With --plan: taps of the filter [default: 4 up to the length].",
)
@click.option(
    "--channels",
    type=click.IntRange(1),
    metavar="H",
    help="With --plan: channels [default: 256].",
)
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    help="With --plan: type of the numbers [default: bfloat16].",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    what: str | None,
    as_json: bool,
    quick: bool,
    threads: int | None,
    save: Path | None,
    plan: bool,
    **shape: Any,
) -> None:
    """Measure the convolution, the model, or both on this machine.

    \b
    Examples:
      genomeconv bench --quick
      genomeconv bench conv --json
      genomeconv bench --save bench.json
      genomeconv bench conv --plan --length 1000000
    """  # noqa: D301
    given = {name: value for name, value in shape.items() if value is not None}
    _check_plan(ctx, plan, what, quick or threads is not None, given)
    if plan:
        tables = {"plan": list(_planned(given))}
    else:
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


def _check_plan(
    ctx: click.Context,
    plan: bool,
    what: str | None,
    measured: bool,
    given: Mapping[str, Any],
) -> None:
    """Refuse options that would do nothing."""
    if plan and what != "conv":
        raise click.UsageError("--plan is of the convolution: bench conv --plan", ctx)
    if plan and measured:
        raise click.UsageError(
            "--plan measures nothing, so --quick and --threads do not go with it", ctx
        )
    if given and not plan:
        raise click.UsageError(f"--{next(iter(given))} needs --plan", ctx)


def _planned(given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    from genomeconv.bench import plan_rows

    how = dict(given)
    if "length" in how:
        how["lengths"] = [how.pop("length")]
    if "taps" in how:
        how["taps"] = [how["taps"]]
    return plan_rows(**how)


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
