"""`genomeconv train`: from FASTA and a config to a model folder."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from genomeconv_cli.console import Notifier, put, seconds_text
from genomeconv_cli.options import quiet_option, verbose_option
from genomeconv_cli.train_progress import choose_train_progress

if TYPE_CHECKING:
    from genomeconv.train.config import TrainConfig
    from genomeconv.train.config.template import Kind
    from genomeconv.train.folder.record import Change
    from genomeconv.train.run import TrainSummary

DEFAULT_CONFIG = "genomeconv.toml"
_SUFFIXES = (".gz", ".bgz", ".bgzf", ".fa", ".fasta", ".fna", ".ffn", ".toml")


@click.command()
@click.argument("source", metavar="[CONFIG.toml|FASTA|RUN]", required=False)
@click.option(
    "-o",
    "--output",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="The run folder to make [default: the source's name + .run, here].",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the config, as schedule.steps=500; may be repeated.",
)
@click.option(
    "--init",
    type=click.Choice(["lm", "mask", "labels", "classes", "tracks"]),
    help="Print a commented config instead: next base (lm), hidden bases (mask), "
    "genes (labels), classes of sequences (classes) or BigWig (tracks).",
)
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option(
    "--allow-data-change",
    is_flag=True,
    help="Resume although the sequences are not those the run began with.",
)
@click.option(
    "--allow-config-change",
    is_flag=True,
    help="Resume with other settings or versions; the model has to stay.",
)
@click.option(
    "--allow-reshard",
    is_flag=True,
    help="Resume with the work shared out otherwise, as over more processes.",
)
@click.option(
    "--break-lock",
    is_flag=True,
    help="Take over a run locked on another machine, once that one is over.",
)
@quiet_option
@verbose_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: str | None,
    output: Path | None,
    settings: tuple[str, ...],
    init: str | None,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Train a model on your own sequences.

    CONFIG.toml says everything; without it ./genomeconv.toml is read. A FASTA alone
    trains a next-base model with defaults. A run that was stopped goes on with
    --resume, to the same weights on a CPU. Several processes: torchrun.

    \b
    Examples:
      genomeconv train genome.fa -o first.run
      genomeconv train --init lm > genomeconv.toml
      genomeconv train --set schedule.steps=500
      genomeconv train first.run --resume
      torchrun --nproc-per-node 4 --no-python genomeconv train genomeconv.toml
    """  # noqa: D301
    if quiet and verbose:
        raise click.UsageError("-q and -v contradict each other", ctx)
    if init is not None:
        _print_template(ctx, init, source, [output, settings, *given.values()])
        return
    from genomeconv.train.engine.memory import keep_freed_memory
    from genomeconv.train.run import TrainOptions, run_training

    config, folder = _config(source, settings)
    if not config.compute.recompute:  # which asks for little memory before speed
        keep_freed_memory()
    options = TrainOptions(
        config=config,
        folder=output or folder,
        resume=given["resume"],
        allow=_allowed(given),
        break_lock=given["break_lock"],
        command=ctx.find_root().obj or "",
    )
    notify = Notifier(quiet=quiet, verbose=verbose)
    progress = choose_train_progress(quiet=quiet)
    summary = run_training(options, progress, notify)
    if summary.rank == 0 and summary.signal:
        notify("warning", stop_text(summary))
    elif summary.rank == 0:
        notify("info", summary_text(summary))
    if summary.signal:
        ctx.exit(128 + summary.signal)


def _print_template(
    ctx: click.Context, init: str, source: str | None, others: list[object]
) -> None:
    if any(others) or (source or "").endswith(".toml"):
        raise click.UsageError("--init goes with a FASTA at most", ctx)
    from genomeconv.train.config.template import template

    put(template(cast("Kind", init), source or "").rstrip())


def _config(source: str | None, settings: tuple[str, ...]) -> tuple[TrainConfig, Path]:
    """Return the config, and the run folder that goes with its source."""
    from genomeconv.train.config import MODEL_DEFAULTS, from_dict
    from genomeconv.train.config.settings import apply, read_toml
    from genomeconv.train.folder.record import read_record

    path = Path(source or DEFAULT_CONFIG)
    folder = Path(_stem(path.name) + ".run")
    if path.is_dir():
        values, folder = read_record(path)["config"], path
    elif path.suffix == ".toml":
        values = read_toml(path)
    else:
        values = {"data": {"fasta": [str(path)]}}
    # So that one value of the default filters can be set; a start has its own.
    started = any(s.partition("=")[0].strip() == "model.start" for s in settings)
    if isinstance(given := values.get("model", {}), dict) and not (
        started or given.get("start")
    ):
        values = {**values, "model": {**MODEL_DEFAULTS, **given}}
    return from_dict(apply(values, settings)), folder


def _stem(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _allowed(given: dict[str, Any]) -> frozenset[Change]:
    options: dict[str, Change] = {
        "allow_data_change": "data",
        "allow_config_change": "config",
        "allow_reshard": "reshard",
    }
    return frozenset(change for name, change in options.items() if given[name])


def stop_text(summary: TrainSummary) -> str:
    """Say what a stopped run has saved, and how it goes on."""
    name = signal.Signals(summary.signal).name
    return (
        f"stopped by {name} after step {summary.step:,} of {summary.steps:,}; saved: "
        f"`genomeconv train {summary.folder} --resume` goes on"
    )


def summary_text(summary: TrainSummary) -> str:
    """Say in one line what a run has made."""
    parts = [
        f"{summary.folder / 'model'}: {summary.steps:,} steps, "
        f"{summary.bases:,} bases in {seconds_text(summary.seconds)}"
    ]
    if summary.best_step >= 0:
        value = f"loss {summary.best_loss:.3f}"
        if summary.objective in ("lm", "mask"):
            value = f"{summary.best_loss / math.log(2):.3f} bits per base"
        parts.append(f"validation {value}, best at step {summary.best_step:,}")
    if summary.skipped:
        parts.append(f"{summary.skipped:,} steps skipped (not finite)")
    parts.append(f"see {summary.folder / 'report' / 'card.md'}")
    return "; ".join(parts)
