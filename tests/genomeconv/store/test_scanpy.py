import warnings

import numpy as np
import pytest


@pytest.mark.slow
def test_scanpy_works_on_an_output(outputs, tmp_path):
    try:
        import scanpy
    except ImportError:
        pytest.fail("scanpy is not installed: `make test-slow` installs it")
    plan = outputs.plan_of(outputs.binned({"a": 900, "b": 300}, 5), 16)
    data = scanpy.read_h5ad(outputs.make(tmp_path / "o.h5", plan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy's own, of its dependencies
        scanpy.pp.neighbors(data, n_neighbors=5, use_rep="X")
    assert data.obsp["distances"].shape == (240, 240)
    assert np.isfinite(data.obsp["connectivities"].data).all()
