"""A whole run: data, splits, model, steps, and the report at the end.

A run folder holds run.json (config, versions, fingerprints), metrics.jsonl,
checkpoints/, and when the run is over model/ and report/.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from genomeconv.errors import ModelError
from genomeconv.model import Model, build_model
from genomeconv.train.checkpoints import Checkpoint, Checkpoints
from genomeconv.train.claim import check_machine, claimed
from genomeconv.train.config import TrainConfig
from genomeconv.train.corpus import Corpus
from genomeconv.train.distributed import World, joined
from genomeconv.train.labels import gene_labels
from genomeconv.train.learner import Learner
from genomeconv.train.log import MetricsLog
from genomeconv.train.loop import Parts, Trainer
from genomeconv.train.notify import Notify, Progress, Silent
from genomeconv.train.objectives import Objective, build_objective
from genomeconv.train.record import (
    RECORD,
    Change,
    agreed,
    make_record,
    read_record,
    write_record,
)
from genomeconv.train.report import write_report
from genomeconv.train.schedule import automatic_steps
from genomeconv.train.splits import Splits, bases, make_splits
from genomeconv.train.stopping import StopRequest
from genomeconv.train.windows import Sampler

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train and where; fields are the options of ``genomeconv train``."""

    config: TrainConfig
    folder: Path
    resume: bool = False
    """Go on with the run in the folder; where there is none, begin."""
    allow: frozenset[Change] = frozenset()
    """What may have changed since the run began."""
    break_lock: bool = False
    """Take over a lock that cannot be checked from here."""
    command: str = ""
    """Command line, for the record."""


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What a run did."""

    folder: Path
    step: int
    steps: int
    bases: int
    skipped: int
    seconds: float
    best_step: int
    """-1 where nothing was validated."""
    best_loss: float
    """In nats."""
    signal: int
    """What stopped it, 0 for nothing."""
    objective: Literal["lm", "mask", "labels"] = "lm"
    """What was predicted."""
    rank: int
    """Number of this process; the first, 0, speaks for all."""


def run_training(
    options: TrainOptions, progress: Progress, notify: Notify
) -> TrainSummary:
    """Train; see :class:`TrainOptions`.

    Raises
    ------
    GenomeconvError
        With the exit code of the fault; checkpoints that are there stay whole.
    """
    with ExitStack() as stack:
        devices = range(torch.cuda.device_count())
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(_threads(options.config.compute.threads))
        world = stack.enter_context(joined(options.config.compute))
        if not world.first:
            progress, notify = Silent(), _silent
        run = _prepare(options, world, stack, progress, notify)
        return run.go()


def _silent(level: str, text: str) -> None:
    """Say nothing: the first process speaks for all."""


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """A run that can begin."""

    config: TrainConfig
    folder: Path
    trainer: Trainer
    parts: Parts
    splits: Splits
    notify: Notify

    def go(self) -> TrainSummary:
        """Take the steps, then make model and report."""
        trainer, world = self.trainer, self.parts.world
        counters, steps = trainer.counters, self.config.schedule.steps
        with ExitStack() as stack:
            log = None
            if world.first:
                log = MetricsLog(self.folder / METRICS, counters.step)
                stack.callback(log.close)
            stack.enter_context(self.parts.stop)
            self.parts.progress.start(steps, counters.step)
            stack.callback(self.parts.progress.finish)
            stopped = trainer.run(log)
        summary = TrainSummary(
            folder=self.folder,
            step=counters.step,
            steps=steps,
            bases=counters.bases,
            skipped=counters.skipped,
            seconds=trainer.seconds,
            best_step=counters.best_step,
            best_loss=counters.best_loss,
            signal=stopped,
            objective=self.config.objective.kind,
            rank=world.rank,
        )
        if world.first and not stopped:
            self._finish(summary)
        return summary

    def _finish(self, summary: TrainSummary) -> None:
        step = _load_final(self.trainer, self.parts, self.notify)
        write_report(
            folder=self.folder,
            model=self.parts.learner.model,
            objective=self.config.objective,
            corpus=self.parts.corpus,
            splits=self.splits,
            progress={**dataclasses.asdict(summary), "model_step": step},
            notify=self.notify,
        )


def _prepare(
    options: TrainOptions,
    world: World,
    stack: ExitStack,
    progress: Progress,
    notify: Notify,
) -> _Run:
    folder = options.folder
    check_machine(options.config, world)
    if world.first:
        stack.enter_context(claimed(folder, options.resume, options.break_lock))
    corpus = _open_corpus(options.config, world, notify)
    splits = make_splits(options.config, corpus)
    config = _resolved(options.config, splits)
    checkpoints = Checkpoints(folder / CHECKPOINTS, config.checkpoint.keep, notify)
    checkpoint = _agree(options, config, corpus, splits, checkpoints, world, notify)
    model = build_model(config.model, config.schedule.seed).to(world.device)
    seed, flips = config.schedule.seed, config.data.reverse_complement
    parts = Parts(
        config=config,
        folder=folder,
        world=world,
        corpus=corpus,
        learner=Learner(
            model, _objective(config, model, corpus, splits, notify), config.compute
        ),
        train=Sampler(corpus, splits["train"], seed, flips),
        valid=Sampler(corpus, splits["valid"], seed, flips)
        if splits["valid"]
        else None,
        checkpoints=checkpoints,
        progress=progress,
        stop=StopRequest(),
    )
    if not splits["valid"]:
        notify("info", "no validation text: the model will be the last, not the best")
    return _Run(
        config=config,
        folder=folder,
        trainer=Trainer(parts, checkpoint),
        parts=parts,
        splits=splits,
        notify=notify,
    )


def _objective(
    config: TrainConfig, model: Model, corpus: Corpus, splits: Splits, notify: Notify
) -> Objective:
    if config.objective.kind == "labels":
        path = config.objective.annotation
        return gene_labels(model, path, corpus, splits["train"], notify)
    return build_objective(config.objective, config.model)


def _open_corpus(config: TrainConfig, world: World, notify: Notify) -> Corpus:
    """Open the genomes; the first process encodes what is not encoded yet."""
    if world.first:
        corpus = Corpus.open(config.data, notify)
        world.wait()
        return corpus
    world.wait()
    return Corpus.open(config.data, notify)


def _resolved(config: TrainConfig, splits: Splits) -> TrainConfig:
    """Return the config with the number of steps that the data decide."""
    if config.schedule.steps:
        return config
    a_step = config.data.window * config.data.windows
    steps = automatic_steps(bases(splits["train"]), a_step)
    schedule = dataclasses.replace(config.schedule, steps=steps)
    return dataclasses.replace(config, schedule=schedule)


def _agree(
    options: TrainOptions,
    config: TrainConfig,
    corpus: Corpus,
    splits: Splits,
    checkpoints: Checkpoints,
    world: World,
    notify: Notify,
) -> Checkpoint | None:
    """Compare with the run that is there, if any, and return where to go on."""
    step = -1
    if world.first:
        record = make_record(config, corpus, splits, world.size, options.command)
        newest = None
        if (options.folder / RECORD).exists():
            old = read_record(options.folder)
            newest = checkpoints.newest()
            step = newest.step if newest else 0
            record = agreed(old, record, options.allow, step)
            notify("info", f"{options.folder}: going on from step {step:,}")
        elif options.resume:
            notify("info", f"{options.folder}: nothing to resume yet, beginning")
        write_record(options.folder, record)
        step = newest.step if newest else -1
    step = int(world.sum([float(step) if world.first else 0.0])[0])
    return checkpoints.read(step) if step >= 0 else None


def _load_final(trainer: Trainer, parts: Parts, notify: Notify) -> int:
    """Put the weights that become the model in place; return their step."""
    counters, model = trainer.counters, parts.learner.model
    best = counters.best_step
    if parts.config.checkpoint.best and 0 <= best < counters.step:
        try:
            tensors = parts.checkpoints.read(best).tensors
        except ModelError as error:
            notify("warning", f"{error}; the model is the last step instead")
        else:
            model.load_state_dict(dict(tensors.get("ema", tensors["model"])))
            return best
    if trainer.mean is not None:
        model.load_state_dict(trainer.mean.tensors)
    return counters.step
