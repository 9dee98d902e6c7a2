"""Options that several commands share, one decorator each."""

from __future__ import annotations

import click

from genomeconv_cli.params import device

model_option = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="A name from `genomeconv models` or a model folder "
    "[default: the bundled model].",
)

device_option = click.option(
    "--device",
    type=device,
    metavar="DEVICE",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:I; auto takes a GPU if there is one.",
)

threads_option = click.option(
    "-@",
    "--threads",
    type=click.IntRange(1, 1024),  # OpenMP ends the process where it has no room
    metavar="N",
    help="CPU threads [default: all cores of this job].",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON, for programs."
)

quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Say nothing but errors."
)

verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Say more about what is done."
)
