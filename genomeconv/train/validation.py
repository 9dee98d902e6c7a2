"""The loss on windows spread over the validation text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genomeconv.train.batches import stacked
from genomeconv.train.config import TrainConfig
from genomeconv.train.distributed import World
from genomeconv.train.learner import Learner
from genomeconv.train.objectives import IGNORED, Ints
from genomeconv.train.windows import Sampler
from genomeconv.transfer import upload


def loss_of(module: Any, inputs: Ints, targets: Ints, device: torch.device) -> Tensor:
    """Return the summed loss of a part of a batch, (B, L) each."""
    loss: Tensor = module(upload(inputs, device), upload(targets, device))
    return loss


@torch.no_grad()
def validation_loss(
    learner: Learner, sampler: Sampler, config: TrainConfig, world: World
) -> float:
    """Return the mean loss of windows that cover the validation text, or a part.

    The processes share the windows; the learner is left in training mode.
    """
    objective, window = learner.objective, config.data.window
    count = min(config.checkpoint.valid_windows, -(-sampler.bases // window))
    mine = range(world.rank, count, world.size)
    rows = max(1, config.data.windows // config.optimiser.accumulate)
    total = counted = 0.0
    learner.eval()
    for i in range(0, len(mine), rows):
        drawn = [
            sampler.spread(index, count, window + objective.ahead)
            for index in mine[i : i + rows]
        ]
        inputs, targets = stacked([objective.example(*d) for d in drawn])
        total += float(loss_of(learner, inputs, targets, world.device))
        counted += float(np.count_nonzero(targets != IGNORED))
    learner.train()
    total, counted = world.sum([total, counted])
    return total / max(counted, 1.0)
