import subprocess
import sys

import anndata
import h5py
import numpy as np
import pytest

import genomeconv
from genomeconv.errors import StorageError
from genomeconv.store import OutputWriter, describe, finalise


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("method", ["gzip", "zstd"])
def test_the_same_numbers_in_fewer_bytes(outputs, tmp_path, method, dtype):
    rows = outputs.binned({"a": 3000}, 1)
    plan = outputs.plan_of(rows, 128, dtype=dtype)
    X = np.repeat(outputs.numbers_of(plan)[0][:30], 100, axis=0).astype(dtype)
    paths = {}
    for compress in ("none", method):
        paths[compress] = tmp_path / f"{compress}.h5"
        with OutputWriter.open(paths[compress], plan, compress=compress) as writer:
            writer.write(0, X.astype(np.float32), np.ones(3000, int))
            writer.finish()
    packed = paths[method]
    assert packed.stat().st_size < 0.5 * paths["none"].stat().st_size
    assert describe(packed)["compression"] == method
    with h5py.File(packed) as file:
        assert file["X"].fletcher32
        assert file["X"].shuffle
        assert file["X"].chunks == (1024, 128) if dtype == "float32" else (2048, 128)
    with genomeconv.open(packed) as reader:
        reader.verify()
    one, two = anndata.read_h5ad(packed), anndata.read_h5ad(paths["none"])
    np.testing.assert_array_equal(one.X, two.X)
    assert one.X.dtype == dtype
    assert one.obs.equals(two.obs)
    assert one.var.equals(two.var)
    assert str(one.uns) == str(two.uns)
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


def test_gzip_needs_no_plugin(outputs, plan, tmp_path):
    path = outputs.make(tmp_path / "o.h5", plan, compress="gzip")
    code = (
        "import sys, h5py\n"
        f"with h5py.File({str(path)!r}) as file: assert file['X'][:].shape == (85, 4)\n"
        "sys.exit('hdf5plugin' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_copy_that_differs_is_not_taken(
    outputs, plan, tmp_path, small_blocks, monkeypatch
):
    """The mutant: one chunk is left out of the copy."""
    path = tmp_path / "o.h5"
    copy = finalise._copy

    def forget(old, new, method, disk):
        copy(old, new, method, disk)
        new["X"][16:32] = 0

    with OutputWriter.open(path, plan, compress="gzip") as writer:
        outputs.fill(writer)
        with monkeypatch.context() as patch:
            patch.setattr(finalise, "_copy", forget)
            with pytest.raises(StorageError, match="rows 16 to 32 read back differ"):
                writer.finish()
        assert not path.exists()
    outputs.make(path, plan, compress="gzip")
    assert list(tmp_path.iterdir()) == [path]
