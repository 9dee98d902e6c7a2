import numpy as np
import pytest

from genomeconv.errors import NonFiniteError
from genomeconv.store import OutputWriter


@pytest.fixture
def both(outputs, plan, small_blocks):
    return outputs.plan_of(plan.rows, strand="both", scratch=True, dtype="float16")


def test_no_scratch_unless_asked(outputs, plan, tmp_path):
    with OutputWriter.open(tmp_path / "o.h5", plan) as writer:
        assert writer.scratch is None


def test_rows_come_back_as_they_were(outputs, both, tmp_path):
    """In float32, whatever the output stores; any range, across blocks."""
    X, _ = outputs.numbers_of(both)
    X *= 1e30
    size = both.block_rows
    assert size == 32
    with OutputWriter.open(tmp_path / "o.h5", both) as writer:
        scratch = writer.scratch
        assert scratch.missing() == [(0, 85)]
        scratch.write(64, X[64:])
        scratch.write(0, X[:32])
        with pytest.raises(ValueError, match="rows 0 to 64 are not all written yet"):
            scratch.read(0, 64)
    with OutputWriter.open(tmp_path / "o.h5", both) as writer:
        scratch = writer.scratch
        assert scratch.done() == [(0, 32), (64, 85)]
        scratch.write(32, X[32:64])
        for a, b in ((0, 85), (31, 33), (5, 6), (10, 84)):
            found = scratch.read(a, b)
            np.testing.assert_array_equal(found, X[a:b])
            assert found.dtype == np.float32
        assert writer.missing() == [(0, 85)]


def test_it_is_removed_at_the_end(outputs, both, tmp_path):
    path = tmp_path / "o.h5"
    with OutputWriter.open(path, both) as writer:
        X, _ = outputs.numbers_of(both)
        writer.scratch.write(0, X)
        assert (tmp_path / "o.h5.scratch").stat().st_size == 85 * 16
        outputs.fill(writer)
        writer.finish()
    assert list(tmp_path.iterdir()) == [path]


def test_it_refuses_what_is_not_finite(outputs, both, tmp_path):
    X, _ = outputs.numbers_of(both)
    X[40, 1] = np.inf
    with OutputWriter.open(tmp_path / "o.h5", both) as writer:
        with pytest.raises(
            NonFiniteError, match="chr1:401-410, column dim1: the model"
        ):
            writer.scratch.write(0, X)
        with pytest.raises(ValueError, match="wanted 4 columns"):
            writer.scratch.write(0, X[:, :3])


def test_a_lost_scratch_is_made_again(outputs, both, tmp_path):
    X, _ = outputs.numbers_of(both)
    with OutputWriter.open(tmp_path / "o.h5", both) as writer:
        writer.scratch.write(0, X[:64])
    (tmp_path / "o.h5.scratch").unlink()
    warned = []
    with OutputWriter.open(tmp_path / "o.h5", both, warn=warned.append) as writer:
        assert writer.scratch.missing() == [(0, 85)]
    assert warned == [
        f"{tmp_path}/o.h5.scratch: 2 damaged blocks of rows, the first 0 to 32, are "
        "computed again"
    ]
