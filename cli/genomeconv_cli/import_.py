"""`genomeconv import`: published weights into a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from genomeconv_cli.console import Notifier, put_fields
from genomeconv_cli.params import size


@click.group()
def command() -> None:
    """Make a model folder (safetensors and JSON) of published weights."""


@command.command()
@click.argument("checkpoint", metavar="CKPT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="The model folder to make.",
)
@click.option(
    "--l-max",
    type=size,
    metavar="N",
    help="Length of the filters [default: what the checkpoint says].",
)
@click.option(
    "--shift",
    type=float,
    metavar="X",
    help="Offset of the filter's window: 0.05 in the hub's code, 0 in the code the "
    "models were trained with [default: what goes with the checkpoint's layout].",
)
@click.option(
    "--taps",
    type=size,
    metavar="N",
    help="Cut the filters to N taps; what that loses is said [default: all].",
)
def hyenadna(checkpoint: Path, output: Path, **given: Any) -> None:
    """Import a HyenaDNA checkpoint: Lightning .ckpt or .safetensors.

    No code of the checkpoint is run: only tensors and plain values are read.

    \b
    Example:
      genomeconv import hyenadna weights.ckpt -o models/hyenadna-tiny-1k
      genomeconv embed genome.fa -m models/hyenadna-tiny-1k
    """  # noqa: D301
    from genomeconv.weights import import_hyenadna

    settings = {name: value for name, value in given.items() if value is not None}
    put_fields(import_hyenadna(checkpoint, output, notify=Notifier(), **settings))
