"""Checkpoints as they are published, made of a random reference model."""

from __future__ import annotations

import collections
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from genomeconv.config import ImplicitFilter, ModelConfig
from genomeconv.model import build_model
from genomeconv.reference import HyenaDNAReference
from genomeconv.weights import save_model

State = dict[str, Tensor]


@pytest.fixture(scope="session")
def reference() -> HyenaDNAReference:
    """Width 16, 2 blocks, filters of 66 positions, head of its own."""
    return make_reference(tied=False)


def make_reference(
    *, width: int = 16, l_max: int = 66, shift: float = 0.0, tied: bool = True
) -> HyenaDNAReference:
    torch.manual_seed(1)
    model = HyenaDNAReference(width, 2, l_max, shift=shift, tied=tied)
    for name, value in model.named_parameters():
        if "norm" in name or "ln_f" in name:
            torch.nn.init.normal_(value, mean=1.0, std=0.3)
        if "freq" in name:
            torch.nn.init.normal_(value, mean=10.0, std=1.0)
    return model.eval()


@pytest.fixture(name="make_reference")
def _make_reference() -> Callable[..., HyenaDNAReference]:
    return make_reference


class FakeConfig:
    """Stands for configuration objects; its module is gone when the file is read."""

    def __init__(self) -> None:
        self.content = {"d_model": 16}


@pytest.fixture
def lightning(tmp_path: Path) -> Callable[..., Path]:
    """Write a state dict as Lightning does."""

    def write(state: State, *, wrapped: bool = False, legacy: bool = False) -> Path:
        named = collections.OrderedDict()
        for name, value in state.items():
            for part in ("mixer", "mlp") if wrapped else ():
                name = name.replace(f".{part}.", f".{part}.layer.")
            named[f"model.{name}"] = value
        named["val_torchmetrics.num-tokens.count"] = torch.tensor(7)
        path = tmp_path / "weights.ckpt"
        module = types.ModuleType("gone_omegaconf")
        FakeConfig.__module__, FakeConfig.__qualname__ = "gone_omegaconf", "FakeConfig"
        module.FakeConfig = FakeConfig  # type: ignore[attr-defined]
        sys.modules["gone_omegaconf"] = module
        content = {
            "epoch": 3,
            "pytorch-lightning_version": "1.8.6",
            "state_dict": named,
            "optimizer_states": [{"exp_avg": torch.ones(3, dtype=torch.float64)}],
            "hyper_parameters": {"config": FakeConfig(), "set": {1, 2}},
        }
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        del sys.modules["gone_omegaconf"]
        return path

    return write


@pytest.fixture
def hub(tmp_path: Path) -> Callable[..., Path]:
    """Write a state dict as the hub's safetensors, the head beside the trunk."""

    def write(state: State) -> Path:
        path = tmp_path / "model.safetensors"
        named = {
            name if name == "lm_head.weight" else f"hyena.{name}": value.clone()
            for name, value in state.items()
        }
        save_file(named, path)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model's folder."""
    config = ModelConfig(width=8, layers=2, filters=(ImplicitFilter(taps=16),))
    path = tmp_path / "small"
    card = {"description": "a small one"}
    save_model(build_model(config, 0), path, name="small", card=card)
    return path
