"""Truth, tolerances and poisoned memory for every test of the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import Tensor

from genomeconv_kernels import ImplicitWeights

# The one table: largest relative L2 error of any channel against float64.
TOLERANCE = MappingProxyType(
    {
        torch.float64: 1e-12,
        torch.float32: 1e-6,
        torch.float16: 4e-4,
        torch.bfloat16: 2.5e-3,
    }
)


@pytest.fixture(scope="module", autouse=True)
def _poison() -> Iterator[None]:
    """Fill memory that nobody wrote with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(64).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(params=[0, 7, 40], ids="rounds of {} rows".format)
def small_rounds(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transforms of 256 points in rounds of a few rows: every loop runs often."""
    plan = "genomeconv_kernels.fftconv.plan."
    monkeypatch.setattr(plan + "fft_sizes", lambda low, high: [256])
    for limit in ("_GROUP_BYTES", "_DIRECT_BYTES", "_PARTS_BYTES"):
        monkeypatch.setattr(plan + limit, request.param * 4096)


@pytest.fixture(scope="session")
def tolerance() -> MappingProxyType[torch.dtype, float]:
    return TOLERANCE


@pytest.fixture(scope="session")
def truth() -> Callable[..., Tensor]:
    """The operation as a direct sum in float64, by numpy."""

    def convolve(
        u: Tensor,
        k: Tensor,
        pre: Tensor | None = None,
        post: Tensor | None = None,
        skip: Tensor | None = None,
        state: Tensor | None = None,
        *,
        right: int = 0,
    ) -> Tensor:
        x = _array(u) if pre is None else _array(u) * _array(pre)
        taps = _array(k)
        L, K = x.shape[-1], taps.shape[-1]
        y = np.empty_like(x)
        for b, h in np.ndindex(*x.shape[:2]):
            past = np.zeros(K - 1) if state is None else _array(state)[b, h]
            signal = np.concatenate([past, x[b, h], np.zeros(right)])
            y[b, h] = np.convolve(signal, taps[h])[K - 1 + right :][:L]
        if skip is not None:
            y += _array(skip)[:, None] * x
        if post is not None:
            y *= _array(post)
        return torch.from_numpy(y)

    return convolve


def _array(t: Tensor) -> np.ndarray:
    return t.detach().double().numpy()


@pytest.fixture(scope="session")
def error() -> Callable[[Tensor, Tensor], float]:
    """The largest relative L2 error of any row along the last axis."""

    def worst(got: Tensor, expected: Tensor) -> float:
        assert got.shape == expected.shape
        if not got.numel():
            return 0.0
        off = (got.detach().double() - expected.double()).norm(dim=-1)
        scale = expected.double().norm(dim=-1).clamp_min(1e-300)
        return float((off / scale).max())

    return worst


@pytest.fixture(scope="session")
def implicit_weights() -> Callable[..., tuple[ImplicitWeights, Tensor]]:
    """Weights of an implicit filter and its decay rates, drawn once a shape."""

    def draw(
        H: int, W: int, E: int, dtype: torch.dtype = torch.float32
    ) -> tuple[ImplicitWeights, Tensor]:
        g = torch.Generator().manual_seed(H * 1000 + W)

        def normal(*shape: int, inputs: int = 1) -> Tensor:
            drawn = torch.randn(shape, generator=g, dtype=torch.float64)
            return (drawn / math.sqrt(inputs)).to(dtype)

        shapes = [(W, E), (W,), (W, W), (W,), (W, W), (W,), (H, W)]
        freq = (2.0 + normal(1, W).double()).to(dtype)
        rest = [normal(*shape, inputs=shape[-1]) for shape in shapes]
        deltas = torch.linspace(-3, -15, H, dtype=torch.float64)[None].to(dtype)
        return ImplicitWeights(freq, *rest), deltas

    return draw


@pytest.fixture(scope="session")
def implicit_truth() -> Callable[..., Tensor]:
    """The formula of the implicit filter in float64, position by position."""

    def synthesise(
        weights: ImplicitWeights,
        deltas: Tensor,
        positions: Iterable[int],
        l_max: int,
        shift: float,
    ) -> Tensor:
        p = {name: _array(value) for name, value in weights._asdict().items()}
        bands = (p["w0"].shape[1] - 1) // 2
        turns = np.linspace(1e-4, bands - 1, bands)
        taps = []
        for j in positions:
            t = j / max(l_max - 1, 1)
            angles = 2 * np.pi * turns * j / l_max
            x = np.concatenate([[t], np.cos(angles), -np.sin(angles)])
            for n in "012":
                x = np.sin(p["freq"][0] * (p[f"w{n}"] @ x + p[f"b{n}"]))
            window = np.exp(-t * np.abs(_array(deltas)[0])) + shift
            taps.append(p["last"] @ x * window)
        return torch.from_numpy(np.stack(taps, axis=1))

    return synthesise
