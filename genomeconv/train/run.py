"""A whole run: data, splits, model, steps, and the report at the end.

A run folder holds run.json (config, versions, fingerprints), metrics.jsonl,
checkpoints/, and when the run is over model/ and report/.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from genomeconv.errors import ModelError
from genomeconv.model import Model, build_model
from genomeconv.train.config import TrainConfig
from genomeconv.train.config.start import opened_start, start_facts, take_weights
from genomeconv.train.engine.claim import check_machine, claimed
from genomeconv.train.engine.distributed import World, joined
from genomeconv.train.engine.learner import Learner
from genomeconv.train.engine.loop import Parts, Trainer
from genomeconv.train.engine.stopping import StopRequest
from genomeconv.train.folder.checkpoints import Checkpoint, Checkpoints
from genomeconv.train.folder.events import EventLog
from genomeconv.train.folder.log import MetricsLog
from genomeconv.train.folder.record import (
    RECORD,
    Change,
    agreed,
    make_record,
    read_record,
    write_record,
)
from genomeconv.train.notify import Notify, Progress, Silent
from genomeconv.train.open_source import open_source
from genomeconv.train.report.write import write_report
from genomeconv.train.source import Source
from genomeconv.weights.manifest import ModelFolder

METRICS = "metrics.jsonl"
EVENTS = "tensorboard"
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
    objective: Literal["lm", "mask", "labels", "classes", "tracks"] = "lm"
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
        stack.callback(run.trainer.release)
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
    source: Source
    notify: Notify

    def go(self) -> TrainSummary:
        """Take the steps, then make model and report."""
        trainer, world = self.trainer, self.parts.world
        counters, steps = trainer.counters, self.config.schedule.steps
        with ExitStack() as stack:
            log = None
            if world.first:
                log = self._log(counters.step)
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
        weights = {} if stopped else trainer.weights()
        if world.first and not stopped:
            self._finish(summary, weights)
        return summary

    def _log(self, step: int) -> MetricsLog:
        events = None
        if self.config.checkpoint.tensorboard:
            events = EventLog(self.folder / EVENTS, step)
        return MetricsLog(self.folder / METRICS, step, events)

    def _finish(self, summary: TrainSummary, weights: Mapping[str, Tensor]) -> None:
        step, weights = self._final(weights)
        model = build_model(self.config.model, 0).to(self.parts.world.device)
        model.load_state_dict(dict(weights))
        write_report(
            folder=self.folder,
            model=model,
            judge=self.source.judge,
            progress={**dataclasses.asdict(summary), "model_step": step},
            notify=self.notify,
        )

    def _final(self, last: Mapping[str, Tensor]) -> tuple[int, Mapping[str, Tensor]]:
        """Return the weights that become the model, and their step."""
        counters, best = self.trainer.counters, self.trainer.counters.best_step
        if self.config.checkpoint.best and 0 <= best < counters.step:
            try:
                tensors = self.parts.checkpoints.read(best).tensors
            except ModelError as error:
                self.notify("warning", f"{error}; the model is the last step instead")
            else:
                return best, tensors.get("ema", tensors["model"])
        return counters.step, last


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
    start = _start(options)
    source = _opened(options.config, world, notify)
    config = source.config
    checkpoints = Checkpoints(folder / CHECKPOINTS, config.checkpoint.keep, notify)
    checkpoint = _agree(options, source, start, checkpoints, world, notify)
    model = build_model(config.model, config.schedule.seed)
    objective = source.objective(model)
    if start is not None and checkpoint is None:
        take_weights(model, start)
    _hold_still(model, config)
    model.to(world.device)
    train, valid = source.samples("train"), source.samples("valid")
    if train is None:
        raise ModelError("config: split leaves nothing to learn from")
    parts = Parts(
        config=config,
        folder=folder,
        world=world,
        corpus=source.corpus,
        learner=Learner(model, objective, config.compute),
        train=train,
        valid=valid,
        checkpoints=checkpoints,
        progress=progress,
        stop=StopRequest(),
    )
    if valid is None:
        notify("info", "no validation text: the model will be the last, not the best")
    return _Run(
        config=config,
        folder=folder,
        trainer=Trainer(parts, checkpoint),
        parts=parts,
        source=source,
        notify=notify,
    )


def _hold_still(model: Model, config: TrainConfig) -> None:
    """Let nothing ask for a gradient that gets none: processes would wait for it."""
    model.trunk.requires_grad_(not config.start.freeze)
    by_head = config.objective.kind in ("lm", "mask")
    unread = model.outputs if by_head else model.head
    if unread is not None:
        unread.requires_grad_(False)


def _start(options: TrainOptions) -> ModelFolder | None:
    """Return the model to begin from; a run that has begun can do without it."""
    try:
        return opened_start(options.config)
    except ModelError:
        if options.resume and any((options.folder / CHECKPOINTS).glob("step-*")):
            return None
        raise


def _opened(config: TrainConfig, world: World, notify: Notify) -> Source:
    """Open the data; the first process encodes what is not encoded yet."""
    if not world.first:
        world.wait()
    source = open_source(config, notify)
    if world.first:
        world.wait()
    return source


def _agree(
    options: TrainOptions,
    source: Source,
    start: ModelFolder | None,
    checkpoints: Checkpoints,
    world: World,
    notify: Notify,
) -> Checkpoint | None:
    """Compare with the run that is there, if any, and return where to go on."""
    step = -1
    if world.first:
        facts = start_facts(start)
        record = make_record(source, facts, world.size, options.command)
        newest = None
        if (options.folder / RECORD).exists():
            old = read_record(options.folder)
            record["start"] = facts or old.get("start")
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
