"""Frequency-sparse convolution in torch: the definition, its laws and gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genomeconv_kernels import FrequencyMask, fft_conv, sparse_fft_conv
from genomeconv_kernels.fftconv import sparse
from genomeconv_kernels.fftconv.mask import FACTORS

BLOCKS = {F: (N1 // 16) * (N2 // 16) for F, (N1, N2) in FACTORS.items()}


def mask_of(F: int, bits: int) -> FrequencyMask:
    return FrequencyMask.of_blocks(F, [bool(bits >> i & 1) for i in range(BLOCKS[F])])


def everything(F: int) -> FrequencyMask:
    return mask_of(F, -1)


def draw(B: int, H: int, L: int, K: int, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = (B, H, L), (H, K), (B, H, L), (B, H, L)
    return [torch.randn(s, generator=g, dtype=torch.float64) for s in shapes]


def kept(mask: FrequencyMask) -> np.ndarray:
    """Which frequencies are kept, by arithmetic on each."""
    F, (N1, N2) = mask.fft_size, FACTORS[mask.fft_size]
    inside = np.empty(F, dtype=bool)
    for k in range(F):
        k1, k2 = k % N1, k // N1
        row = 0 if k1 == N1 // 2 else min(k1, N1 - k1)
        inside[k] = mask.kept[row // 8][min(k2, N2 - 1 - k2) // 8]
    return inside & inside[-np.arange(F) % F]


def true(u, k, mask: FrequencyMask, pre, post, right: int) -> Tensor:
    """The valid part of each block's circular convolution, by numpy's complex FFT."""
    x = (u * pre).numpy()
    (B, H, L), K, F = x.shape, k.shape[1], mask.fft_size
    halo = -(-max(K - 1 - right, 0) // 16) * 16
    V = (F - right - halo) // 16 * 16
    spectrum = np.fft.fft(k.numpy(), F) * kept(mask)
    padded = np.concatenate([np.zeros((B, H, halo)), x, np.zeros((B, H, 2 * F))], -1)
    y = np.empty_like(x)
    for begin in range(0, L, V):
        z = np.fft.ifft(np.fft.fft(padded[..., begin : begin + F]) * spectrum)
        assert np.abs(z.imag).max() < 1e-9  # the masked filter is real
        n = min(V, L - begin)
        y[..., begin : begin + n] = z.real[..., halo + right :][..., :n]
    return torch.from_numpy(y) * post


@settings(max_examples=60, derandomize=True)
@given(
    st.sampled_from([256, 512, 1024]), st.integers(1, 900), st.integers(1, 225),
    st.integers(0, 15), st.data(),
)  # fmt: skip
def test_every_mask_is_the_definition(F, L, K, bits, data):
    right = data.draw(st.integers(0, K - 1))
    mask = mask_of(F, bits)
    u, k, pre, post = draw(2, 3, L, K, seed=L)
    got = sparse_fft_conv(u, k, mask, pre, post, right=right)
    wanted = true(u, k, mask, pre, post, right)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("right", [0, 30])
@pytest.mark.parametrize("F", FACTORS)
def test_all_kept_is_the_dense_convolution(F, right):
    u, k, pre, post = draw(2, 3, 5000, 200)
    got = sparse_fft_conv(u, k, everything(F), pre, post, right=right)
    wanted = fft_conv(u, k, pre, post, right=right)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bits", [0, 1, 2, 3])
def test_a_signal_of_one_window_is_the_convolution_of_the_paper(bits):
    """Zeros behind the signal, one transform of F points, frequencies set to 0."""
    mask = mask_of(512, bits)
    u, k, *_ = draw(2, 3, 200, 300)
    spectrum = torch.fft.fft(u, 512) * torch.fft.fft(k, 512)
    wanted = torch.fft.ifft(spectrum * torch.from_numpy(kept(mask))).real[..., :200]
    got = sparse_fft_conv(u, k, mask)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize("right", [0, 77])
def test_a_periodic_signal(bits, right):
    mask = mask_of(512, bits)
    u, k, pre, post = draw(2, 3, 512, 400)
    spectrum = torch.fft.fft(u * pre) * torch.fft.fft(k, 512)
    y = torch.fft.ifft(spectrum * torch.from_numpy(kept(mask))).real
    wanted = y.roll(-right, -1) * post
    got = sparse_fft_conv(u, k, mask, pre, post, right=right, circular=True)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_masks_add_up():
    """Blocks that do not share a frequency: the sum of their parts is the whole."""
    u, k, pre, post = draw(1, 2, 700, 60)
    parts = sum(sparse_fft_conv(u, k, mask_of(256, b), pre, post) for b in (0, 1))
    torch.testing.assert_close(parts, fft_conv(u, k, pre, post))


@pytest.mark.parametrize("F", [512, 4096])
def test_mutants_fail(F, error):
    """Another mask, a tap less, a shift by one: each is far from the result."""
    u, k, pre, post = draw(1, 2, 1500, 100)
    mask = FrequencyMask.low_pass(F, 1)
    got = sparse_fft_conv(u, k, mask, pre, post)
    off = [
        sparse_fft_conv(u, k, everything(F), pre, post),
        sparse_fft_conv(u, k, mask_of(F, 0), pre, post),
        sparse_fft_conv(u, k[:, :-1], mask, pre, post),
        sparse_fft_conv(u.roll(1, -1), k, mask, pre.roll(1, -1), post),
        got.roll(1, 1),
    ]
    assert min(error(mutant, got) for mutant in off) > 0.02


@pytest.mark.parametrize("F", FACTORS)
def test_the_mirror_of_a_frequency_is_kept_with_it(F):
    for bits in (0, 1, 0b0110, 0b1001_0110, -1):
        mask = mask_of(F, bits)
        found = mask.frequencies()
        assert found.tolist() == kept(mask).tolist()
        lost = round(mask.share * F) - int(found.sum())
        assert 0 <= lost <= 2 * BLOCKS[F]


def test_a_column_is_a_band_of_frequencies():
    """All but the edges: 8 N1 frequencies a column, from the lowest on."""
    mask = FrequencyMask.low_pass(4096, 1)
    found = mask.frequencies()[:2049].nonzero().flatten()
    assert found.max() <= 8 * 64
    assert len(found) >= 8 * 64 - 8
    assert mask.share == 0.25


CASES = list(itertools.product([0, 4], [1, 2], [(2, 2, 300), (1, 1, 100), (3, 1, 7)]))


@pytest.mark.parametrize(("right", "bits", "shape"), CASES)
def test_gradients_are_those_of_the_definition(right, bits, shape):
    """Every gradient, against torch's own through the formula."""
    mask = mask_of(512, bits)
    given = [t.requires_grad_() for t in draw(*shape, 60)]
    u, k, pre, post = given
    y = sparse_fft_conv(u, k, mask, pre, post, right=right)
    weight = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    got = torch.autograd.grad(y, given, weight)
    keep = torch.from_numpy(kept(mask))
    halo = -(-(59 - right) // 16) * 16
    V = (512 - right - halo) // 16 * 16
    padded = torch.nn.functional.pad(u * pre, (halo, 1024))
    parts = []
    for begin in range(0, shape[-1], V):
        spectrum = torch.fft.fft(padded[..., begin : begin + 512]) * keep
        z = torch.fft.ifft(spectrum * torch.fft.fft(k, 512)).real
        parts.append(z[..., halo + right : halo + right + V])
    reference = torch.cat(parts, -1)[..., : shape[-1]] * post
    wanted = torch.autograd.grad(reference, given, weight)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("circular", [False, True])
def test_gradcheck(circular):
    mask = mask_of(256, 1) if not circular else mask_of(512, 2)
    L = 512 if circular else 250
    given = [t.requires_grad_() for t in draw(1, 1, L, 30)]

    def call(u, k, pre, post):
        return sparse_fft_conv(u, k, mask, pre, post, right=5, circular=circular)

    assert torch.autograd.gradcheck(call, given, fast_mode=True)


def test_only_what_is_wanted_is_computed(monkeypatch):
    def compute(*_: object) -> None:
        pytest.fail("a gradient nobody wants")

    u, k, *_ = draw(1, 1, 50, 9)
    monkeypatch.setattr(sparse, "filter_grad", compute)
    y = sparse_fft_conv(u.requires_grad_(), k, everything(256))
    y.sum().backward()
    monkeypatch.undo()
    monkeypatch.setattr(sparse, "input_grad", compute)
    sparse_fft_conv(u.detach(), k.requires_grad_(), everything(256)).sum().backward()


@pytest.mark.parametrize("points", [256, 2000])
def test_rounds_do_not_change_the_result(points, monkeypatch):
    mask, given = mask_of(256, 1), [t.requires_grad_() for t in draw(2, 3, 900, 60)]

    def everything_of() -> list[Tensor]:
        y = sparse_fft_conv(*given[:2], mask, *given[2:])
        return [y, *torch.autograd.grad(y.sum(), given)]

    wanted = everything_of()
    monkeypatch.setattr(sparse, "_ROUND_POINTS", points)
    for a, b in zip(everything_of(), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_precision(dtype, error, tolerance):
    given = [t.to(dtype) for t in draw(2, 2, 3000, 200)]
    mask = FrequencyMask.low_pass(1024, 1)
    got = sparse_fft_conv(*given[:2], mask, *given[2:])
    wide = [t.double() for t in given]
    wanted = sparse_fft_conv(*wide[:2], mask, *wide[2:])
    assert got.dtype == dtype
    assert error(got, wanted) < tolerance[dtype]


def test_nothing_of_the_spectra_is_kept():
    """The graph holds the inputs and nothing else."""
    saved = []

    def keep(t: Tensor) -> Tensor:
        saved.append(t)
        return t

    given = [t.requires_grad_() for t in draw(1, 2, 700, 60)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        sparse_fft_conv(*given[:2], mask_of(256, 1), *given[2:])
    assert {t.data_ptr() for t in saved} == {t.data_ptr() for t in given}
