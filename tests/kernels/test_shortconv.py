"""The short convolution: values, laws, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv_kernels import short_conv, short_conv_reference
from genomeconv_kernels.shortconv import cpu

LENGTHS = (1, 2, 3, 7, 63, 64, 65, 509, 5003)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def call(B: int, H: int, L: int, K: int, dtype: torch.dtype = torch.float32) -> dict:
    return {
        "u": normal(B, H, L, dtype=dtype),
        "w": normal(H, K, dtype=dtype),
        "bias": normal(H, dtype=dtype),
        "state": normal(B, H, K - 1, dtype=dtype),
    }


def direct(u, w, bias=None, state=None, truth=None):
    y = truth(u, w.flip(-1), state=state)
    return y if bias is None else y + bias.double()[:, None]


@pytest.mark.parametrize("K", range(1, 9))
@pytest.mark.parametrize("L", LENGTHS)
def test_is_the_direct_sum(L, K, truth):
    arguments = call(2, 5, L, K)
    y = short_conv(**arguments)
    assert (y - direct(**arguments, truth=truth)).abs().max() < 1e-5
    for name in ("bias", "state"):
        some = {n: t for n, t in arguments.items() if n != name}
        expected = direct(**some, truth=truth)
        assert (short_conv(**some) - expected).abs().max() < 1e-5
        assert (short_conv_reference(**some) - expected).abs().max() < 1e-5


def test_taps_stand_as_in_torch():
    u, w, bias = normal(2, 5, 100), normal(5, 4), normal(5)
    padded = torch.nn.functional.pad(u, (3, 0))
    expected = torch.nn.functional.conv1d(padded, w[:, None], bias, groups=5)
    torch.testing.assert_close(short_conv(u, w, bias), expected, rtol=1e-5, atol=1e-6)


def test_long_rows_are_cut(monkeypatch, truth):
    for piece in (1, 5, 64, 1000):
        monkeypatch.setattr(cpu, "_PIECE", piece)
        arguments = call(3, 4, 150, 4)
        expected = direct(**arguments, truth=truth)
        assert (short_conv(**arguments) - expected).abs().max() < 1e-5


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 700), st.integers(1, 8),
    st.data(),
)  # fmt: skip
def test_pieces_are_the_whole_to_the_bit(B, H, L, K, data):
    arguments = call(B, H, L, K)
    u, state = arguments.pop("u"), arguments.pop("state")
    whole = short_conv(u, **arguments, state=state)
    cut = data.draw(st.integers(0, L))
    pieces = []
    for piece in (u[..., :cut], u[..., cut:]):
        if piece.shape[-1]:
            y, state = short_conv(piece, **arguments, state=state, return_state=True)
            pieces.append(y)
    assert torch.equal(torch.cat(pieces, -1), whole)


def test_small_integers_are_exact():
    generator = torch.Generator().manual_seed(0)
    u = torch.randint(0, 2, (2, 4, 999), generator=generator)
    w = torch.randint(-9, 10, (4, 3), generator=generator)
    exact = short_conv_reference(u, w)
    assert torch.equal(short_conv(u.float(), w.float()).long(), exact)


def test_the_test_tells_every_mistake(truth):
    arguments = call(1, 3, 200, 3)
    expected = direct(**arguments, truth=truth)
    wrong = {
        "zeros": torch.zeros_like(expected),
        "shifted": expected.roll(1, -1),
        "taps reversed": direct(
            **{**arguments, "w": arguments["w"].flip(-1)}, truth=truth
        ),
        "last tap dropped": direct(
            **{**arguments, "w": arguments["w"][:, 1:], "state": None}, truth=truth
        ),
        "halo missing": direct(**{**arguments, "state": None}, truth=truth),
        "no bias": direct(**{**arguments, "bias": None}, truth=truth),
    }
    for name, y in wrong.items():
        assert (y - expected).abs().max() > 20 * 1e-5, name


def test_result_goes_where_it_is_wanted():
    arguments = call(2, 5, 300, 3)
    out = torch.full((2, 5, 300), torch.nan)
    y, state = short_conv(**arguments, out=out, return_state=True)
    assert y is out
    assert torch.equal(out, short_conv(**arguments))
    assert torch.equal(state, arguments["u"][..., -2:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_rounds_once(dtype, truth, error):
    arguments = call(2, 5, 300, 3, dtype)
    y = short_conv(**arguments)
    expected = direct(**arguments, truth=truth)
    assert y.dtype == dtype
    assert error(y, expected) <= 1.5 * error(expected.to(dtype), expected)
    out = torch.empty_like(y)
    assert torch.equal(short_conv(**arguments, out=out), y)


def test_memory_order_does_not_matter():
    u, w, bias = normal(2, 5, 300), normal(5, 3), normal(5)
    expected = short_conv(u, w, bias)
    assert torch.equal(short_conv(u.mT.contiguous().mT, w, bias), expected)


def test_results_lie_as_the_input_does():
    """Rows are kept in their order, so products before and after copy nothing."""
    u = normal(5, 2, 300).transpose(0, 1).requires_grad_()
    w, bias = normal(5, 3), normal(5)
    y = short_conv(u, w, bias)
    (grad,) = torch.autograd.grad(y.sum(), u)
    assert y.stride() == grad.stride() == u.stride() == (300, 600, 1)
    lines = u.detach().mT.contiguous().mT.requires_grad_()
    assert short_conv(lines, w, bias).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gradients_of_half_precision_round_once(dtype):
    arguments = {n: t.requires_grad_() for n, t in call(2, 5, 300, 3, dtype).items()}
    exact = {n: t.detach().double().requires_grad_() for n, t in arguments.items()}
    found = torch.autograd.grad(short_conv(**arguments).sum(), arguments.values())
    y = short_conv(**exact).sum()
    for x, t in zip(found, torch.autograd.grad(y, exact.values()), strict=True):
        assert x.dtype == dtype
        rounded = (t.to(dtype).double() - t).norm()
        assert (x.double() - t).norm() <= 1.5 * rounded + 1e-5 * t.norm()


@pytest.mark.parametrize("pieces", [7, 64, 600])
def test_gradients_over_pieces(monkeypatch, pieces):
    """Pieces of a row, of some rows, of some sequences: the same sums."""
    tensors = [t.requires_grad_() for t in call(3, 2, 50, 4, torch.float64).values()]
    whole = torch.autograd.grad(short_conv(*tensors).square().sum(), tensors)
    monkeypatch.setattr(cpu, "_PIECE", pieces)
    monkeypatch.setattr(cpu, "_SUMMED", pieces)
    found = torch.autograd.grad(short_conv(*tensors).square().sum(), tensors)
    for x, y in zip(found, whole, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("K", [1, 3, 8])
@pytest.mark.parametrize("L", [1, 2, 9])
def test_gradcheck(L, K):
    tensors = [t.requires_grad_() for t in call(2, 2, L, K, torch.float64).values()]
    assert torch.autograd.gradcheck(short_conv, tensors)
    u, w, bias, _ = tensors
    assert torch.autograd.gradcheck(short_conv, (u, w, bias))
    assert torch.autograd.gradcheck(lambda w: short_conv(u.detach(), w), (w,))


def test_the_operator_keeps_the_rules_of_torch():
    tensors = [t.requires_grad_() for t in call(1, 2, 9, 3, torch.float64).values()]
    torch.library.opcheck(torch.ops.genomeconv.short_conv.default, tensors)
    u, w, _bias, state = (t.detach() for t in tensors)
    torch.library.opcheck(
        torch.ops.genomeconv.short_conv_backward.default,
        (torch.randn_like(u), u, w, state, [True] * 4),
    )
