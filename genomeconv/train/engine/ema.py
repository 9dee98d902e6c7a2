"""A running mean of the weights, m <- decay m + (1 - decay) w (Polyak averaging)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from genomeconv.train.engine.sharding import shared_as


class Mean:
    """The mean of a model's parameters over the steps.

    Attributes
    ----------
    tensors : dict
        By the names of the parameters and buffers; buffers are those of the model.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.tensors = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        for name, parameter in model.named_parameters():
            self.tensors[name].lerp_(parameter, 1 - self._decay)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a mean that was saved."""
        for name, kept in self.tensors.items():
            kept.copy_(shared_as(tensors[name], kept))

    @contextlib.contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Let the model have the mean as its weights within the block."""
        weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            model.load_state_dict(weights)
