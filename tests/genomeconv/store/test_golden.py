"""Files of every released format version stay readable; no script makes them again."""

import hashlib
from importlib.resources import as_file, files

import anndata
import numpy as np
import pytest

import genomeconv

SHA256 = "ded8b1dc86f9de6ef6262f4a7f415561a6fc302e68e56ed66e256ebbbd9a85f8"
X = np.array(
    [
        [-1.0, -0.875, -0.75],
        [-0.625, -0.5, -0.375],
        [-0.25, -0.125, 0.0],
        [0.125, 0.25, 0.375],
        [0.5, 0.625, 0.75],
        [0.875, 1.0, 1.125],
        [1.25, 1.375, 1.5],
    ],
    np.float32,
)
HLA = "HLA/DRB1*12:17"


@pytest.fixture
def golden():
    source = files("genomeconv_data") / "golden" / "embeddings-v1.h5"
    with as_file(source) as path:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
        yield path


def test_version_1_with_our_reader(golden):
    with genomeconv.open(golden) as reader:
        reader.verify()
        assert reader.n_rows == 7
        assert reader.columns.tolist() == ["dim0", "dim1", "dim2"]
        assert list(reader.sequences) == ["chr1", HLA, "é 1"]
        md5 = "0cc175b9c0f1b6a831c399e269772661"
        assert reader.sequences[HLA] == (13, md5, 3, 6)
        found = reader.rows(0, 7)
        np.testing.assert_array_equal(found.X, X)
        assert found.sequence.tolist() == ["chr1"] * 3 + [HLA] * 3 + ["é 1"]
        assert found.start.tolist() == [0, 8, 16, 0, 8, 0, 0]
        assert found.end.tolist() == [8, 16, 20, 8, 13, 8, 3]
        assert found.strand.tolist() == ["."] * 7
        assert found.n_bases.tolist() == [8, 7, 4, 0, 5, 8, 3]
        assert found.name.tolist() == ["a", "b", "c/d", "", "é", "a", "last"]
        assert found.index[3:6].tolist() == [
            *(f"{HLA}:0-8", f"{HLA}:8-13", f"{HLA}:0-8-1")
        ]
        rows = reader.fetch(f"{{{HLA}}}:1-8")
        np.testing.assert_array_equal(rows.X, X[[3, 5]])
        assert {**reader.provenance, "tool_version": ""} == {
            "format_version": 1,
            "tool": "genomeconv",
            "tool_version": "",
            "command": "genomeconv embed genome.fa --bed regions.bed",
            "options": {"bin": 8, "bed": "regions.bed"},
            "model": "golden",
            "model_sha256": "ab" * 32,
            "device": "cpu",
            "dtype": "float32",
            "created": "2023-11-14T22:13:20Z",
            "status": "complete",
            "row_order": "input",
            "versions": {"torch": "2.13.0"},
        }


@pytest.mark.parametrize("backed", [None, "r"])
def test_version_1_with_anndata(golden, backed):
    data = anndata.read_h5ad(golden, backed=backed)
    np.testing.assert_array_equal(data.X[:], X)
    assert data.obs["name"].tolist() == ["a", "b", "c/d", "", "é", "a", "last"]
    assert data.uns["genomeconv"]["status"] == "complete"
    if backed:
        data.file.close()
