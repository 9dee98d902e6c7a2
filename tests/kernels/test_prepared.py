"""Filters made ready once."""

from __future__ import annotations

import pytest
import torch

from genomeconv_kernels import fft_conv, prepare_filter
from genomeconv_kernels.fftconv.plan import METHODS


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("method", [None, *METHODS])
@pytest.mark.parametrize("L", [1, 64, 99, 100, 101, 333])
def test_serves_any_length(method, L, truth, error):
    k, skip, u, state = normal(3, 40), normal(3), normal(2, 3, L), normal(2, 3, 39)
    filter_ = prepare_filter(k, length=100, skip=skip, method=method)
    y = fft_conv(u, filter_, state=state)
    expected = truth(u, k, skip=skip, state=state)
    assert (y - expected).abs().max() <= 1e-5
    assert error(fft_conv(u, filter_), truth(u, k, skip=skip)) <= 1e-6 or L == 1


@pytest.mark.parametrize("method", METHODS)
def test_two_sided(method, truth, error):
    k, u, skip = normal(3, 40), normal(2, 3, 100), normal(3)
    filter_ = prepare_filter(k, length=100, skip=skip, right=15, method=method)
    expected = truth(u, k, skip=skip, right=15)
    assert error(fft_conv(u, filter_), expected) <= 1e-6
    assert torch.equal(fft_conv(u, filter_), fft_conv(u, filter_, right=15))


def test_without_history_taps_out_of_reach_are_left_out(truth, error):
    k, u = normal(3, 4000), normal(5, 3, 64)
    filter_ = prepare_filter(k, length=64, history=False, batch=5)
    assert filter_.nbytes < 3000
    assert error(fft_conv(u, filter_), truth(u, k)) <= 1e-6
    assert error(fft_conv(u[..., :30], filter_), truth(u[..., :30], k)) <= 1e-6


def test_changes_of_the_taps_come_too_late():
    k, u = normal(2, 5), normal(1, 2, 30)
    filter_ = prepare_filter(k, length=30)
    before = fft_conv(u, filter_)
    k.zero_()
    assert torch.equal(fft_conv(u, filter_), before)


def test_a_long_filter_keeps_its_taps_only():
    k = torch.zeros(16, 1 << 20)
    filter_ = prepare_filter(k, length=1 << 20)
    assert filter_.plan.method == "partitioned"
    assert filter_.nbytes == k.nbytes


def test_spectra_too_large_to_keep_are_made_anew(monkeypatch, truth, error):
    k, u = normal(6, 900), normal(2, 6, 2000)
    for method in ("overlap_save", "partitioned"):
        kept = fft_conv(u, prepare_filter(k, length=2000, method=method))
        monkeypatch.setattr("genomeconv_kernels.fftconv.prepared._KEPT_BYTES", 0)
        bare = prepare_filter(k, length=2000, method=method)
        assert bare.spectrum is None
        assert torch.equal(fft_conv(u, bare), kept)
        monkeypatch.undo()


def test_takes_the_dtype_of_the_inputs_to_come():
    k, u = normal(2, 5), normal(1, 2, 30)
    half = prepare_filter(k, length=30, dtype=torch.bfloat16)
    assert fft_conv(u.bfloat16(), half).dtype == torch.bfloat16
    double = prepare_filter(k, length=30, dtype=torch.float64)
    assert fft_conv(u.double(), double).dtype == torch.float64
