"""Periodic signals: the convolution wraps round."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from genomeconv_kernels import fft_conv, prepare_filter

SHAPES = [(1, 1, 0), (1, 5, 2), (7, 3, 0), (7, 3, 2), (64, 64, 0), (64, 64, 63)]
SHAPES += [(31, 100, 0), (31, 100, 40), (65, 64, 10), (200, 33, 32)]


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def wrapped(u, k, pre, post, skip, right: int) -> Tensor:
    """Sum tap by tap over positions modulo L."""
    x = u * pre
    y = sum(k[:, j, None] * x.roll(j - right, -1) for j in range(k.shape[1]))
    return post * (y + skip[:, None] * x)


def arguments(L: int, K: int, seed: int = 0) -> dict[str, Tensor]:
    return {
        "u": random(2, 3, L, seed=seed),
        "k": random(3, K, seed=seed + 1),
        "pre": random(2, 3, L, seed=seed + 2),
        "post": random(2, 3, L, seed=seed + 3),
        "skip": random(3, seed=seed + 4),
    }


@pytest.mark.parametrize(("L", "K", "right"), SHAPES)
def test_is_the_wrapped_sum(L, K, right):
    given = arguments(L, K)
    got = fft_conv(**given, right=right, circular=True)
    torch.testing.assert_close(got, wrapped(**given, right=right))


@given(
    L=st.integers(1, 40), K=st.integers(1, 90), seed=st.integers(0, 99), data=st.data()
)
def test_turning_the_input_turns_the_output(L, K, seed, data):
    right = data.draw(st.integers(0, K - 1))
    turn = data.draw(st.integers(0, L))
    u, k = random(1, 2, L, seed=seed), random(2, K, seed=seed + 1)
    y = fft_conv(u, k, right=right, circular=True)
    turned = fft_conv(u.roll(turn, -1), k, right=right, circular=True)
    torch.testing.assert_close(turned, y.roll(turn, -1))


@pytest.mark.parametrize(("L", "K", "right"), [(9, 4, 0), (9, 4, 2), (5, 12, 3)])
def test_every_gradient(L, K, right):
    given = {name: t.requires_grad_() for name, t in arguments(L, K).items()}

    def call(*tensors: Tensor) -> Tensor:
        return fft_conv(
            **dict(zip(given, tensors, strict=True)), right=right, circular=True
        )

    assert torch.autograd.gradcheck(call, tuple(given.values()))


def test_it_is_not_the_plain_one():
    u, k = random(1, 1, 50, seed=0), random(1, 20, seed=1)
    assert not torch.allclose(fft_conv(u, k), fft_conv(u, k, circular=True))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"state": torch.zeros(1, 2, 3)},
            ValueError,
            "fft_conv: state must be left out where circular, which needs none, "
            "got float32 of shape (1, 2, 3) on cpu",
        ),
        (
            {"return_state": True},
            ValueError,
            "fft_conv: return_state must be left out where circular, which needs none, "
            "got True",
        ),
        (
            {"k": prepare_filter(torch.ones(2, 4), length=8)},
            TypeError,
            "fft_conv: k must be taps (H, K) where circular, got PreparedFilter",
        ),
    ],
    ids=["state", "return_state", "prepared"],
)
def test_refuses_what_a_circle_has_not(change, kind, message):
    given = {"u": torch.zeros(1, 2, 8), "k": torch.zeros(2, 4)} | change
    with pytest.raises(kind) as caught:
        fft_conv(**given, circular=True)
    assert str(caught.value) == message
