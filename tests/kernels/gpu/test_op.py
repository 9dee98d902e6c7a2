"""The public operations on the Triton path: every band, every gradient."""

from __future__ import annotations

import pytest
import torch
from tolerances import TOLERANCE
from torch import Tensor

from genomeconv_kernels import (
    MixerPast,
    backend,
    fft_conv,
    fft_conv_reference,
    mixer_conv,
    prepare_filter,
)
from genomeconv_kernels.fftconv.gpu.plan import METHODS, GpuPlan

TAPS = {"short": 4, "toeplitz": 40, "overlap_save": 70, "partitioned": 300, "long": 90}


@pytest.fixture(autouse=True)
def _triton():
    with backend.forced("triton"):
        yield


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def arguments(K: int, *, dtype=torch.float32, state: bool = True, L: int = 331) -> dict:
    shape = (2, 3, L)
    given = {
        "u": random(*shape, seed=1, dtype=dtype),
        "k": random(3, K, seed=2),
        "pre": random(*shape, seed=3, dtype=dtype),
        "post": random(*shape, seed=4, dtype=dtype),
        "skip": random(3, seed=5),
    }
    if state:
        given["state"] = random(2, 3, K - 1, seed=6)
    return given


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted).norm() / wanted.norm())


def doubled(given: dict) -> dict:
    return {name: t.detach().double() for name, t in given.items()}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_forward_and_every_gradient(method, dtype):
    given = arguments(TAPS[method], dtype=dtype)
    wide = {n: t.requires_grad_() for n, t in doubled(given).items()}
    for t in given.values():
        t.requires_grad_()
    grad = random(2, 3, 331, seed=9, dtype=dtype)
    y = fft_conv(**given, method=method)
    assert y.dtype == dtype
    y.backward(grad)
    wanted = fft_conv_reference(**wide)
    wanted.backward(grad.double())
    assert error(y.detach(), wanted.detach()) < TOLERANCE[dtype]
    for name, t in given.items():
        assert t.grad.dtype == t.dtype
        assert error(t.grad, wide[name].grad) < TOLERANCE[dtype], name


@pytest.mark.parametrize("method", METHODS)
def test_only_the_inputs_are_kept_and_a_repeated_call_gives_the_same_bits(method):
    given = {
        name: t[:1, :1] if t.dim() == 3 else t[:1]
        for name, t in arguments(TAPS[method]).items()
    }
    for t in given.values():
        t.requires_grad_()
    found, saved = [], []

    def keep(t: Tensor) -> Tensor:
        saved.append(t.data_ptr())
        return t

    for _ in range(2):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            y = fft_conv(**given, method=method)
        grads = torch.autograd.grad(y.square().sum(), list(given.values()))
        found.append([y.detach(), *grads])
    assert set(saved) <= {t.data_ptr() for t in given.values()}
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_two_sided(method):
    given = arguments(TAPS[method], state=False)
    for right in (1, TAPS[method] - 1):
        for t in given.values():
            t.requires_grad_()
            t.grad = None
        wide = {n: t.requires_grad_() for n, t in doubled(given).items()}
        y = fft_conv(**given, method=method, right=right)
        y.sum().backward()
        wanted = fft_conv_reference(**wide, right=right)
        wanted.sum().backward()
        assert error(y.detach(), wanted.detach()) < 1e-5
        for name, t in given.items():
            assert error(t.grad, wide[name].grad) < 1e-5, name


@pytest.mark.parametrize("method", METHODS)
def test_pieces_are_the_whole(method):
    K = TAPS[method]
    given = arguments(K)
    wanted = fft_conv_reference(**doubled(given))
    k, skip, state = given.pop("k"), given.pop("skip"), given.pop("state")
    parts = []
    for piece in ((0, 64), (64, 65), (65, 331)):
        cut = {name: t[..., slice(*piece)] for name, t in given.items()}
        y, state = fft_conv(
            k=k, skip=skip, state=state, **cut, return_state=True, method=method
        )
        parts.append(y)
    assert error(torch.cat(parts, -1), wanted) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_prepared_gives_the_same_bits(method):
    given = arguments(TAPS[method])
    wanted = fft_conv(**given, method=method)
    k = prepare_filter(
        given.pop("k"), length=331, skip=given.pop("skip"), batch=2, method=method
    )
    assert isinstance(k.plan, GpuPlan)
    out = torch.full((2, 331, 3), float("nan")).transpose(1, 2)
    got = fft_conv(k=k, **given, out=out)
    assert got is out
    assert torch.equal(got, wanted)


def test_more_taps_than_positions():
    given = arguments(200, L=33)
    for t in given.values():
        t.requires_grad_()
    wide = {n: t.requires_grad_() for n, t in doubled(given).items()}
    fft_conv(**given).sum().backward()
    fft_conv_reference(**wide).sum().backward()
    for name, t in given.items():
        assert error(t.grad, wide[name].grad) < 1e-5, name


def test_circular():
    given = arguments(40, state=False, L=100)
    got = fft_conv(**given, circular=True)
    with backend.forced("torch"):
        wanted = fft_conv(**doubled(given), circular=True)
    assert error(got, wanted) < 1e-5


def test_unknown_method():
    given = arguments(4)
    with pytest.raises(ValueError, match="one of short, toeplitz, overlap_save"):
        fft_conv(**given, method="direct")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("K", [5, 60, 400])
def test_fused_mixer(K, dtype):
    B, H, L, T = 2, 3, 300, 3
    z = random(B, 3 * H, L, seed=1, dtype=dtype)
    weight, bias = random(3 * H, T, seed=2), random(3 * H, seed=3)
    past = MixerPast(random(B, 3 * H, T - 1, seed=4), random(B, H, K - 1, seed=5))
    taps = random(H, K, seed=6)
    with backend.forced("torch"):
        wide = [t.double() for t in (z, weight, bias)]
        k = prepare_filter(taps.double(), length=L, batch=B)
        old = MixerPast(*(t.double() for t in past))
        wanted, after = mixer_conv(*wide, k, old)
    k = prepare_filter(taps, length=L, batch=B, dtype=dtype)
    got, then = mixer_conv(z, weight, bias, k, past)
    assert error(got, wanted) < TOLERANCE[dtype]
    for a, b in zip(then, after, strict=True):
        assert error(a, b) < 1e-5


def test_float64_goes_to_torch():
    given = {name: t.double() for name, t in arguments(20).items()}
    assert error(fft_conv(**given), fft_conv_reference(**given)) < 1e-12
