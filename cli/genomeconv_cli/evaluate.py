"""`genomeconv evaluate`: bits per base of a model beside Markov models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from genomeconv_cli.console import Notifier, put_json, put_table
from genomeconv_cli.options import (
    device_option,
    json_option,
    quiet_option,
    threads_option,
)
from genomeconv_cli.progress import choose_progress


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("fasta", metavar="FASTA|CSV")
@click.option(
    "--bed",
    type=click.Path(path_type=Path),
    metavar="BED",
    help="Also by class: regions whose column 4 names their class.",
)
@click.option(
    "--annotation",
    type=click.Path(path_type=Path),
    metavar="GTF",
    help="GTF, GFF3 or BED file of the genes: judge labels of genes instead, with "
    "--bed in these regions only. For models of classes: BED file of regions.",
)
@click.option(
    "--track",
    "tracks",
    multiple=True,
    metavar="BIGWIG",
    help="Judge tracks instead: one for each of the model's, in their order.",
)
@click.option(
    "--markov",
    metavar="self|none|FASTA",
    default="self",
    show_default=True,
    help="What the Markov models learn from: FASTA's halves from each other, nothing, "
    "or another FASTA, such as the training text.",
)
@click.option(
    "--order",
    type=click.IntRange(0, 12),
    metavar="N",
    help="Longest context of the Markov models [default: what the text allows].",
)
@device_option
@threads_option
@json_option
@quiet_option
def command(model: str, as_json: bool, quiet: bool, **given: Any) -> None:
    """Measure how well MODEL predicts the bases of FASTA, in bits per base.

    Lower is better; 2 is chance. Beside it stands the best of a row of Markov models,
    and its order. With --annotation: average precision and F1 of labels of genes,
    beside weight matrices and open reading frames of the same text. With --track:
    correlation and deviance, beside GC content. A model of classes takes a CSV file
    with the columns sequence and label, or a FASTA and --annotation REGIONS.bed.

    \b
    Examples:
      genomeconv evaluate first.run/model genome.fa
      genomeconv evaluate human chr22.fa.gz --bed exons.bed --json
      genomeconv evaluate first.run/model test.fa --markov train.fa
      genomeconv evaluate yeast-genes yeast.fa --annotation yeast.gff3
      genomeconv evaluate classes.run/model dev.csv
      genomeconv evaluate tracks.run/model genome.fa --track coverage.bw
    """  # noqa: D301
    from genomeconv.train.evaluate import EvaluateOptions, evaluate

    options = EvaluateOptions(model=model, **given)
    with choose_progress(quiet=quiet) as progress:
        results = evaluate(options, progress, Notifier(quiet=quiet))
    if as_json:
        put_json(results)
    else:
        put_table(list(_shown(results["rows"])))


def _shown(rows: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in row.items()
            if key != "markov_by_order"
        }
