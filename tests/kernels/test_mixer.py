"""The inner part of a mixer: short filter, gates and long filter together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genomeconv_kernels import (
    MixerPast,
    fft_conv_reference,
    mixer_conv,
    prepare_filter,
    short_conv_reference,
)


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


def made(B: int, H: int, L: int, K: int, T: int = 3, seed: int = 0):
    z, weight, bias = (
        random(B, 3 * H, L, seed=seed),
        random(3 * H, T, seed=seed + 1),
        random(3 * H, seed=seed + 2),
    )
    taps = random(H, K, seed=seed + 3)
    past = MixerPast(
        random(B, 3 * H, T - 1, seed=seed + 4), random(B, H, K - 1, seed=seed + 5)
    )
    return z, weight, bias, taps, past


def truth(z, weight, bias, taps, past):
    z, weight, bias, taps = (t.double() for t in (z, weight, bias, taps))
    short = short_conv_reference(z, weight, bias, past.short.double())
    x0, x1, v = short.chunk(3, dim=1)
    return fft_conv_reference(v, taps, x1, x0, None, past.long.double())


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 65, 9), (1, 2, 300, 128)])
def test_is_its_parts(shape):
    z, weight, bias, taps, past = made(*shape)
    out = torch.full((shape[0], shape[1], shape[2]), float("nan"))
    k = prepare_filter(taps, length=shape[2])
    y, _ = mixer_conv(z, weight, bias, k, past, out)
    assert y is out
    assert error(y, truth(z, weight, bias, taps, past)) < 1e-5


@given(
    L=st.integers(1, 80),
    K=st.integers(1, 90),
    T=st.integers(1, 8),
    data=st.data(),
)
@settings(max_examples=50)
def test_pieces_are_the_whole(L, K, T, data):
    z, weight, bias, taps, past = made(2, 3, L, K, T, seed=L)
    wanted = truth(z, weight, bias, taps, past)
    parts, at = [], 0
    while at < L:
        size = data.draw(st.integers(1, L - at))
        k = prepare_filter(taps, length=size)
        y, past = mixer_conv(z[..., at : at + size], weight, bias, k, past)
        parts.append(y)
        at += size
    assert error(torch.cat(parts, -1), wanted) < 2e-5


def test_without_a_past_of_the_long_filter():
    z, weight, bias, taps, past = made(1, 2, 50, 7)
    k = prepare_filter(taps, length=50, history=False)
    y, after = mixer_conv(z, weight, bias, k, past._replace(long=None))
    assert after.long is None
    none = past._replace(long=torch.zeros_like(past.long))
    assert error(y, truth(z, weight, bias, taps, none)) < 1e-5


BARE = prepare_filter(torch.ones(2, 4), length=4, history=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"z": torch.zeros(1, 5, 8)},
            "mixer_conv: z must be of 3 H = 6 channels, as the filter has, got float32 "
            "of shape (1, 5, 8) on cpu",
        ),
        (
            {"bias": torch.zeros(2)},
            "mixer_conv: bias must be float32 of shape (3H,) = (6,) on cpu, got "
            "float32 of shape (2,) on cpu",
        ),
        (
            {"weight": torch.zeros(6, 9)},
            "mixer_conv: weight must be of at most 8 taps, got float32 of shape (6, 9) "
            "on cpu",
        ),
        (
            {"past": MixerPast(torch.zeros(1, 6, 1), None)},
            "mixer_conv: past.short must be float32 of shape (B, 3H, T-1) = (1, 6, 2) "
            "on cpu, got float32 of shape (1, 6, 1) on cpu",
        ),
        (
            {"k": prepare_filter(torch.ones(2, 4), length=8, right=1)},
            "mixer_conv: k must be a causal filter, got PreparedFilter",
        ),
        (
            {"k": prepare_filter(torch.ones(2, 4).double(), length=8)},
            "mixer_conv: k must be a filter prepared for float32 on cpu, got float64 "
            "of shape (2, 4) on cpu",
        ),
        (
            {"k": BARE, "past": MixerPast(torch.zeros(1, 6, 2), None)},
            "mixer_conv: z must be of at most 4 positions, as the filter was prepared "
            "for, got float32 of shape (1, 6, 8) on cpu",
        ),
        (
            {"k": BARE, "z": torch.zeros(1, 6, 3)},
            "mixer_conv: past.long must be None, the filter being prepared with "
            "history=False, got float32 of shape (1, 2, 3) on cpu",
        ),
        (
            {"z": torch.zeros(1, 6, 8, requires_grad=True)},
            "mixer_conv: z must be free of gradients, got 'requires_grad=True'",
        ),
        (
            {"out": torch.zeros(1, 2, 7)},
            "mixer_conv: out must be float32 of shape (B, H, L) = (1, 2, 8) on cpu, "
            "got float32 of shape (1, 2, 7) on cpu",
        ),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_refuses(change, message):
    given = {
        "z": torch.zeros(1, 6, 8),
        "weight": torch.zeros(6, 3),
        "bias": torch.zeros(6),
        "k": prepare_filter(torch.ones(2, 4), length=8),
        "past": MixerPast(torch.zeros(1, 6, 2), torch.zeros(1, 2, 3)),
    } | change
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        mixer_conv(**given)
    assert str(caught.value) == message
