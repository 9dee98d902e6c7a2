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
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.reduced):
            x = self._trunk(inputs, inside_of(targets, self.objective))
        x = x.float() if self.reduced else x
        return self.objective.loss(self.model, x, targets)

    def _trunk(self, inputs: Tensor, inside: Tensor | None) -> Tensor:
        trunk = self.model.trunk
        if self.frozen or not (self.recompute and torch.is_grad_enabled()):
            out: Tensor = trunk(inputs, inside=inside)
            return out
        r = trunk.embedding(inputs)
        for block in trunk.blocks:
            r = block(r, inside, recompute=True)
        normed: Tensor = trunk.norm(r)
        return normed
