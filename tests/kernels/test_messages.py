"""Refusals: one form, the argument named, nothing computed."""

from __future__ import annotations

import pytest
import torch

import genomeconv_kernels
from genomeconv_kernels import (
    FrequencyMask,
    backend,
    fft_conv,
    plan_conv,
    prepare_filter,
    short_conv,
    sparse_fft_conv,
)
from genomeconv_kernels.launch import record_launches

U, K = torch.zeros(2, 3, 10), torch.zeros(3, 4)
FULL = prepare_filter(K, length=10)
BARE = prepare_filter(K, length=10, history=False)
AHEAD = prepare_filter(K, length=10, right=2)
SIGNAL = "a floating-point tensor of shape (B, H, L), every axis at least 1"
TAPS = "a floating-point tensor of shape (H, K), every axis at least 1"
LIKE = "float32 of shape (B, H, L) = (2, 3, 10) on cpu"
STREAM = (
    "0 together with state or return_state (stream a two-sided filter as a causal one "
    "and read its output {} positions late)"
)

LONG = [
    ({"u": None}, TypeError, f"u must be {SIGNAL}, got None"),
    ({"u": [1.0]}, TypeError, f"u must be {SIGNAL}, got list"),
    (
        {"u": U.long()},
        TypeError,
        f"u must be {SIGNAL}, got int64 of shape (2, 3, 10) on cpu",
    ),
    (
        {"u": U[0]},
        ValueError,
        f"u must be {SIGNAL}, got float32 of shape (3, 10) on cpu",
    ),
    (
        {"u": U[..., :0]},
        ValueError,
        f"u must be {SIGNAL}, got float32 of shape (2, 3, 0) on cpu",
    ),
    (
        {"k": K[:, :0]},
        ValueError,
        f"k must be {TAPS}, got float32 of shape (3, 0) on cpu",
    ),
    ({"k": 1.5}, TypeError, f"k must be {TAPS}, got 1.5"),
    (
        {"k": K[:2]},
        ValueError,
        "k must be float32 of shape (H, K) = (3, 4) on cpu, "
        "got float32 of shape (2, 4) on cpu",
    ),
    (
        {"k": K.double()},
        TypeError,
        "k must be float32 of shape (H, K) = (3, 4) on cpu, "
        "got float64 of shape (3, 4) on cpu",
    ),
    (
        {"u": U.half(), "k": K.bfloat16()},
        TypeError,
        "k must be float16 or float32 of shape (H, K) = (3, 4) on cpu, "
        "got bfloat16 of shape (3, 4) on cpu",
    ),
    (
        {"pre": U[:1]},
        ValueError,
        f"pre must be {LIKE}, got float32 of shape (1, 3, 10) on cpu",
    ),
    ({"post": 2}, TypeError, f"post must be {LIKE}, got 2"),
    (
        {"post": U.to("meta")},
        ValueError,
        f"post must be {LIKE}, got float32 of shape (2, 3, 10) on meta",
    ),
    (
        {"skip": K},
        ValueError,
        "skip must be float32 of shape (H,) = (3,) on cpu, "
        "got float32 of shape (3, 4) on cpu",
    ),
    (
        {"state": U},
        ValueError,
        "state must be float32 of shape (B, H, K-1) = (2, 3, 3) on cpu, "
        "got float32 of shape (2, 3, 10) on cpu",
    ),
    ({"right": 4}, ValueError, "right must be an integer in 0..3, got 4"),
    ({"right": -1}, ValueError, "right must be an integer in 0..3, got -1"),
    ({"right": 1.0}, TypeError, "right must be an integer in 0..3, got 1.0"),
    ({"right": True}, TypeError, "right must be an integer in 0..3, got True"),
    (
        {"right": 2, "state": U[..., :3]},
        ValueError,
        f"right must be {STREAM.format(2)}, got 2",
    ),
    (
        {"k": AHEAD, "return_state": True},
        ValueError,
        f"right must be {STREAM.format(2)}, got 2",
    ),
    (
        {"method": "fft"},
        ValueError,
        "method must be None or one of direct, overlap_save, partitioned, got 'fft'",
    ),
    (
        {"k": FULL, "method": "direct"},
        ValueError,
        "method must be None with a prepared filter, which brings its own, "
        "got 'direct'",
    ),
    (
        {"k": FULL, "skip": K[:, 0]},
        ValueError,
        "skip must be None with a prepared filter, which brings its own, "
        "got float32 of shape (3,) on cpu",
    ),
    (
        {"k": AHEAD, "right": 1},
        ValueError,
        "right must be 0 or the 2 of the prepared filter, got 1",
    ),
    (
        {"k": FULL, "u": U[:, :2]},
        ValueError,
        "k must be a filter prepared for float32, H = 2, cpu, "
        "got float32 of shape (3, 4) on cpu",
    ),
    (
        {"k": FULL, "u": U.double()},
        ValueError,
        "k must be a filter prepared for float64, H = 3, cpu, "
        "got float32 of shape (3, 4) on cpu",
    ),
    (
        {"k": FULL, "u": U.clone().requires_grad_()},
        ValueError,
        "u must be free of gradients with a prepared filter (pass taps instead), "
        "got 'requires_grad=True'",
    ),
    (
        {"k": BARE, "u": torch.zeros(1, 3, 11)},
        ValueError,
        "u must be of at most 10 positions, as the filter was prepared for, "
        "got float32 of shape (1, 3, 11) on cpu",
    ),
    (
        {"k": BARE, "state": U[..., :3]},
        ValueError,
        "state must be left out, the filter being prepared with history=False, "
        "got float32 of shape (2, 3, 3) on cpu",
    ),
    (
        {"k": BARE, "return_state": True},
        ValueError,
        "return_state must be left out, the filter being prepared with history=False, "
        "got True",
    ),
    (
        {"out": U[..., :9]},
        ValueError,
        "out must be a tensor of the shape, dtype and device of u, "
        "got float32 of shape (2, 3, 9) on cpu",
    ),
    (
        {"out": U.double()},
        TypeError,
        "out must be a tensor of the shape, dtype and device of u, "
        "got float64 of shape (2, 3, 10) on cpu",
    ),
    (
        {"out": U},
        ValueError,
        "out must be in memory of its own, not the input's, "
        "got float32 of shape (2, 3, 10) on cpu",
    ),
    (
        {"k": K.clone().requires_grad_(), "out": torch.zeros_like(U)},
        ValueError,
        "out must be None where gradients are wanted, "
        "got float32 of shape (2, 3, 10) on cpu",
    ),
]


