"""`genomeconv models`: the models at hand."""

from __future__ import annotations

import click

from genomeconv_cli.console import put_json, put_table, say
from genomeconv_cli.options import json_option


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the models at hand.

    The first is the one that embed takes by itself.

    \b
    Example:
      genomeconv models --json
    """  # noqa: D301
    from genomeconv.weights import list_models

    models = list_models()
    if as_json:
        put_json(models)
    elif models:
        put_table(models)
    else:
        say("no models at hand; `genomeconv import` makes one of a checkpoint")
