"""Weights shared out over the processes, and put together for a checkpoint.

FSDP2 (Zhao et al. 2023, as ``torch.distributed.fsdp.fully_shard``): every process keeps
some rows of each weight, of its gradient and of the optimiser's state. A block's
weights are whole only while it runs. Checkpoints hold whole tensors, the same as those
of a run that shares nothing out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

from genomeconv.train.engine.learner import Learner

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def share_out(learner: Learner, device: torch.device, size: int) -> None:
    """Leave each process its rows of the weights; a block is gathered when it runs.

    Parameters
    ----------
    learner : Learner
        Its parameters become DTensors; gradients will be means over the processes.
    device : device
    size : int
        Processes.
    """
    # Imported where it is used: it takes a second, and few runs share weights out.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (size,))
    for block in learner.model.trunk.blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(learner, mesh=mesh, reshard_after_forward=True)


def is_shared(tensor: Tensor) -> TypeGuard[DTensor]:
    """Return whether this process has some rows of a tensor only."""
    # By what a DTensor has: to ask for its class would be to import it.
    return hasattr(tensor, "placements")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor put together; all processes must call it in the same order."""
    tensor = tensor.detach()
    return tensor.full_tensor() if is_shared(tensor) else tensor


def shared_as(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a whole tensor where ``other`` is, shared out as that one is."""
    tensor = tensor.detach().to(other.device)
    if not is_shared(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(
        tensor, other.device_mesh, other.placements, src_data_rank=None
    )


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put whole tensors into the weights and buffers of their names."""
    own = module.state_dict()
    module.load_state_dict(
        {k: shared_as(v, own[k]) if k in own else v for k, v in tensors.items()}
    )


class SharedMuon(torch.optim.Muon):
    """Muon for matrices of which this process has some rows.

    A matrix is made orthogonal as a whole, so it is put together, one at a time, moved,
    and shared out again.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the weights along their gradients."""
        for group in self.param_groups:
            options = {name: group[name] for name in group if name != "params"}
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, options)

    def _move(self, p: Tensor, options: dict[str, Any]) -> None:
        matrix = nn.Parameter(whole(p))
        matrix.grad = whole(p.grad) if p.grad is not None else None
        muon = torch.optim.Muon([matrix], **options)
        for name, value in self.state[p].items():
            muon.state[matrix][name] = whole(value)
        muon.step()  # type: ignore[no-untyped-call]
        p.copy_(shared_as(matrix, p))
        for name, value in muon.state[matrix].items():
            self.state[p][name] = shared_as(value, p)
