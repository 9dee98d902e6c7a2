"""Muon or AdamW for the dense matrices, AdamW for everything else.

AdamW: Loshchilov and Hutter 2019; Muon: Jordan et al. 2024, as torch has them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genomeconv.model.filters import LongFilter
from genomeconv.train.config import OptimiserConfig
from genomeconv.train.engine.sharding import SharedMuon, is_shared, shared_as

_DENSE = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")


class Optimizers:
    """The optimisers of a run, their highest rates, and their state by name.

    Parameters that need no gradient, those of a frozen trunk, are not among them.

    Parameters
    ----------
    model : Module
    config : OptimiserConfig
    """

    def __init__(self, model: nn.Module, config: OptimiserConfig) -> None:
        self._names: dict[Tensor, str] = {
            p: n for n, p in model.named_parameters() if p.requires_grad
        }
        self.parameters = list(self._names)
        self._all = _build(model, config)
        self._peaks = [[g["lr"] for g in o.param_groups] for o in self._all]

    def set_rate(self, factor: float) -> None:
        """Set all rates, in units of their highest."""
        for optimizer, peaks in zip(self._all, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def step(self) -> None:
        """Move the weights along their gradients."""
        for optimizer in self._all:
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the state, ``<parameter>/<quantity>`` -> tensor, shared out or not."""
        return {
            f"{self._names[p]}/{key}": value
            for optimizer in self._all
            for p, values in optimizer.state.items()
            for key, value in values.items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take up a state; the tensors are copied to where the weights are."""
        by_name: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            parameter, _, key = name.rpartition("/")
            by_name.setdefault(parameter, {})[key] = value
        for optimizer in self._all:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if values := by_name.get(self._names[p]):
                        optimizer.state[p] = {
                            key: _beside(p, value) for key, value in values.items()
                        }


def _beside(p: Tensor, value: Tensor) -> Tensor:
    """Return a copy of what belongs to a parameter, shared out as that one is."""
    if value.shape == p.shape:
        return shared_as(value.clone(), p)
    return value.to(p.device, copy=True)


def _build(model: nn.Module, config: OptimiserConfig) -> list[torch.optim.Optimizer]:
    dense, filters, rest = _groups(model)
    groups: list[dict[str, Any]] = [
        {"params": rest, "lr": config.lr, "weight_decay": 0.0},
        {"params": filters, "lr": config.filter_lr, "weight_decay": 0.0},
    ]
    out: list[torch.optim.Optimizer] = []
    if config.kind == "muon" and dense:
        shared = any(map(is_shared, dense))
        muon = SharedMuon if shared else torch.optim.Muon
        out.append(
            muon(
                dense,
                lr=config.matrix_lr,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
            )
        )
    else:
        decay = config.weight_decay
        groups.append({"params": dense, "lr": config.lr, "weight_decay": decay})
    groups = [group for group in groups if group["params"]]
    adamw = torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), fused=True)
    return [*out, adamw]


def _groups(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Return dense matrices of the blocks, parameters of the filters, and the rest."""
    kept = {
        id(p)
        for module in model.modules()
        if isinstance(module, LongFilter)
        for p in module.no_decay()
    }
    dense: list[nn.Parameter] = []
    filters: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in kept:
            filters.append(parameter)
        else:
            (dense if name.endswith(_DENSE) else rest).append(parameter)
    return dense, filters, rest
