"""The loss on windows spread over the validation text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genomeconv.train.config import TrainConfig
from genomeconv.train.data.windows import Samples
from genomeconv.train.engine.batches import stacked, stretch_of
from genomeconv.train.engine.distributed import World
from genomeconv.train.engine.learner import Learner
from genomeconv.train.objectives import IGNORED, Ints, Targets
from genomeconv.transfer import upload


def loss_of(
    module: Any, inputs: Ints, targets: Targets, device: torch.device
) -> Tensor:
    """Return the summed loss of a part of a batch, (B, L) and (B, ...)."""
    loss: Tensor = module(upload(inputs, device), upload(targets, device))
    return loss


@torch.no_grad()
def validation_loss(
    learner: Learner, sampler: Samples, config: TrainConfig, world: World
) -> float:
    """Return the mean loss of windows that cover the validation text, or a part.

    The processes share the windows; the learner is left in training mode.
    """
    objective, window = learner.objective, config.data.window
    count = min(config.checkpoint.valid_windows, sampler.count(window))
    rows = max(1, config.data.windows // config.optimiser.accumulate)
    total = counted = 0.0
    learner.eval()
    # Every process runs as often as the others, on nothing if need be: gathering
    # weights that are shared out takes all of them.
    for first in range(0, -(-count // world.teams), rows):
        mine = range(first * world.teams + world.team, count, world.teams)[:rows]
        examples = [
            objective.example(*sampler.spread(i, count, window + objective.ahead))
            for i in mine or [0]
        ]
        inputs, targets = stacked([stretch_of(e, world) for e in examples])
        loss = float(loss_of(learner, inputs, targets, world.device))
        if mine:
            total += loss
            counted += float(np.count_nonzero(targets != IGNORED))
    learner.train()
    total, counted = world.sum([total, counted])
    return total / max(counted, 1.0)
