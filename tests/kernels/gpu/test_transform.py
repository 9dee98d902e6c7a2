"""Transforms on the chip against torch's, in the order their docstring states."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from genomeconv_kernels.fftconv.gpu import tables
from genomeconv_kernels.fftconv.gpu.tiles import TILES
from genomeconv_kernels.fftconv.gpu.transform import (
    forward,
    forward_rows,
    frequencies,
    inverse,
    positions,
)

FACTORS = [(16, 16), (32, 16), (16, 32), (8, 16, 4), (4, 8, 16), (16, 16, 16)]
DTYPES = [torch.float32, torch.float16]
CPU = torch.device("cpu")


@triton.jit
def _both(
    x, spectrum, back, table,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr,
):  # fmt: skip
    F: tl.constexpr = N1 * N2 * N3
    n, f = positions(N1, N2, N3), frequencies(N1, N2, N3)
    re, im = tl.load(x + n), tl.load(x + F + n)
    re, im = forward(re, im, table, N1, N2, N3, "ieee")
    tl.store(spectrum + f, re)
    tl.store(spectrum + F + f, im)
    re, im = inverse(re, im, table, N1, N2, N3, "ieee")
    tl.store(back + n, re)
    tl.store(back + F + n, im)


@triton.jit
def _rows(
    x, spectrum, table, R: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr,
):  # fmt: skip
    F: tl.constexpr = N1 * N2 * N3
    row = tl.program_id(0) * R
    n = positions(N1, N2, N3)
    re, im = tl.load(x + n), tl.load(x + F + n)
    re, im = forward_rows(re, im, table, row, R, N1, N2, N3, "ieee")
    f = row * (N2 * N3) + frequencies(R, N2, N3)
    tl.store(spectrum + f, re)
    tl.store(spectrum + F + f, im)


def ordered(X: torch.Tensor, factors: tuple[int, ...]) -> torch.Tensor:
    """Frequencies k = k1 + N1 k2 + N1 N2 k3 at (k1 N2 + k2) N3 + k3."""
    axes = tuple(reversed(range(len(factors))))
    return X.view(*reversed(factors)).permute(axes).reshape(-1)


def draw(F: int) -> torch.Tensor:
    return torch.randn(2, F, generator=torch.Generator().manual_seed(F))


def three(factors: tuple[int, ...]) -> tuple[int, ...]:
    return (*factors, 1)[:3]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("factors", FACTORS, ids=str)
def test_there_and_back(factors, dtype, error, tolerance):
    x = draw(torch.Size(factors).numel())
    spectrum, back = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan)
    table = tables.transform(factors, dtype, CPU)
    _both[(1,)](x, spectrum, back, table, *three(factors))
    X = torch.fft.fft(torch.complex(*x.double()), norm="ortho")
    wanted = torch.view_as_real(ordered(X, factors)).T
    # Both parts as one row: which is real and which imaginary is part of the claim.
    assert error(spectrum.view(1, -1), wanted.reshape(1, -1)) < tolerance[dtype]
    assert error(back.view(1, -1), x.double().view(1, -1)) < tolerance[dtype]


@pytest.mark.parametrize("factors", [(16, 16), (8, 16, 4)], ids=str)
@pytest.mark.parametrize("R", [1, 4])
def test_rows_of_a_transform(factors, R, error):
    x = draw(torch.Size(factors).numel())
    spectrum = torch.full_like(x, torch.nan)
    table = tables.transform(factors, torch.float32, CPU)
    _rows[(factors[0] // R,)](x, spectrum, table, R, *three(factors))
    X = ordered(torch.fft.fft(torch.complex(*x.double()), norm="ortho"), factors)
    assert error(spectrum.view(1, -1), torch.view_as_real(X).T.reshape(1, -1)) < 1e-6


def test_every_tile_has_factors_that_products_take():
    for tile in (tile for tiles in TILES.values() for tile in tiles):
        assert tile.points == torch.Size(tile.factors).numel()
        assert len(tile.factors) in (2, 3)
        assert all(N >= 16 and N & (N - 1) == 0 for N in tile.factors)
        assert tile.warps in (1, 2, 4, 8)