@pytest.mark.parametrize(("change", "kind", "message"), LONG, ids=lambda v: str(v)[:40])
def test_fft_conv_refuses(change, kind, message, monkeypatch):
    def compute(*_: object, **__: object) -> None:
        pytest.fail("something was computed")

    monkeypatch.setattr("genomeconv_kernels.fftconv.op.fft_conv_op", compute)
    monkeypatch.setattr("genomeconv_kernels.fftconv.op.run_prepared", compute)
    with pytest.raises(kind) as caught:
        fft_conv(**{"u": U, "k": K, **change})
    assert str(caught.value) == f"fft_conv: {message}"


SHORT = [
    ({"u": 0}, TypeError, f"u must be {SIGNAL}, got 0"),
    ({"w": K[0]}, ValueError, f"w must be {TAPS}, got float32 of shape (4,) on cpu"),
    (
        {"w": torch.zeros(3, 9)},
        ValueError,
        "w must be of at most 8 taps (see fft_conv), "
        "got float32 of shape (3, 9) on cpu",
    ),
    (
        {"bias": K},
        ValueError,
        "bias must be float32 of shape (H,) = (3,) on cpu, "
        "got float32 of shape (3, 4) on cpu",
    ),
    (
        {"state": U[..., :4]},
        ValueError,
        "state must be float32 of shape (B, H, K-1) = (2, 3, 3) on cpu, "
        "got float32 of shape (2, 3, 4) on cpu",
    ),
    (
        {"out": U},
        ValueError,
        "out must be in memory of its own, not the input's, "
        "got float32 of shape (2, 3, 10) on cpu",
    ),
]


@pytest.mark.parametrize(
    ("change", "kind", "message"), SHORT, ids=lambda v: str(v)[:40]
)
def test_short_conv_refuses(change, kind, message):
    with pytest.raises(kind) as caught:
        short_conv(**{"u": U, "w": K, **change})
    assert str(caught.value) == f"short_conv: {message}"


PREPARE = [
    ({"length": 0}, ValueError, "length must be an integer at least 1, got 0"),
    ({"batch": "2"}, TypeError, "batch must be an integer at least 1, got '2'"),
    ({"right": 4}, ValueError, "right must be an integer in 0..3, got 4"),
    (
        {"dtype": torch.int8},
        TypeError,
        "dtype must be a floating-point dtype, got int8",
    ),
    (
        {"method": "best"},
        ValueError,
        "method must be None or one of direct, overlap_save, partitioned, got 'best'",
    ),
]


@pytest.mark.parametrize(
    ("change", "kind", "message"), PREPARE, ids=lambda v: str(v)[:40]
)
def test_prepare_filter_refuses(change, kind, message):
    with pytest.raises(kind) as caught:
        prepare_filter(K, **{"length": 10, **change})
    assert str(caught.value) == f"prepare_filter: {message}"


