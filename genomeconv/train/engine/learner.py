"""The module that is trained: trunk and objective in one forward pass.

Axes: B windows, L positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genomeconv.model import Model
from genomeconv.train.config import ComputeConfig
from genomeconv.train.objectives import Objective, inside_of


class Learner(nn.Module):
    """Inputs and targets (B, L) -> summed loss in nats, a scalar.

    Parameters
    ----------
    model : Model
    objective : Objective
    config : ComputeConfig
        Precision of the products; whether blocks keep only what enters them or their
        halves, and are run again for the gradient (Chen et al. 2016, "sublinear memory
        cost").
    """

    def __init__(
        self, model: Model, objective: Objective, config: ComputeConfig
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.reduced = config.precision == "bfloat16"
        self.recompute = config.recompute
        self.frozen = not any(p.requires_grad for p in model.trunk.parameters())

    def train(self, mode: bool = True) -> Learner:
        """Switch to training or back; a frozen trunk stays as it is when used."""
        super().train(mode)
        if self.frozen:
            self.model.trunk.eval()
        return self

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, summed over the positions that count."""
        inside = inside_of(targets, self.objective)
        again = self.recompute and not self.frozen and torch.is_grad_enabled()
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.reduced):
            x = self.model.trunk(inputs, inside=inside, recompute=again)
        x = x.float() if self.reduced else x
        return self.objective.loss(self.model, x, targets)
