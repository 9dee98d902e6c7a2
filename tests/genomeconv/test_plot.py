"""Pictures: the numbers under them, and that they are drawn."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv import plot
from genomeconv.errors import DataError, UsageError
from genomeconv.store import OutputPlan, OutputWriter, RowSlice

PNG = b"\x89PNG\r\n\x1a\n"


class Rows:
    """Bins of 1,000 bases of two sequences; `order` shuffles them."""

    sequence_names = ("short/1", "$long$")

    def __init__(self, order=None):
        bins = [(0, i) for i in range(5)] + [(1, i) for i in range(1200)]
        self.bins = np.array(bins)[slice(None) if order is None else order]
        self.n_rows = len(self.bins)

    def slice(self, a, b, /):
        sequence, number = self.bins[a:b].T
        start = 1000 * number
        return RowSlice(
            sequence=sequence.astype(np.int32), start=start, end=start + 1000
        )


def write(path, rows, x):
    plan = OutputPlan(
        rows=rows,
        columns=[f"dim{i}" for i in range(x.shape[1])],
        dtype="float32",
        strand="+",
        sequences={"length": np.array([5000, 1_200_000]), "md5": ["0" * 32] * 2},
        provenance={
            "command": "",
            "options": {},
            "model": "tiny",
            "model_sha256": "0" * 64,
            "device": "cpu",
        },
    )
    with OutputWriter.open(path, plan) as writer:
        writer.write(0, x, np.full(len(x), 1000))
        writer.finish()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(1205, 6)).astype(np.float32)


@pytest.fixture
def output(tmp_path, x):
    write(tmp_path / "out.h5", Rows(), x)
    return tmp_path / "out.h5"


@pytest.mark.parametrize("sequence", [None, "$long$", "short/1"])
def test_a_picture_is_drawn(output, tmp_path, sequence):
    plot.embeddings_along(output, tmp_path / "out.png", sequence)
    picture = (tmp_path / "out.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) > 10_000


def test_an_unknown_sequence_is_named(output, tmp_path):
    with pytest.raises(DataError) as error:
        plot.embeddings_along(output, tmp_path / "out.png", "chr9")
    assert str(error.value) == (
        f"{output}: no sequence 'chr9'; `genomeconv info` says what is there"
    )
    assert not (tmp_path / "out.png").exists()


def test_too_few_rows(tmp_path, x):
    write(tmp_path / "out.h5", Rows(order=[0, 5, 6]), x[:3])
    with pytest.raises(DataError, match=r"'\$long\$' has 2 rows, a picture needs at l"):
        plot.embeddings_along(tmp_path / "out.h5", tmp_path / "out.png", "$long$")


def test_without_matplotlib(monkeypatch, output, tmp_path):
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"install it with pip install 'genomeconv\["):
        plot.embeddings_along(output, tmp_path / "out.png")


def test_the_library_does_not_import_matplotlib_by_itself():
    assert "matplotlib" not in vars(sys.modules["genomeconv.plot"])


@pytest.mark.parametrize(("limit", "group"), [(4096, 1), (100, 12), (1, 1200)])
def test_rows_are_pooled_by_position_whatever_their_order(
    monkeypatch, tmp_path, x, limit, group
):
    import genomeconv

    order = np.random.default_rng(1).permutation(len(x)) if group == 1 else None
    write(tmp_path / "o.h5", Rows(order), x if order is None else x[order])
    monkeypatch.setattr(plot, "MAX_POSITIONS", limit)
    monkeypatch.setattr(plot, "READ_ROWS", 50)
    with genomeconv.open(tmp_path / "o.h5") as reader:
        track = plot._pooled(reader, "$long$")
    expected = x[5:].reshape(-1, group, 6).mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(track.x, expected, atol=1e-5)
    np.testing.assert_array_equal(track.start, 1000 * group * np.arange(len(expected)))
    np.testing.assert_array_equal(track.end, track.start + 1000 * group)
    assert track.rows == 1200


def test_components_are_those_of_the_covariance_matrix():
    generator = np.random.default_rng(2)
    x = (generator.normal(size=(300, 5)) * [9, 5, 3, 1, 0.1]).astype(np.float32)
    scores, shares = plot.principal_components(x, 3)
    values, vectors = np.linalg.eigh(np.cov(x.astype(np.float64).T))
    centred = x - x.mean(axis=0)
    for component in range(3):
        expected = centred @ vectors[:, -1 - component]
        sign = np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(scores[:, component], sign * expected, atol=1e-3)
    np.testing.assert_allclose(shares, values[::-1][:3] / values.sum(), rtol=1e-5)


def test_constant_rows_have_no_components_to_show():
    scores, shares = plot.principal_components(np.ones((4, 3), np.float32), 2)
    assert not scores.any()
    assert not shares.any()


@given(st.integers(1, 40), st.integers(0, 25))
def test_running_mean(length, half):
    values = np.random.default_rng(length).normal(size=(length, 2)).astype(np.float32)
    smooth = plot.running_mean(values, 2 * half + 1)
    for at in range(length):
        window = values[max(0, at - half) : at + half + 1]
        np.testing.assert_allclose(smooth[at], window.mean(axis=0), atol=1e-5)
