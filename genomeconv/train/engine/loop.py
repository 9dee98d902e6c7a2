"""The steps of a run: forward, backward, move; log, judge, save; stop when asked.

A step is a function of the state and of the step's number alone: its batch, its rates
and its random numbers come from there. So a run that goes on from a checkpoint does
what it would have done without the stop.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from genomeconv.errors import NonFiniteError
from genomeconv.train.config import TrainConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.windows import Samples, describe_windows
from genomeconv.train.engine.batches import Batch, Batches
from genomeconv.train.engine.distributed import World
from genomeconv.train.engine.ema import Mean
from genomeconv.train.engine.learner import Learner
from genomeconv.train.engine.metrics import Clock, Counters
from genomeconv.train.engine.optimizers import Optimizers
from genomeconv.train.engine.sharding import fill, share_out, whole
from genomeconv.train.engine.stopping import StopRequest
from genomeconv.train.engine.validation import loss_of, validation_loss
from genomeconv.train.folder.checkpoints import Checkpoint, Checkpoints
from genomeconv.train.folder.files import replace_text
from genomeconv.train.folder.log import MetricsLog
from genomeconv.train.notify import Progress
from genomeconv.train.schedule import Schedule

NONFINITE = "nonfinite.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """What a run is made of."""

    config: TrainConfig
    """Its number of steps is known."""
    folder: Path
    world: World
    corpus: Corpus
    learner: Learner
    """On its device."""
    train: Samples
    valid: Samples | None
    checkpoints: Checkpoints
    progress: Progress
    stop: StopRequest


class Trainer:
    """Takes the steps of a run.

    Parameters
    ----------
    parts : Parts
    checkpoint : Checkpoint, optional
        Where to go on; None: from the model as it is.
    """

    def __init__(self, parts: Parts, checkpoint: Checkpoint | None) -> None:
        self.parts = parts
        self.config = parts.config
        self.world = parts.world
        self.model = parts.learner.model
        self.module = _wrapped(parts)
        self.optimizers = Optimizers(self.model, self.config.optimiser)
        self.schedule = Schedule.of(self.config)
        self.counters = Counters()
        ema = self.config.optimiser.ema
        self.mean = Mean(self.model, ema) if ema else None
        if checkpoint is not None:
            self._load(checkpoint)
        self._clock = Clock()
        self._norm = 0.0

    @property
    def seconds(self) -> float:
        """Time spent, that of earlier processes included."""
        return self.counters.seconds + self._clock.total()

    def run(self, log: MetricsLog | None) -> int:
        """Take all steps that are left.

        Parameters
        ----------
        log : MetricsLog or None
            None on all processes but the first.

        Returns
        -------
        int
            0 when the run is over, else the signal that stopped it; the state is
            saved then.

        Raises
        ------
        NonFiniteError
            Too many steps in a row without a finite loss and gradient.
        StorageError
            A checkpoint or the log cannot be written.
        """
        counters, schedule = self.counters, self.schedule
        batches = Batches(
            self.parts.train,
            self.parts.learner.objective,
            schedule,
            self.world,
            self.config.optimiser.accumulate,
        ).run(counters.step, schedule.steps, self.config.data.workers)
        self.parts.learner.train()
        with contextlib.closing(batches):
            while counters.step < schedule.steps:
                asked = self._clock.now()
                batch = next(batches)
                self._clock.waited(asked)
                if not self._step(batch):
                    self.save(log)
                    return self.parts.stop.signal
                self._after(log)
        return 0

    def save(self, log: MetricsLog | None) -> None:
        """Write a checkpoint of the state as it is now; all processes come here."""
        tensors = {
            "model": self._whole(self.model.state_dict()),
            "optimiser": self._whole(self.optimizers.state()),
        }
        if self.mean is not None:
            tensors["ema"] = self._whole(self.mean.tensors)
        if log is None:
            return
        log.sync()
        counters = self.counters
        state = {**counters.state(), "seconds": self.seconds}
        best = counters.best_step if self.config.checkpoint.best else None
        checkpoint = Checkpoint(step=counters.step, state=state, tensors=tensors)
        self.parts.checkpoints.save(checkpoint, best)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the model as they end; all processes come here."""
        mean = self.mean
        return self._whole(self.model.state_dict() if mean is None else mean.tensors)

    def release(self) -> None:
        """Let go of what exchanges gradients; no step can be taken any more."""
        self.module = self.parts.learner

    def _whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors put together, on the first process; the others keep none."""
        out = {}
        for name, tensor in tensors.items():
            value = whole(tensor)
            if self.world.first:
                out[name] = value
        return out

    def _load(self, checkpoint: Checkpoint) -> None:
        self.counters = Counters(**checkpoint.state)
        fill(self.model, checkpoint.tensors["model"])
        self.optimizers.load_state(dict(checkpoint.tensors["optimiser"]))
        if self.mean is not None:
            kept = checkpoint.tensors.get("ema", checkpoint.tensors["model"])
            self.mean.load(kept)

    def _step(self, batch: Batch) -> bool:
        """Take one step; False where a signal came and nothing was changed."""
        counters, stop = self.counters, self.parts.stop
        counted, stops = self.world.sum([batch.counted, float(bool(stop))])
        if stops:
            stop.signal = stop.signal or 15
            return False
        loss = self._gradients(batch, self.world.size / max(counted, 1.0))
        if loss is None:
            self.optimizers.zero_grad()
            return False
        norm = nn.utils.clip_grad_norm_(
            self.optimizers.parameters, self.config.optimiser.clip
        )
        self._norm = float(whole(norm))
        faults = float(not math.isfinite(self._norm))
        total, faults, positions = self.world.sum([float(loss), faults, batch.bases])
        if math.isfinite(total) and not faults:
            self.optimizers.set_rate(self.schedule.rate(counters.step))
            self.optimizers.step()
            if self.mean is not None:
                self.mean.update(self.model)
            counters.loss_sum += total
            counters.counted += counted
            counters.bad = 0
        else:
            counters.skipped += 1
            counters.bad += 1
        self.optimizers.zero_grad()
        counters.step += 1
        counters.bases += int(positions)
        metrics = self.parts.learner.objective.metrics(total / max(counted, 1.0))
        self.parts.progress.advance(counters.step, int(positions), metrics)
        return True

    def _gradients(self, batch: Batch, scale: float) -> Tensor | None:
        """Add up the gradients of a batch and return its summed loss.

        None where this is the only process and it is asked to stop: a step of long
        windows takes longer than a scheduler waits.
        """
        device = self.world.device
        total = torch.zeros((), dtype=torch.float64, device=device)
        seed = _seed(self.config.schedule.seed, self.counters.step)
        for i, (inputs, targets) in enumerate(batch.parts):
            # The same for every part and process: dropped taps are the step's.
            torch.manual_seed(seed)
            with self._synced(last=i == len(batch.parts) - 1):
                loss = loss_of(self.module, inputs, targets, device)
                torch.autograd.backward(loss * scale)
            total += loss.detach().double()
            if self.world.size == 1 and self.parts.stop:
                return None
        return total

    def _synced(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Exchange gradients with the last part only."""
        if last or not isinstance(self.module, DistributedDataParallel):
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[None] = self.module.no_sync()
        return context

    def _after(self, log: MetricsLog | None) -> None:
        """Log, judge and save where it is time."""
        counters, config = self.counters, self.config
        limit = config.optimiser.nonfinite_limit
        if counters.bad >= limit:
            raise self._nonfinite()
        last = counters.step == self.schedule.steps
        if last or counters.step % config.checkpoint.log_every == 0:
            line = self._line()
            if log is not None:
                log.write(line)
        if last or counters.step % config.checkpoint.every == 0:
            self._judge(log)
            self.save(log)

    def _line(self) -> dict[str, Any]:
        counters = self.counters
        step = counters.step
        mean = counters.take_mean()
        metrics: dict[str, Any] = {**self.parts.learner.objective.metrics(mean)}
        if math.isnan(mean):
            metrics = dict.fromkeys(metrics)
        return {
            "kind": "train",
            "step": step,
            "bases": counters.bases,
            **metrics,
            "rate": self.schedule.rate(step - 1),
            "window": self.schedule.batch(step - 1)[1],
            "gradient_norm": self._norm if math.isfinite(self._norm) else None,
            "skipped": counters.skipped,
            "seconds": round(self.seconds, 3),
            **self._clock.lap(counters.bases),
        }

    def _judge(self, log: MetricsLog | None) -> None:
        """Measure the validation loss, and remember whether it is the lowest."""
        sampler = self.parts.valid
        if sampler is None:
            return
        with self._final_weights():
            loss = validation_loss(self.parts.learner, sampler, self.config, self.world)
        counters = self.counters
        if counters.best_step < 0 or loss < counters.best_loss:
            counters.best_step, counters.best_loss = counters.step, loss
        if log is not None:
            metrics = self.parts.learner.objective.metrics(loss)
            log.write({"kind": "valid", "step": counters.step, **metrics})

    @contextlib.contextmanager
    def _final_weights(self) -> Iterator[None]:
        """Put the mean of the weights in their place, where there is one."""
        if self.mean is None:
            yield
            return
        with self.mean.in_place(self.model):
            yield

    def _nonfinite(self) -> NonFiniteError:
        """Write down the batch that could not be learned from, and say so."""
        counters, path = self.counters, self.parts.folder / NONFINITE
        step = counters.step - 1
        if self.world.first:
            windows, length = self.schedule.batch(step)
            size = length + self.parts.learner.objective.ahead
            drawn = [self.parts.train.draw(step, i, size)[0] for i in range(windows)]
            batch = describe_windows(drawn, self.parts.corpus)
            values = {"step": step, "skipped": counters.skipped, "windows": batch}
            replace_text(path, json.dumps(values, indent=1) + "\n")
        saved = self.parts.checkpoints.steps()
        last = f"the last checkpoint is step {saved[0]}" if saved else "none was saved"
        return NonFiniteError(
            f"{self.parts.folder}: no finite loss and gradient in the {counters.bad} "
            f"steps up to {counters.step}; the batch is in {path}, {last}; lower the "
            "rates of [optimiser] or raise schedule.warmup"
        )


def _wrapped(parts: Parts) -> Any:
    """Return the learner as this process runs it: compiled, or among others."""
    world, compute, learner = parts.world, parts.config.compute, parts.learner
    if world.stretches is not None:
        world.stretches.share(learner.model)
    if compute.shard and world.size > 1:
        share_out(learner, world.device, world.size)
        return learner
    module: Any = torch.compile(learner) if compute.compile else learner
    return world.wrap(module)


def _seed(seed: int, step: int) -> int:
    sequence = np.random.SeedSequence((seed, step))
    return int(sequence.generate_state(1, np.uint64)[0])
