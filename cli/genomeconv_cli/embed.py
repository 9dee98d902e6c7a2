"""`genomeconv embed`: FASTA in, embeddings in an HDF5 file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from genomeconv_cli.console import Notifier, put_fields, seconds_text
from genomeconv_cli.options import (
    device_option,
    model_option,
    quiet_option,
    threads_option,
    verbose_option,
)
from genomeconv_cli.params import layer, size
from genomeconv_cli.progress import choose_progress
from genomeconv_cli.signals import Terminated

if TYPE_CHECKING:
    from genomeconv.embed import EmbedOptions, EmbedSummary

Rows = Literal["bin", "per-base", "whole", "bed"]


@click.command()
@click.argument("fasta", metavar="FASTA")
@click.option(
    "-o",
    "--output",
    metavar="OUT.h5",
    help="The file to write [default: FASTA's name + .embeddings.h5, here].",
)
@model_option
@click.option(
    "--bin",
    "bin_",
    type=size,
    metavar="N",
    help="A row is the mean of N bases; the last bin of a sequence may be shorter "
    "[default: 1024].",
)
@click.option("--per-base", is_flag=True, help="A row a base.")
@click.option("--whole", is_flag=True, help="A row a sequence: the mean of its bases.")
@click.option(
    "--bed",
    type=click.Path(path_type=Path),
    metavar="BED",
    help="A row for each region of a BED file, in its order; its strands are not used, "
    "--strand is.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="Only this part, as chr1, chr1:5,000 or chr1:1,000-2,000 "
    "(1-based, both ends included); may be repeated.",
)
@click.option(
    "--empty",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do with records that have no bases.",
)
@click.option(
    "--gaps",
    type=click.Choice(["error", "n", "remove"]),
    default="error",
    show_default=True,
    help="How the gaps - and . of an alignment are read: as N, or not at all, which "
    "moves every position behind them.",
)
@click.option(
    "--soft-mask",
    type=click.Choice(["keep", "n"]),
    default="keep",
    show_default=True,
    help="How lower-case letters are read: as the bases they are, or as N.",
)
@click.option(
    "--duplicates",
    type=click.Choice(["error", "number"]),
    default="error",
    show_default=True,
    help="What to do with a name used before; number puts _2, _3 ... behind it.",
)
@click.option(
    "--names",
    type=click.Choice(["strict", "replace"]),
    default="strict",
    show_default=True,
    help="What to do with bytes in names that are not UTF-8; replace puts U+FFFD.",
)
@click.option(
    "--max-length",
    type=size,
    metavar="N",
    help="Refuse a record of more than N bases, as soon as that many are read "
    "[default: any length].",
)
@click.option(
    "--allow-truncated",
    is_flag=True,
    help="Read a bgzip file whose end-of-file block is missing.",
)
@click.option(
    "--layer",
    type=layer,
    metavar="last|N",
    default="last",
    show_default=True,
    help="The layer whose output is taken.",
)
@click.option(
    "--strand",
    type=click.Choice(["forward", "reverse", "both"]),
    default="forward",
    show_default=True,
    help="The strand that is read; both is the mean of the two.",
)
@click.option(
    "--chunk",
    type=size,
    metavar="N",
    help="Bases read at a time; changes no number [default: 1,048,576].",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="The type the embeddings are stored in.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="The type matrix products are computed in.",
)
@device_option
@click.option(
    "--kernels",
    type=click.Choice(["auto", "triton", "torch"]),
    default="auto",
    show_default=True,
    help="Convolutions on a GPU: Triton's where they can run, else torch's; or one of "
    "them, or error.",
)
@threads_option
@click.option(
    "--compress",
    type=click.Choice(["none", "zstd", "gzip"]),
    default="none",
    show_default=True,
    help="Embeddings shrink by a tenth at best; zstd needs hdf5plugin to be read.",
)
@click.option(
    "-n",
    "--dry-run",
    is_flag=True,
    help="Only show the plan: rows, size on disk, free space, memory, time.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.h5 if it exists.")
@click.option(
    "--break-lock",
    is_flag=True,
    help="Take over an output locked on another machine, once that run is over.",
)
@quiet_option
@verbose_option
@click.pass_context
def command(
    ctx: click.Context, /, dry_run: bool, quiet: bool, verbose: bool, **given: Any
) -> None:
    """Turn the sequences of FASTA into rows of numbers.

    FASTA may be plain, gzip or bgzip; - reads from a pipe.  A killed run continues
    where it stopped when the same command is run again.

    \b
    Examples:
      genomeconv embed genome.fa
      genomeconv embed genome.fa.gz -o out.h5 --bin 256 --strand both
      genomeconv embed genome.fa --region chrX:31,115,794-33,357,558 --per-base
      genomeconv embed genome.fa --bed exons.bed --dry-run
      zcat genome.fa.gz | genomeconv embed - -o out.h5
    """  # noqa: D301
    if quiet and verbose:
        raise click.UsageError("-q and -v contradict each other", ctx)
    options = _options(ctx, **given)

    from genomeconv.embed import describe_embedding, run_embedding

    notify = Notifier(quiet=quiet, verbose=verbose)
    if dry_run:
        put_fields(describe_embedding(options, notify))
        return
    try:
        with choose_progress(quiet=quiet) as progress:
            summary = run_embedding(options, progress, notify)
    except (KeyboardInterrupt, Terminated) as stop:
        stop.add_note("the same command continues from the blocks already written")
        raise
    notify("info", summary_text(summary))


def _options(
    ctx: click.Context,
    *,
    fasta: str,
    output: str | None,
    bin_: int | None,
    per_base: bool,
    whole: bool,
    bed: Path | None,
    regions: tuple[str, ...],
    **others: Any,
) -> EmbedOptions:
    """Turn the words of the command line into the library's options.

    Raises
    ------
    click.UsageError
        If options contradict each other, or the output is a pipe.
    """
    chosen: dict[str, tuple[Rows, bool]] = {
        "--bin": ("bin", bin_ is not None),
        "--per-base": ("per-base", per_base),
        "--whole": ("whole", whole),
        "--bed": ("bed", bed is not None),
    }
    modes = [option for option, (_, given) in chosen.items() if given]
    if len(modes) > 1:
        raise click.UsageError(
            f"{modes[0]} and {modes[1]} contradict each other; choose what a row is",
            ctx,
        )
    if bed is not None and regions:
        raise click.UsageError(
            "--bed and --region contradict each other; a region can be a line of the "
            "BED file",
            ctx,
        )
    if output == "-":
        raise click.UsageError(
            "-o -: HDF5 cannot be written to a pipe; give a file name", ctx
        )
    given = {"model": others.pop("model"), "chunk": others.pop("chunk"), "bin": bin_}

    from genomeconv.embed import EmbedOptions

    return EmbedOptions(
        fasta=fasta,
        output=None if output is None else Path(output),
        rows=chosen[modes[0]][0] if modes else "bin",
        bed=bed,
        regions=regions,
        command=ctx.find_root().obj or "",
        **{name: value for name, value in given.items() if value is not None},
        **others,
    )


def summary_text(summary: EmbedSummary) -> str:
    """Say in one line what a run has made."""
    rate = summary.bases / summary.seconds if summary.seconds > 0 else 0.0
    text = (
        f"{summary.output}: {summary.rows:,} row{'' if summary.rows == 1 else 's'} x "
        f"{summary.columns:,} columns from "
        f"{summary.bases:,} bases of {summary.records:,} "
        f"sequence{'' if summary.records == 1 else 's'} "
        f"in {seconds_text(summary.seconds)}"
    )
    if summary.resumed_rows:
        return f"{text} ({summary.resumed_rows:,} rows were there from before)"
    return f"{text} ({rate:,.0f} bases/s)"
