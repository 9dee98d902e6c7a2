"""Each family of filters against its formula, written again in float64 loops."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    SGConvFilter,
    SquashFilter,
)
from genomeconv.model.filters import LongFilter, TwoSided, build_filter
from genomeconv_kernels.implicit import op

Taps = npt.NDArray[np.float64]
CHANNELS = 3
TOLERANCE = 1e-5


def numbers(filter_: LongFilter) -> dict[str, Taps]:
    """Return the learned numbers in float64."""
    return {k: v.detach().double().numpy() for k, v in filter_.state_dict().items()}


def implicit(config: ImplicitFilter, p: dict[str, Taps], taps: int) -> Taps:
    l_max = config.l_max or taps
    bands = (config.emb_dim - 1) // 2
    out = np.zeros((CHANNELS, taps))
    for j in range(taps):
        t = j / (l_max - 1)
        angles = [
            (1e-4 + b * (bands - 1 - 1e-4) / max(bands - 1, 1))
            * 2
            * math.pi
            * j
            / l_max
            for b in range(bands)
        ]
        x = np.array([t, *map(math.cos, angles), *(-math.sin(a) for a in angles)])
        for n in range(3):
            x = p[f"inner.{n}.weight"] @ x + p[f"inner.{n}.bias"]
            x = np.sin(p["freq"][0] * x)
        for c in range(CHANNELS):
            slow = math.log(100) / config.slow_decay
            fast = math.log(100) / config.fast_decay
            delta = slow + (fast - slow) * c / (CHANNELS - 1)
            window = math.exp(-t * delta) + config.shift
            out[c, j] = p["last.weight"][c] @ x * window
    return out


def sgconv(config: SGConvFilter, p: dict[str, Taps], taps: int) -> Taps:
    out = np.zeros((CHANNELS, taps))
    octaves, _, size = p["weight"].shape
    for c in range(CHANNELS):
        row: list[float] = []
        for s in range(octaves):
            for i in range(size * 2**s):
                # The centre of tap i, in taps of the sub-kernel before stretching.
                place = min(max((i + 0.5) / 2**s - 0.5, 0.0), size - 1.0)
                low = int(place)
                high = min(low + 1, size - 1)
                w = p["weight"][s, c]
                value = w[low] + (place - low) * (w[high] - w[low])
                row.append(value * config.decay**s)
        out[c] = np.array(row[:taps]) / p["norm"][c]
    return out


def squash(config: SquashFilter, p: dict[str, Taps], taps: int) -> Taps:
    out = np.zeros((CHANNELS, taps))
    for c, j in np.ndindex(CHANNELS, taps):
        w = p["weight"][c, j]
        if abs(w) > config.squash:
            out[c, j] = w - math.copysign(config.squash, w)
    return out


def modal(config: ModalFilter, p: dict[str, Taps], taps: int) -> Taps:
    out = np.zeros((CHANNELS, taps))
    for c, j, n in np.ndindex(CHANNELS, taps, config.modes):
        rate = math.exp(p["log_rate"][c, n])
        out[c, j] += p["residue"][c, n] * math.exp(-rate * j)
    return out


def explicit(config: ExplicitFilter, p: dict[str, Taps], taps: int) -> Taps:
    out = np.zeros((CHANNELS, taps))
    for c, j in np.ndindex(CHANNELS, taps):
        nepers = config.decay * c / (CHANNELS - 1) * j / max(taps - 1, 1)
        out[c, j] = p["weight"][c, j] * math.exp(-nepers)
    return out


CASES: list[tuple[FilterConfig, Callable[..., Taps]]] = [
    (ImplicitFilter(taps=23), implicit),
    (ImplicitFilter(taps=12, l_max=50, shift=0.05, emb_dim=7, width=9), implicit),
    (ImplicitFilter(taps=9, emb_dim=3, fast_decay=0.1, slow_decay=2.0), implicit),
    (SGConvFilter(taps=70, scale_taps=8), sgconv),
    (SGConvFilter(taps=5, scale_taps=8, decay=0.9), sgconv),
    (SGConvFilter(taps=1, scale_taps=1), sgconv),
    (SquashFilter(taps=31, squash=0.05), squash),
    (SquashFilter(taps=31, squash=0.05, dropout=0.5), squash),
    (ModalFilter(taps=19, modes=4), modal),
    (ModalFilter(taps=1, modes=1), modal),
    (ExplicitFilter(), explicit),
    (ExplicitFilter(taps=11, decay=3.0), explicit),
    (ExplicitFilter(taps=1, decay=3.0), explicit),
]


def case_id(value: Any) -> str | None:
    return f"{value.family}-{value.taps}" if hasattr(value, "family") else ""


def made(config: FilterConfig) -> LongFilter:
    torch.manual_seed(5)
    filter_ = build_filter(CHANNELS, config).eval()
    for name, value in filter_.named_parameters():
        if "freq" in name:
            torch.nn.init.normal_(value, 5.0, 2.0)
        if config.family == "squash":
            torch.nn.init.normal_(value, std=0.3)  # nothing decays to zero
    return filter_


def error(found: torch.Tensor, expected: Taps) -> float:
    norm = np.linalg.norm
    return float(norm(found.detach().double().numpy() - expected) / norm(expected))


@pytest.mark.parametrize(("config", "formula"), CASES, ids=case_id)
def test_formula(config: Any, formula: Callable[..., Taps]) -> None:
    filter_ = made(config)
    expected = formula(config, numbers(filter_), config.taps)
    assert filter_.n_taps == config.taps
    assert filter_.taps().shape == (CHANNELS, config.taps)
    assert error(filter_.taps(), expected) < TOLERANCE


@pytest.mark.parametrize(("config", "formula"), CASES, ids=case_id)
def test_wrong_taps_would_be_seen(config: Any, formula: Callable[..., Taps]) -> None:
    filter_ = made(config)
    found = filter_.taps()
    right = formula(config, numbers(filter_), config.taps)
    mutants = {
        "zeros": 0 * right,
        "negated": -right,
    }
    if config.taps > 1:
        mutants["channels swapped"] = right[::-1]
        mutants["last tap dropped"] = np.pad(right[:, :-1], ((0, 0), (0, 1)))
        mutants["shifted"] = np.roll(right, 1, axis=1)
        mutants["reversed"] = right[:, ::-1]
    for mutant in mutants.values():
        off = np.linalg.norm(mutant - found.detach().numpy()) / np.linalg.norm(right)
        assert off > 20 * TOLERANCE


@pytest.mark.parametrize(("config", "formula"), CASES, ids=case_id)
@pytest.mark.parametrize("right", [1, 4])
def test_two_sided(config: Any, formula: Callable[..., Taps], right: int) -> None:
    """Lags run from -right, the farthest on the right, to K - right - 1."""
    both = type(config)(**{**vars(config), "taps": config.taps + right, "right": right})
    filter_ = made(both)
    assert isinstance(filter_, TwoSided)
    assert filter_.n_taps == config.taps + right
    found = filter_.taps()
    expected = np.zeros(found.shape)
    past = formula(both, numbers(filter_.left), config.taps)
    if not isinstance(config, ImplicitFilter) or right > 1:
        future = formula(both, numbers(filter_.right), right)
        for lag in range(1, right + 1):
            expected[:, right - lag] = future[:, lag - 1]
    else:  # one position has no length to be scaled by
        expected[:, 0] = filter_.right.taps()[:, 0].detach().numpy()
    for lag in range(config.taps):
        expected[:, right + lag] = past[:, lag]
    assert error(found, expected) < TOLERANCE


@pytest.mark.parametrize(("config", "formula"), CASES, ids=case_id)
@pytest.mark.parametrize("right", [0, 2])
def test_gradients_reach_every_parameter(
    config: Any, formula: Callable[..., Taps], right: int
) -> None:
    both = type(config)(**{**vars(config), "taps": config.taps + right, "right": right})
    filter_ = made(both)
    (filter_.taps() * torch.randn(CHANNELS, filter_.n_taps)).sum().backward()
    for name, value in filter_.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        if config.taps > 1 and right != 1:
            assert value.grad.any(), name
    assert {id(p) for p in filter_.no_decay()} == {id(p) for p in filter_.parameters()}


def test_partial_filter_is_the_beginning_of_the_whole() -> None:
    whole = made(ImplicitFilter(taps=200, l_max=200))
    partial = made(ImplicitFilter(taps=60, l_max=200))
    partial.load_state_dict(whole.state_dict())
    assert torch.equal(partial.taps(), whole.taps()[:, :60])
    other = made(ImplicitFilter(taps=60))
    other.load_state_dict(whole.state_dict())
    assert not torch.allclose(other.taps(), whole.taps()[:, :60], rtol=1e-2)


def test_taps_in_slices_are_the_taps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = made(ImplicitFilter(taps=100))
    at_once = filter_.taps()
    monkeypatch.setattr(op, "_POSITIONS_AT_ONCE", 7)
    with torch.no_grad():
        assert error(filter_.taps(), at_once.detach().double().numpy()) < TOLERANCE
    filter_.requires_grad_(False)
    assert error(filter_.taps(), at_once.detach().double().numpy()) < TOLERANCE


def test_a_million_taps() -> None:
    """Angles keep their digits: the last positions agree as the first do."""
    config = ImplicitFilter(taps=1_000_002, shift=0.05, width=8)
    filter_ = made(config)
    with torch.no_grad():
        found = filter_.taps()
    p = numbers(filter_)
    for start in (0, 65_530, 500_000, 1_000_002 - 8):
        expected = np.stack(
            [column(config, p, j) for j in range(start, start + 8)], axis=1
        )
        assert error(found[:, start : start + 8], expected) < TOLERANCE


def column(config: ImplicitFilter, p: dict[str, Taps], j: int) -> Taps:
    """Return one position's taps (H,) of a filter with two bands."""
    t = j / (config.taps - 1)
    w = 2 * math.pi * j / config.taps
    x = np.array(
        [t, math.cos(1e-4 * w), math.cos(w), -math.sin(1e-4 * w), -math.sin(w)]
    )
    for n in range(3):
        x = np.sin(p["freq"][0] * (p[f"inner.{n}.weight"] @ x + p[f"inner.{n}.bias"]))
    slow, fast = math.log(100) / 1.5, math.log(100) / 0.3
    delta = np.linspace(slow, fast, CHANNELS)
    out: Taps = (p["last.weight"] @ x) * (np.exp(-t * delta) + config.shift)
    return out


def test_sgconv_starts_at_unit_norm_and_keeps_its_scale() -> None:
    filter_ = made(SGConvFilter(taps=100))
    assert torch.allclose(filter_.taps().norm(dim=-1), torch.ones(CHANNELS))
    with torch.no_grad():
        filter_.weight *= 2  # type: ignore[operator]
    assert torch.allclose(filter_.taps().norm(dim=-1), torch.full((CHANNELS,), 2.0))


def test_squash_drops_taps_only_while_training() -> None:
    filter_ = made(SquashFilter(taps=4000, squash=0.0, dropout=0.25))
    assert torch.equal(filter_.taps(), filter_.taps())
    assert filter_.taps().count_nonzero() == CHANNELS * 4000
    filter_.train()
    dropped = 1 - filter_.taps().count_nonzero() / (CHANNELS * 4000)
    assert abs(dropped - 0.25) < 0.03


def test_modal_poles_decay() -> None:
    filter_ = made(ModalFilter(taps=1000))
    with torch.no_grad():
        filter_.residue.fill_(1.0)  # type: ignore[operator, union-attr]
    taps = filter_.taps()
    assert (taps.diff() < 0).all()
