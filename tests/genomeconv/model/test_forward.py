"""Mixer, block and trunk against loops over positions in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from genomeconv.config import (
    ExplicitFilter,
    FilterConfig,
    ImplicitFilter,
    ModalFilter,
    ModelConfig,
    SGConvFilter,
    SquashFilter,
)
from genomeconv.model import Model, build_model
from genomeconv.model.block import Block

Array = npt.NDArray[np.float64]
WIDTH, TOLERANCE = 6, 1e-5

FILTERS: list[FilterConfig] = [
    ImplicitFilter(taps=9),
    ImplicitFilter(taps=9, right=4),
    SGConvFilter(taps=12, scale_taps=4),
    SGConvFilter(taps=12, right=5, scale_taps=4),
    SquashFilter(taps=40),
    ModalFilter(taps=5, right=2),
    ExplicitFilter(taps=1),
    ExplicitFilter(taps=8, right=7),
]


def case_id(config: FilterConfig) -> str:
    return f"{config.family}-{config.taps}-{config.right}"


def made(*filters: FilterConfig, **others: Any) -> Model:
    """Return a model with every number random, so that none can be forgotten."""
    config = ModelConfig(width=WIDTH, layers=len(filters), filters=filters, **others)
    model = build_model(config, 0).eval()
    generator = torch.Generator().manual_seed(1)
    for name, value in model.named_parameters():
        if "filter" not in name:
            noise = torch.randn(value.shape, generator=generator)
            value.data = noise / math.sqrt(value.shape[-1]) + ("norm" in name)
    return model


def numbers(module: torch.nn.Module) -> dict[str, Array]:
    return {k: v.detach().double().numpy() for k, v in module.state_dict().items()}


def norm(x: Array, p: dict[str, Array], name: str) -> Array:
    out = np.zeros_like(x)
    for t, row in enumerate(x):
        scale = math.sqrt(((row - row.mean()) ** 2).mean() + 1e-5)
        out[t] = (row - row.mean()) / scale * p[f"{name}.weight"] + p[f"{name}.bias"]
    return out


def mix(x: Array, p: dict[str, Array], taps: Array, right: int, mutant: str) -> Array:
    """Run the gated convolution position by position, (L, D) -> (L, D)."""
    length = len(x)
    z = x @ p["mixer.in_proj.weight"].T + p["mixer.in_proj.bias"]
    short = np.tile(p["mixer.short_bias"], (length, 1))
    width = p["mixer.short_weight"].shape[1]
    for t in range(length):
        for back in range(min(t + 1, width)):
            short[t] += p["mixer.short_weight"][:, width - 1 - back] * z[t - back]
    x0, x1, v = np.split(short, 3, axis=1)
    if mutant == "gates swapped":
        x0, x1 = x1, x0
    gated = v * x1
    y = np.zeros_like(gated)
    for t in range(length):
        for j in range(taps.shape[1]):
            source = t + right - j
            if mutant == "strand swapped":
                source = t - right + j
            if 0 <= source < length:
                y[t] += taps[:, j] * gated[source]
        if mutant != "no skip":
            y[t] += p["mixer.skip"] * gated[t]
    if mutant == "shifted":
        y = np.roll(y, 1, axis=0)
    return (y * x0) @ p["mixer.out_proj.weight"].T + p["mixer.out_proj.bias"]


def mlp(x: Array, p: dict[str, Array]) -> Array:
    h = x @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"]
    h = h / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return h @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"]


def run_block(block: Block, r: Array, mutant: str = "") -> Array:
    p = numbers(block)
    taps = block.mixer.filter.taps().detach().double().numpy()
    if mutant == "last tap dropped":
        taps = taps[:, :-1]
    r = r + mix(norm(r, p, "norm1"), p, taps, block.mixer.right, mutant)
    return r + mlp(norm(r, p, "norm2"), p)


def error(found: torch.Tensor, expected: Array) -> float:
    off = np.linalg.norm(found.detach().double().numpy() - expected)
    return float(off / np.linalg.norm(expected))


def some_input(length: int) -> torch.Tensor:
    return torch.randn(
        2, length, WIDTH, generator=torch.Generator().manual_seed(length)
    )


@pytest.mark.parametrize("length", [1, 2, 3, 20])
@pytest.mark.parametrize("config", FILTERS, ids=case_id)
def test_mixer(config: FilterConfig, length: int) -> None:
    block = made(config).trunk.blocks[0]
    assert isinstance(block, Block)
    taps, p = block.mixer.filter.taps().detach().double().numpy(), numbers(block)
    x = some_input(length)
    mixer = block.mixer
    found = mixer.out_proj(mixer.mix(mixer.in_proj(x).mT).mT)
    for b in range(2):
        expected = mix(x[b].double().numpy(), p, taps, config.right, "")
        assert error(found[b], expected) < TOLERANCE


@pytest.mark.parametrize("config", FILTERS, ids=case_id)
def test_block(config: FilterConfig) -> None:
    block = made(config).trunk.blocks[0]
    assert isinstance(block, Block)
    r = some_input(17)
    before = r.clone()
    found = block(r)
    assert torch.equal(r, before)
    for b in range(2):
        assert error(found[b], run_block(block, r[b].double().numpy())) < TOLERANCE


MUTANTS = ["last tap dropped", "shifted", "no skip", "gates swapped", "strand swapped"]


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize(
    "config", [FILTERS[3], FILTERS[4], FILTERS[7]], ids=case_id
)  # fmt: skip
def test_wrong_blocks_would_be_seen(config: FilterConfig, mutant: str) -> None:
    block = made(config).trunk.blocks[0]
    assert isinstance(block, Block)
    r = some_input(60)
    wrong = run_block(block, r[0].double().numpy(), mutant)
    assert error(block(r)[0], wrong) > 20 * TOLERANCE


def test_trunk_and_every_layer() -> None:
    model = made(*FILTERS[:4])
    tokens = torch.randint(0, 5, (1, 25), generator=torch.Generator().manual_seed(0))
    p = numbers(model)
    r = p["trunk.embedding.weight"][tokens[0].numpy()]
    assert error(model.trunk(tokens, layer=0)[0], r) == 0
    for i, block in enumerate(model.trunk.blocks):
        assert isinstance(block, Block)
        r = run_block(block, r)
        assert error(model.trunk(tokens, layer=i + 1)[0], r) < TOLERANCE
    out = norm(r, p, "trunk.norm")
    assert error(model.trunk(tokens)[0], out) < TOLERANCE
    assert error(model(tokens)[0], out @ p["trunk.embedding.weight"].T) < TOLERANCE


def test_free_head() -> None:
    model = made(FILTERS[0], head="free")
    tokens = torch.randint(0, 5, (1, 9))
    expected = model.trunk(tokens) @ model.state_dict()["head.weight"].T
    assert torch.allclose(model(tokens), expected, atol=1e-6)


def test_filters_repeat_over_the_blocks() -> None:
    config = ModelConfig(
        width=4,
        layers=5,
        filters=(ExplicitFilter(taps=3), ModalFilter(taps=7, right=2)),
    )
    model = build_model(config, 0)
    taps = [block.mixer.filter.n_taps for block in model.trunk.blocks]  # type: ignore[union-attr]
    assert taps == [3, 7, 3, 7, 3]
    assert config.left_context() == 3 * (2 + 2) + 2 * (4 + 2)
    assert config.right_context() == 4


@pytest.mark.parametrize("config", FILTERS, ids=case_id)
def test_context_is_what_the_configuration_says(config: FilterConfig) -> None:
    """A base changes what lies within its context, and nothing else."""
    model = made(config, config)
    left, right = model.config.left_context(), model.config.right_context()
    at, length = right + 5, left + right + 12
    tokens = torch.zeros(1, length, dtype=torch.int64)
    changed = tokens.clone()
    changed[0, at] = 2
    with torch.no_grad():
        off = (model.trunk(changed) - model.trunk(tokens)).abs().amax(dim=(0, 2))
    seen = off > 2e-5  # a transform spreads rounding over its whole block
    assert not seen[: at - right].any()
    assert not seen[at + left + 1 :].any()
    assert seen[at]
    if config.family == "explicit":
        assert seen[at - right]
        assert seen[at + left]


@pytest.mark.parametrize("head", ["tied", "free"])
@pytest.mark.parametrize("config", FILTERS, ids=case_id)
def test_gradients_reach_every_parameter(config: FilterConfig, head: str) -> None:
    model = made(config, config, head=head)
    tokens = torch.arange(40)[None] * 7 % 5
    logits = model(tokens)
    torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:]).backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.any(), name


def test_same_seed_same_weights() -> None:
    config = ModelConfig(width=4, layers=2, filters=(ModalFilter(taps=7),))
    state = torch.get_rng_state()
    first, second = build_model(config, 3), build_model(config, 3)
    assert torch.equal(torch.get_rng_state(), state)
    other = build_model(config, 4)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.trunk.embedding.weight, other.trunk.embedding.weight)
