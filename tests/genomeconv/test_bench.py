"""The benchmark measures what it says, on anything it is given."""

from __future__ import annotations

import pytest
import torch

from genomeconv import bench


def test_convolution_rows_share_their_columns(monkeypatch) -> None:
    monkeypatch.setattr(bench, "_SECONDS", 0.0)
    monkeypatch.setattr(bench, "_CHANNELS", 2)
    rows = list(bench.convolution_rows(quick=True))
    assert [row["taps"] for row in rows] == [4, 128, 1024, 4096, 16384, 65536, 131072]
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(row["ms"] > 0 and row["speed-up"] > 0 for row in rows)


def test_plan_rows_need_no_gpu_and_name_every_number() -> None:
    rows = list(bench.plan_rows())
    assert all(row.keys() == rows[0].keys() for row in rows)
    for length in bench.PLANNED_LENGTHS:
        taps = [row["taps"] for row in rows if row["length"] == length]
        assert taps == [k for k in bench.PLANNED_TAPS if k < length] + [length]
    assert {row["method"] for row in rows} >= {"short", "toeplitz", "overlap_save"}
    # Two gates, an input and an output of 2 bytes, read and written once at least.
    assert all(row["B per element"] >= 8 for row in rows)
    assert all(row["backward floor ms"] > row["floor ms"] > 0 for row in rows)


def test_plan_rows_take_one_shape() -> None:
    (row,) = bench.plan_rows(lengths=[10_000], taps=[4], channels=3, dtype="float32")
    assert (row["length"], row["taps"], row["method"]) == (10_000, 4, "short")
    assert row["B per element"] == 16 + 4 * 4 / 10_000
    seconds = 10_000 * 3 * row["B per element"] / bench.roofline.H200.bytes_per_s
    assert row["floor ms"] == pytest.approx(1e3 * seconds)


def test_the_baseline_computes_the_same_convolution() -> None:
    u, k = torch.randn(1, 3, 1000), torch.randn(3, 200)
    ours = bench.fft_conv(u, k)
    torch.testing.assert_close(
        bench.full_length_convolution(u, k), ours, rtol=1e-4, atol=1e-4
    )


def test_engine_and_reference_are_measured_on_the_same_model() -> None:
    ours = bench._measure_engine(8, 2, 300, 20_000, "float32", None)
    assert ours["error"] < 1e-5
    assert min(ours["rate"], ours["products"], ours["ratio"], ours["peak"]) > 0
    theirs = bench._measure_reference(8, 2, 4000, None)
    assert min(theirs.values()) > 0
