"""Pieces of rows: the same values and gradients as all at once, and nothing kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.model import build_model
from genomeconv.model import by_rows as module
from genomeconv.model.by_rows import by_rows


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 4)
    monkeypatch.setattr(module, "FEW", 4)


def mixed(a: Tensor, b: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """Two inputs, two weights; rows apart."""
    return F.layer_norm(a, a.shape[-1:]) + torch.tanh(F.linear(b, w, bias)) * a.sin()


def columns(a: Tensor, w: Tensor) -> Tensor:
    """Channels first in memory."""
    return (w @ a.T).T.square()


def drawn(rows: int, *, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(rows)
    shapes = [(rows, 5), (rows, 3), (5, 3), (5,)]
    return [torch.randn(s, generator=g, dtype=dtype).requires_grad_() for s in shapes]


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    wave = torch.arange(y.numel(), dtype=y.dtype).cos().view_as(y)
    return list(torch.autograd.grad((y * wave).sum(), inputs))


@pytest.mark.filterwarnings("error")
@given(rows=st.integers(1, 23))
def test_values_and_gradients(rows):
    """Whole, ragged and single pieces; sums over rows differ in order only."""
    a, b, w, bias = given_ = drawn(rows)
    found = by_rows(mixed, (a, b), (w, bias))
    expected = mixed(a, b, w, bias)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    for x, y in zip(gradients(found, given_), gradients(expected, given_), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [3, 8, 11])
def test_channels_first_stay_so(rows):
    """Outputs lie as the pieces do, and gradients of inputs as those."""
    a, _, w, _ = drawn(rows)
    wide = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    found = by_rows(columns, (a,), (wide,))
    assert found.T.is_contiguous()
    torch.testing.assert_close(found, columns(a, wide))
    lying = a.detach().T.contiguous().T.requires_grad_()
    y = by_rows(mixed, (a, lying[:, :3]), (w, w[:, 0]))
    torch.testing.assert_close(y, mixed(a, lying[:, :3], w, w[:, 0]))
    seen = by_rows(columns, (lying,), (wide,))
    (grad,) = torch.autograd.grad(seen.sum(), lying)
    assert grad.T.is_contiguous()


def test_gradient_of_every_argument():
    a, b, w, bias = drawn(9)
    assert torch.autograd.gradcheck(
        lambda *t: by_rows(mixed, t[:2], t[2:]), (a, b, w, bias)
    )


@pytest.mark.parametrize("wanted", range(4))
def test_only_what_is_wanted(wanted):
    tensors = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(drawn(9))]
    y = by_rows(mixed, tuple(tensors[:2]), tuple(tensors[2:]))
    expected = mixed(*tensors)
    (found,) = gradients(y, [tensors[wanted]])
    torch.testing.assert_close(found, gradients(expected, [tensors[wanted]])[0])


def test_only_the_inputs_are_kept():
    """Between forward and backward nothing lives but arguments and output."""
    a, b, w, bias = given_ = drawn(64)
    kept: list[Tensor] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t) or t, lambda t: t
    )
    with hooks:
        y = by_rows(mixed, (a, b), (w, bias))
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in given_}
    gradients(y, given_)


def test_without_gradients_it_runs_once():
    calls = []

    def counted(a: Tensor) -> Tensor:
        calls.append(len(a))
        return a.exp()

    a = drawn(9)[0]
    with torch.no_grad():
        by_rows(counted, (a,), ())
    assert calls == [9]
    gradients(by_rows(counted, (a,), ()), [a])
    assert calls == [9, 4, 4, 1, 4, 4, 1]


def test_few_rows_run_once(monkeypatch):
    monkeypatch.setattr(module, "FEW", 9)
    calls = []

    def counted(a: Tensor) -> Tensor:
        calls.append(len(a))
        return a.exp()

    for rows in (9, 10):
        a = drawn(rows)[0]
        gradients(by_rows(counted, (a,), ()), [a])
    assert calls == [9, 4, 4, 2, 4, 4, 2]


def test_precision_of_products_is_the_same_on_the_way_back():
    """Autocast holds where the gradient runs the function again."""
    a, b, w, bias = given_ = drawn(9, dtype=torch.float32)
    seen = []

    def watched(*t: Tensor) -> Tensor:
        y = F.linear(t[1], t[2], t[3])
        seen.append(y.dtype)
        return t[0] + y

    with torch.autocast("cpu", torch.bfloat16):
        y = by_rows(watched, (a, b), (w, bias))
        expected = watched(a, b, w, bias)
    found = gradients(y, given_)
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 7
    assert [g.dtype for g in found] == [torch.float32] * 4
    for x, z in zip(found, gradients(expected, given_), strict=True):
        torch.testing.assert_close(x, z, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("few", [4, 1 << 20])
def test_a_block_however_it_is_run(monkeypatch, few, recompute):
    """Pieces and recomputation change neither the output nor any gradient."""
    config = ModelConfig(width=8, layers=1, filters=(ExplicitFilter(taps=5, right=2),))
    block = build_model(config, 0).double().trunk.blocks[0]
    r = torch.randn(2, 11, 8, dtype=torch.float64, requires_grad=True)
    inside = torch.ones(2, 11, dtype=torch.bool)
    inside[1, 7:] = False
    weights = [r, *block.parameters()]
    monkeypatch.setattr(module, "FEW", 1 << 20)
    expected = block(r, inside)
    wanted = gradients(expected, weights)
    monkeypatch.setattr(module, "FEW", few)
    found = block(r, inside, recompute=recompute)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for x, y in zip(gradients(found, weights), wanted, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)
