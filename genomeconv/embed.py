"""The main job: FASTA in, a file of embeddings out.

Two passes over the input: the first reads and checks every letter, so that the
rows are known and a bad base is reported before any computing; the second streams
the bases through the model and commits the rows block by block. A run that was
killed starts where its file ends; the numbers are those of an undisturbed run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from genomeconv.device import device_errors, fit_tile, kernels, resolve_device
from genomeconv.errors import CannotCreateError, UsageError
from genomeconv.fasta import Genome, LetterCounts, open_indexed, read_genome
from genomeconv.fill import Progress, fill, rows_together
from genomeconv.intervals import parse_region, read_bed
from genomeconv.options import EmbedOptions
from genomeconv.passes import Pass
from genomeconv.provenance import output_plan
from genomeconv.rows import RowPlan, plan_intervals, plan_records
from genomeconv.store import (
    OutputPlan,
    OutputWriter,
    check_target,
    predicted_bytes,
)
from genomeconv.stream import TilePlan, TrunkStream
from genomeconv.weights import LoadedModel, find_folder, load_model

__all__ = [
    "EmbedOptions",
    "EmbedPlan",
    "EmbedSummary",
    "Progress",
    "describe_embedding",
    "plan_embedding",
    "run_embedding",
]

Notify = Callable[[str, str], None]
"""Called with a level ("info", "warning") and one line of text."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class EmbedSummary:
    """What a run did."""

    output: Path
    rows: int
    columns: int
    records: int
    bases: int
    seconds: float
    resumed_rows: int
    """Rows found from an earlier run, on one strand at least."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbedPlan:
    """Everything known before the first base is run."""

    options: EmbedOptions
    genome: Genome
    rows: RowPlan
    model: LoadedModel
    device: torch.device
    output: OutputPlan
    passes: tuple[Pass, ...] = field(repr=False)

    @property
    def work(self) -> int:
        """Bases to run, all passes together."""
        return sum(p.bases for p in self.passes)

    def describe(self) -> dict[str, Any]:
        """Return rows, sizes in bytes, memory and time, for ``--dry-run``."""
        folder = self.options.destination.resolve().parent
        rate = self.passes[0].measure_rate()
        return {
            "output": str(self.options.destination),
            "records": len(self.genome.records),
            "bases": self.rows.bases,
            "rows": self.rows.n_rows,
            "columns": len(self.output.columns),
            "dtype": self.options.dtype,
            "model": self.model.name,
            "device": str(self.device),
            "bytes_on_disk": predicted_bytes(self.output, self.options.compress),
            "bytes_free": shutil.disk_usage(folder).free if folder.is_dir() else None,
            "bytes_memory": self.passes[0].engine.memory(),
            "bases_per_second": rate,
            "seconds": self.work / rate,
        }


def describe_embedding(options: EmbedOptions, notify: Notify) -> dict[str, Any]:
    """Return what a run would take and make; nothing of it is left on disk."""
    _check_output(options)
    with ExitStack() as stack:
        return plan_embedding(options, notify, stack).describe()


def plan_embedding(
    options: EmbedOptions, notify: Notify, stack: ExitStack
) -> EmbedPlan:
    """Read the input, load the model and work out the rows.

    ``stack`` closes what was opened.
    """
    if options.threads is not None:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    path = stack.enter_context(kernels(options.kernels, device, notify))
    find_folder(options.model)  # an unknown name is said before a long read
    genome, rows = _input(options, notify, stack)
    for text in _letter_notes(genome.counts, options):
        notify("info", text)
    model = load_model(options.model)
    for note in model.notes:
        notify("info", f"model {model.name}: {note}")
    layer = _layer(options, model)
    engine = _engine(options, model, layer, device, notify)
    sides = {"both": (False, True), "forward": (False,), "reverse": (True,)}
    passes = tuple(
        Pass(engine, genome, rows, reverse=side, chunk=options.chunk)
        for side in sides[options.strand]
    )
    output = replace(
        output_plan(options, genome, rows, model, engine, device, path),
        together=rows_together(engine.plan.tile, passes[0].bases, rows.n_rows),
    )
    return EmbedPlan(
        options=options,
        genome=genome,
        rows=rows,
        model=model,
        device=device,
        output=output,
        passes=passes,
    )


def run_embedding(
    options: EmbedOptions, progress: Progress, notify: Notify
) -> EmbedSummary:
    """Embed and write; see :class:`EmbedOptions`.

    Raises
    ------
    GenomeconvError
        With the exit code of the fault; the final path is untouched then, and what
        was committed is kept for the next run.
    """
    begun = time.monotonic()
    _check_output(options)
    with ExitStack() as stack:
        plan = plan_embedding(options, notify, stack)
        writer = stack.enter_context(
            OutputWriter.open(
                options.destination,
                plan.output,
                overwrite=options.overwrite,
                compress=options.compress,
                break_lock=options.break_lock,
                warn=lambda text: notify("warning", text),
            )
        )
        resumed = _count_resumed(writer, plan.rows.n_rows, notify)
        progress.start(plan.work, f"embedding {options.fasta}")
        stack.callback(progress.finish)
        with device_errors(plan.device):
            fill(plan.passes, writer, progress)
        plan.genome.check_unchanged()
        writer.finish()
    return EmbedSummary(
        output=options.destination,
        rows=plan.rows.n_rows,
        columns=len(plan.output.columns),
        records=len(plan.genome.records),
        bases=plan.rows.bases,
        seconds=time.monotonic() - begun,
        resumed_rows=resumed,
    )


def _check_output(options: EmbedOptions) -> None:
    """Refuse an output that cannot be made, or would replace what is read."""
    output = options.destination
    check_target(output, overwrite=True, compress=options.compress)
    read = [Path(given) for given in (options.fasta, options.bed) if given is not None]
    for path in read if output.exists() else ():
        if path.exists() and output.samefile(path):
            raise CannotCreateError(
                f"{output} is the input {path}: choose another name with -o"
            )
    check_target(output, overwrite=options.overwrite)


def _count_resumed(writer: OutputWriter, rows: int, notify: Notify) -> int:
    """Return how many rows an earlier run left, and say so."""
    done = sum(b - a for a, b in writer.done())
    half = 0
    if writer.scratch is not None:
        half = sum(
            b - a for p, q in writer.missing() for a, b in writer.scratch.done(p, q)
        )
    if done:
        notify("info", f"continuing: {done:,} of {rows:,} rows are done")
    if half:
        notify("info", f"continuing: {half:,} of {rows:,} rows have one strand done")
    return done + half


def _letter_notes(counts: LetterCounts, options: EmbedOptions) -> Iterator[str]:
    """Say which letters were not read as they are."""
    if counts.iupac:
        yield f"{counts.iupac:,} IUPAC codes of {options.fasta} read as N"
    if counts.masked:
        yield f"{counts.masked:,} lower-case bases of {options.fasta} read as N"
    if counts.gaps:
        done = "read as N" if options.gaps == "n" else "removed, positions too"
        yield f"{counts.gaps:,} gaps of {options.fasta} {done}"


def _engine(
    options: EmbedOptions,
    model: LoadedModel,
    layer: int | None,
    device: torch.device,
    notify: Notify,
) -> TrunkStream:
    """Lay the model out on the device, with a tile that fits its memory."""
    trunk = model.model.trunk.to(device)

    def make(plan: TilePlan) -> TrunkStream:
        precision = PRECISIONS[options.precision]
        return TrunkStream(trunk, layer=layer, precision=precision, plan=plan)

    return fit_tile(trunk.config, layer, device, make, notify)


def _layer(options: EmbedOptions, model: LoadedModel) -> int | None:
    """Return the block to stop behind; None: the final norm."""
    depth = model.model.config.layers
    if options.layer == "last":
        return None
    if not 0 <= options.layer <= depth:
        raise UsageError(
            f"--layer {options.layer}: model {model.name} has blocks 1 to {depth} "
            "(0: the embedding table; last: behind the final norm)"
        )
    return options.layer


def _input(
    options: EmbedOptions, notify: Notify, stack: ExitStack
) -> tuple[Genome, RowPlan]:
    """Open the FASTA, whole or through its index, and work out the rows."""

    def warn(text: str) -> None:
        notify("warning", text)

    if not options.regions and options.bed is None:
        folder = options.destination.resolve().parent
        genome = stack.enter_context(
            read_genome(options.fasta, folder, options.policy, warn=warn)
        )
        return genome, plan_records(genome.records, options.row_bases)
    indexed = stack.enter_context(
        open_indexed(options.fasta, options.policy, warn=warn)
    )
    lengths = indexed.lengths
    if options.bed is not None:
        intervals = read_bed(options.bed, lengths, options.fasta)
    else:
        intervals = [parse_region(t, lengths, options.fasta) for t in options.regions]
    indexed.select([interval.name for interval in intervals], warn=warn)
    named = options.bed is not None and any(i.label for i in intervals)
    rows = plan_intervals(indexed.records, intervals, options.row_bases, named=named)
    return indexed, rows
