import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.errors import DataError
from genomeconv.store import predicted_bytes
from genomeconv.store.schema import rows_per_block


@given(
    rows=st.integers(1, 10**9),
    columns=st.integers(1, 10**6),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_a_block_is_a_power_of_two_that_fits(rows, columns, dtype):
    found = rows_per_block(rows, columns, dtype)
    size = columns * (4 if dtype == "float32" else 2)
    if found < rows:
        assert found & (found - 1) == 0
        assert found == 1 or found * size <= 2**19
        assert 2 * found * size > 2**19
    else:
        assert found == rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int8"}, "dtype: wanted one of float32, float16, got 'int8'"),
        ({"strand": "."}, "strand: wanted +, - or both, got '.'"),
        ({"sequences": {"length": [1]}}, "sequences: column 'md5' is missing"),
        (
            {"sequences": {"length": [1], "md5": ["a"]}},
            "sequences: column 'length' has 1 entries for 3 sequences",
        ),
        ({"provenance": {}}, "provenance: 'command' is missing"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(outputs, changes, message):
    rows = outputs.binned({"a": 10, "b": 10, "c": 10}, 10)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        outputs.plan_of(rows, **changes)
    assert str(caught.value) == message


def test_reserved_provenance_is_refused(outputs, plan):
    given_ = {**plan.provenance, "status": "complete"}
    with pytest.raises(ValueError, match="'status' is the writer's to fill"):
        outputs.plan_of(plan.rows, provenance=given_)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", ""], "sequence 2 has an empty name: give it one"),
        (
            ["nul\0byte"],
            "sequence 1: the name 'nul\\x00byte' holds a NUL byte, which HDF5 strings "
            "cannot: rename it",
        ),
        (
            ["caf\udce9"],
            "sequence 1: the name 'caf\\udce9' is not valid UTF-8: rename it",
        ),
        (
            ["a", "b", "a"],
            "sequence 3 has the name 'a', which an earlier one has too: names have to "
            "differ",
        ),
    ],
    ids=["empty", "NUL", "latin-1", "twice"],
)
def test_names_that_cannot_be_stored_are_refused(outputs, names, message):
    with pytest.raises(DataError) as caught:
        outputs.plan_of(outputs.ListRows(names, [(0, 0, 5)]))
    assert str(caught.value) == message


@pytest.mark.parametrize("columns", [1, 128])
@pytest.mark.parametrize("size", [1, 1000])
def test_the_size_predicted_is_the_size_used(outputs, tmp_path, columns, size):
    plan = outputs.plan_of(
        outputs.binned({"chr1": 30 * size, "x" * 300: 3000 * size}, size), columns
    )
    used = outputs.make(tmp_path / "out.h5", plan).stat().st_size
    assert used <= predicted_bytes(plan) <= 1.5 * used + 400_000
    both = outputs.plan_of(plan.rows, columns, strand="both", scratch=True)
    scratch = np.prod(both.shape) * 4
    assert predicted_bytes(both) == predicted_bytes(plan) + scratch
    assert predicted_bytes(plan, "gzip") > predicted_bytes(plan) + scratch