BAND = FrequencyMask.low_pass(256, 1)
SPARSE = [
    (
        {"u": U[0]},
        ValueError,
        f"u must be {SIGNAL}, got float32 of shape (3, 10) on cpu",
    ),
    (
        {"k": K[:, :0]},
        ValueError,
        f"k must be {TAPS}, got float32 of shape (3, 0) on cpu",
    ),
    (
        {"k": K.to("meta")},
        ValueError,
        "k must be float32 of shape (H, K) = (3, 4) on cpu, "
        "got float32 of shape (3, 4) on meta",
    ),
    ({"mask": [[True]]}, TypeError, "mask must be a FrequencyMask, got list"),
    (
        {"pre": U.long()},
        TypeError,
        f"pre must be {LIKE}, got int64 of shape (2, 3, 10) on cpu",
    ),
    ({"right": 4}, ValueError, "right must be an integer in 0..3, got 4"),
    (
        {"k": torch.zeros(3, 250)},
        ValueError,
        "k must be of fewer taps, for windows of F = 256 positions to have room for 16 "
        "outputs, got float32 of shape (3, 250) on cpu",
    ),
    (
        {"circular": True},
        ValueError,
        "u must be of F = 256 positions where circular, "
        "got float32 of shape (2, 3, 10) on cpu",
    ),
    (
        {"u": torch.zeros(1, 3, 256), "k": torch.zeros(3, 257), "circular": True},
        ValueError,
        "k must be of at most F = 256 taps, got float32 of shape (3, 257) on cpu",
    ),
]


@pytest.mark.parametrize(
    ("change", "kind", "message"), SPARSE, ids=lambda v: str(v)[:40]
)
def test_sparse_fft_conv_refuses(change, kind, message, monkeypatch):
    def compute(*_: object) -> None:
        pytest.fail("something was computed")

    place = "genomeconv_kernels.fftconv.sparse_op.sparse_fft_conv_op"
    monkeypatch.setattr(place, compute)
    with pytest.raises(kind) as caught:
        sparse_fft_conv(**{"u": U, "k": K, "mask": BAND, **change})
    assert str(caught.value) == f"sparse_fft_conv: {message}"


MASK = [
    (
        {"fft_size": 300},
        ValueError,
        "fft_size must be one of 256, 512, 1024, 2048, 4096, got 300",
    ),
    (
        {"fft_size": 256.0},
        TypeError,
        "fft_size must be an integer at least 1, got 256.0",
    ),
    (
        {"kept": [[True]]},
        TypeError,
        "kept must be 1 tuples of 2 bools for F = 512, got list",
    ),
    (
        {"kept": ((1, 0),)},
        TypeError,
        "kept must be 1 tuples of 2 bools for F = 512, got tuple",
    ),
    (
        {"kept": ((True,), (False,))},
        ValueError,
        "kept must be 1 tuples of 2 bools for F = 512, got '((True,), (False,))'",
    ),
]


@pytest.mark.parametrize(("change", "kind", "message"), MASK, ids=lambda v: str(v)[:40])
def test_a_frequency_mask_refuses(change, kind, message):
    with pytest.raises(kind) as caught:
        FrequencyMask(**{"fft_size": 512, "kept": ((True, False),), **change})
    assert str(caught.value) == f"FrequencyMask: {message}"


REFUSALS = [
    *((fft_conv, {"u": U, "k": K, **change}) for change, _, _ in LONG),
    *((short_conv, {"u": U, "w": K, **change}) for change, _, _ in SHORT),
    *((sparse_fft_conv, {"u": U, "k": K, "mask": BAND, **c}) for c, _, _ in SPARSE),
]


def test_nothing_is_launched_on_bad_arguments():
    """All refusals above, on the path of the kernels."""
    with backend.forced("triton"), record_launches() as launches:
        for call, given in REFUSALS:
            with pytest.raises((TypeError, ValueError), match=f"^{call.__name__}: "):
                call(**given)
        assert launches == []
        fft_conv(U, K)
    assert launches


def test_plan_conv_refuses():
    with pytest.raises(
        ValueError, match=r"^plan_conv: K must be an integer at least 1, got 0$"
    ):
        plan_conv(1, 1, 1, 0)


def test_public_names():
    assert {
        "ConvPlan",
        "FrequencyMask",
        "PreparedFilter",
        "fft_conv",
        "fft_conv_reference",
        "plan_conv",
        "prepare_filter",
        "short_conv",
        "short_conv_reference",
        "sparse_fft_conv",
    } <= set(genomeconv_kernels.__all__)
