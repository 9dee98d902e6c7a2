"""Products with what follows them, fused or not, against float64."""

from __future__ import annotations

import math

import pytest
import torch

from genomeconv_kernels import dense, linear_add, linear_gelu, linear_transposed


def case(rows: int = 37, inputs: int = 24, outputs: int = 50, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    new = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    weight = new(outputs, inputs) / inputs**0.5
    return new(rows, inputs), weight, new(outputs), new(rows, outputs)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Hendrycks and Gimpel 2016, the tanh form."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x * (1 + torch.tanh(inner)) / 2


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.double() - wanted).norm() / wanted.norm())


@pytest.fixture(params=["fused", "plain"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run on oneDNN's fused products, and without them."""
    if request.param == "plain":
        monkeypatch.setattr(dense, "_fused", lambda x, weight: False)
    else:
        assert dense._fused(torch.ones(1), torch.ones(1)) == (
            torch.backends.mkldnn.is_available()
        )
    return request.param


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("rows", [1, 37, 256])
def test_linear_gelu(path: str, dtype: torch.dtype, rows: int) -> None:
    x, weight, bias, _ = (t.to(dtype) for t in case(rows))
    wanted = gelu(x.double() @ weight.double().T + bias.double())
    got = linear_gelu(x, weight, bias)
    assert got.dtype == dtype
    assert error(got, wanted) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_linear_add(path: str, dtype: torch.dtype) -> None:
    x, weight, bias, residual = (t.to(dtype) for t in case())
    kept = residual.clone()
    wanted = residual.double() + x.double() @ weight.double().T + bias.double()
    assert error(linear_add(x, weight, bias, residual), wanted) < TOLERANCE[dtype]
    assert torch.equal(residual, kept)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_linear_transposed(path: str, dtype: torch.dtype) -> None:
    x, weight, _, _ = (t.to(dtype) for t in case())
    wanted = weight.double() @ x.double().T
    got = linear_transposed(x, weight)
    assert got.shape == (50, 37)
    assert error(got, wanted) < TOLERANCE[dtype]


def test_another_activation_would_be_noticed() -> None:
    x, weight, bias, _ = case()
    wanted = torch.relu(x.double() @ weight.double().T + bias.double())
    assert error(linear_gelu(x, weight, bias), wanted) > 20 * 1e-6


def test_gradients_take_the_plain_path() -> None:
    x, weight, bias, _ = case()
    with torch.enable_grad():
        weight.requires_grad_()
        linear_gelu(x, weight, bias).sum().backward()
    assert weight.grad is not None
