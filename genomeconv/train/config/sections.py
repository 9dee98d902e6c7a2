"""The sections of a training config: what each value means, and what it may be.

Nothing is allocated and no sequence is read here; what depends on the data (names of
sequences, lengths of windows) is checked where the data are opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from genomeconv.fields import require

WINDOW_CAP = 1 << 24
"""Longest window, in bases."""
STEP_CAP = 1 << 30
"""Most bases of one step."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which sequences are learned from, and in which pieces."""

    fasta: tuple[str, ...]
    """FASTA files; plain, gzip or bgzip. None for classes from a CSV file."""
    window: int = 2048
    """Bases of a window; for classes: of the longest sequence that is taken."""
    windows: int = 8
    """Windows, or sequences, of a step, all processes together."""
    reverse_complement: bool = True
    """Read every second window, by chance, from the other strand."""
    focus: float = 0.0
    """Share of the windows drawn around splice sites and starts of CDS (labels)."""
    soft_mask: Literal["keep", "n"] = "keep"
    """How lower-case letters are read: as the bases they are, or as N."""
    gaps: Literal["error", "n"] = "error"
    """How '-' and '.' are read: refused, or as N."""
    cache: str = ""
    """Folder for encoded genomes; "": $GENOMECONV_CACHE, or ~/.cache/genomeconv."""
    workers: int = 1
    """Threads that prepare batches ahead; 0 prepares each when it is needed."""

    def __post_init__(self) -> None:
        _between("data.window", self.window, 16, WINDOW_CAP)
        _between("data.windows", self.windows, 1, 1 << 16)
        _between("data.workers", self.workers, 0, 64)
        require(0 <= self.focus <= 1, "data.focus", "in [0, 1]", self.focus)
        bases = self.window * self.windows
        require(
            bases <= STEP_CAP,
            "data.window x data.windows",
            f"at most {STEP_CAP:,} bases a step",
            bases,
        )


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which bases are learned from, which are watched, which are only reported on."""

    by: Literal["fractions", "regions", "bed", "files"] = "fractions"
    """Blocks by chance; names or regions; BED files; files of their own (classes)."""
    train: tuple[str, ...] = ()
    """Regions (1-based inclusive) or BED files; empty: all that is left."""
    valid: tuple[str, ...] = ()
    """The same for validation."""
    test: tuple[str, ...] = ()
    """The same for the test."""
    valid_fraction: float = 0.05
    """Share of the blocks for validation, by fractions."""
    test_fraction: float = 0.05
    """Share of the blocks for the test, by fractions."""
    block: int = 0
    """Bases of a block; 0: a fiftieth of the genome, 4 windows to 1,000,000."""
    gap: int = 1024
    """Bases left out between two splits."""
    seed: int = 0
    """Decides which block goes where."""

    def __post_init__(self) -> None:
        for name in ("valid_fraction", "test_fraction"):
            value = getattr(self, name)
            require(0 <= value < 1, f"split.{name}", "in [0, 1)", value)
        total = self.valid_fraction + self.test_fraction
        require(total < 1, "split: the two fractions together", "below 1", total)
        _between("split.block", self.block, 0, 1 << 40)
        _between("split.gap", self.gap, 0, 1 << 30)
        _between("split.seed", self.seed, 0, 2**63 - 1)
        given = [n for n in ("train", "valid", "test") if getattr(self, n)]
        require(
            self.by != "fractions" or not given,
            "split.by with split.train, valid or test",
            '"regions" or "bed"',
            self.by,
        )
        require(
            self.by != "files" or not self.train,
            "split.train",
            'absent with split.by = "files": objective.annotation is learned from',
            self.train,
        )
        require(
            self.by == "fractions" or bool(self.train or self.valid or self.test),
            "split.train, split.valid or split.test",
            f'given with split.by = "{self.by}"',
            (),
        )


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is predicted."""

    kind: Literal["lm", "mask", "labels", "classes", "tracks"] = "lm"
    """The next base (lm, causal models), bases that were hidden (mask), what an
    annotation says of each base (labels), the class of a sequence or region
    (classes), or tracks along the genome (tracks)."""
    annotation: str = ""
    """Labels: GTF, GFF3 or BED file of the genes. Classes: BED file of regions of
    data.fasta, or without data.fasta a CSV file with the columns sequence and label."""
    emphasis: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    """Factors of the losses of donor, acceptor, CDS, UTR, intron and intergenic
    (labels only)."""
    average: bool = False
    """Judge the mean of the readings of both strands (labels only)."""
    column: Literal["name", "score"] = "name"
    """Column of a BED file that is the class: 4 or 5 (classes only)."""
    pooling: Literal["mean", "last"] = "mean"
    """A sequence's vector: the mean over its bases, or the last one (classes only)."""
    balance: bool = True
    """Let rare classes weigh more (classes only)."""
    tracks: tuple[str, ...] = ()
    """BigWig files (tracks only)."""
    bin: int = 128
    """Bases of a bin, counted from the start of the sequence (tracks only)."""
    loss: Literal["poisson", "multinomial"] = "poisson"
    """Poisson in every bin; or shape and sum of a window apart (tracks only)."""
    missing: Literal["skip", "zero"] = "skip"
    """Bases without a value: not learned from, or zeros (tracks only)."""
    share: float = 0.15
    """Share of the bases that are to be predicted (mask only)."""
    mask_id: int = 5
    """Row of the embedding table that stands for a hidden base (mask only)."""

    def __post_init__(self) -> None:
        require(0 < self.share < 1, "objective.share", "in (0, 1)", self.share)
        ok = len(self.emphasis) == 6 and all(0 < x < math.inf for x in self.emphasis)
        wanted = "six positive factors"
        require(ok, "objective.emphasis", wanted, self.emphasis)
        _between("objective.bin", self.bin, 1, WINDOW_CAP)
        _between("objective.mask_id", self.mask_id, 0, 1 << 16)


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Which weights a run begins from; written in the section of the model."""

    start: str = ""
    """A model's name, its folder, or a run; "": none, weights by chance."""
    freeze: bool = False
    """Only the head and the outputs learn, the trunk stays as it is (probe)."""

    def __post_init__(self) -> None:
        ok = bool(self.start) or not self.freeze
        require(ok, "model.freeze", "false without model.start", self.freeze)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """How weights move."""

    kind: Literal["muon", "adamw"] = "muon"
    """What moves the dense matrices of the blocks; the rest is AdamW's in any case."""
    lr: float = 3e-3
    """Highest rate of AdamW."""
    filter_lr: float = 6e-3
    """Highest rate of AdamW for the long filters."""
    matrix_lr: float = 0.02
    """Highest rate of Muon."""
    momentum: float = 0.95
    """Momentum of Muon."""
    beta1: float = 0.9
    """Decay of AdamW's mean of gradients."""
    beta2: float = 0.98
    """Decay of AdamW's mean of squared gradients."""
    weight_decay: float = 0.1
    """For the dense matrices; filters, biases, norms and the table have none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    accumulate: int = 1
    """Parts a process takes its windows of a step in: less memory, same result."""
    ema: float = 0.0
    """Decay of the running mean of the weights, which becomes the model; 0: none."""
    nonfinite_limit: int = 5
    """Stop after so many steps in a row without a finite loss and gradient."""

    def __post_init__(self) -> None:
        for name in ("lr", "filter_lr", "matrix_lr", "clip"):
            value = getattr(self, name)
            ok = math.isfinite(value) and value > 0
            require(ok, f"optimiser.{name}", "positive", value)
        for name in ("momentum", "beta1", "beta2", "ema"):
            value = getattr(self, name)
            require(0 <= value < 1, f"optimiser.{name}", "in [0, 1)", value)
        require(
            0 <= self.weight_decay < math.inf,
            "optimiser.weight_decay",
            "not negative",
            self.weight_decay,
        )
        _between("optimiser.accumulate", self.accumulate, 1, 1 << 16)
        _between("optimiser.nonfinite_limit", self.nonfinite_limit, 1, 1 << 16)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How long, and how the rates and the windows change on the way."""

    steps: int = 0
    """Steps to take; 0: two passes over the training text, 200 to 5,000 steps."""
    warmup: float = 0.01
    """Share of the steps in which the rates rise."""
    final_lr: float = 0.05
    """Last rates as a share of the highest; a cosine leads there."""
    first_window: int = 0
    """Bases of the first windows, doubled up to data.window; 0: no such warm-up."""
    growth: float = 0.3
    """Share of the steps in which windows grow."""
    seed: int = 0
    """Decides first weights, windows and what is hidden."""

    def __post_init__(self) -> None:
        _between("schedule.steps", self.steps, 0, 1 << 40)
        _between("schedule.seed", self.seed, 0, 2**63 - 1)
        for name in ("warmup", "growth"):
            value = getattr(self, name)
            require(0 <= value < 1, f"schedule.{name}", "in [0, 1)", value)
        final = self.final_lr
        require(0 <= final <= 1, "schedule.final_lr", "in [0, 1]", final)
        _between("schedule.first_window", self.first_window, 0, WINDOW_CAP)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When the run is judged and saved."""

    every: int = 200
    """Steps from one checkpoint to the next; each is validated first."""
    keep: int = 2
    """Newest checkpoints kept; the best one is kept as well."""
    best: bool = True
    """Make the model of the best checkpoint instead of the last."""
    valid_windows: int = 64
    """Windows of the validation text that are looked at."""
    log_every: int = 10
    """Steps from one line of metrics.jsonl to the next."""
    tensorboard: bool = False
    """Write the same numbers as events of TensorBoard, into tensorboard/."""

    def __post_init__(self) -> None:
        for name in ("every", "keep", "valid_windows", "log_every"):
            _between(f"checkpoint.{name}", getattr(self, name), 1, 1 << 40)


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where and in which precision; device, threads and timeout change no meaning."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:I; under torchrun each process takes its own."""
    threads: int = 0
    """Threads of the CPU; 0: as torch chooses."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the operands of matrix products (autocast)."""
    recompute: bool = False
    """Keep a vector or two a base and block, compute the rest again for gradients."""
    compile: bool = False
    """Let torch.compile fuse the blocks; on a CPU that needs a C++ compiler."""
    shard: bool = False
    """Let each process keep its share of weights and optimiser only (FSDP2)."""
    context: int = 1
    """Processes that share a sequence, each a stretch of it."""
    timeout: float = 300.0
    """Seconds after which a process that does not answer ends the run."""

    def __post_init__(self) -> None:
        kind, _, index = self.device.partition(":")
        ok = kind in ("auto", "cpu", "cuda") and (
            not index or (kind == "cuda" and index.isdecimal())
        )
        require(ok, "compute.device", "auto, cpu, cuda or cuda:I", self.device)
        _between("compute.threads", self.threads, 0, 1024)
        ok = 1 <= self.timeout <= 86_400
        require(ok, "compute.timeout", "1 to 86,400 seconds", self.timeout)
        _between("compute.context", self.context, 1, 1 << 16)
        alone = not self.shard and self.context == 1
        wanted = "false with compute.shard or compute.context"
        require(alone or not self.compile, "compute.compile", wanted, self.compile)


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """What the model card says beside the numbers."""

    name: str = ""
    """What the model is called: letters, digits, '.', '_', '-'; "": as the run."""
    description: str = ""
    """One sentence."""
    licence: str = ""
    """Licence of the weights and origin of the data."""


SECTIONS: Mapping[str, type] = {
    "data": DataConfig,
    "split": SplitConfig,
    "objective": ObjectiveConfig,
    "optimiser": OptimiserConfig,
    "schedule": ScheduleConfig,
    "checkpoint": CheckpointConfig,
    "compute": ComputeConfig,
    "card": CardConfig,
}


def _between(name: str, value: int, low: int, high: int) -> None:
    require(low <= value <= high, name, f"{low:,} to {high:,}", value)
