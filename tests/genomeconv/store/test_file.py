"""What is in a file: read with anndata and with h5py alone, never with our reader."""

import json
import unicodedata
import zlib

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import genomeconv
from genomeconv.store import OutputWriter, RowSlice


@pytest.fixture
def made(outputs, plan, tmp_path, small_blocks):
    return outputs.make(tmp_path / "out.h5", plan)


@pytest.mark.parametrize("backed", [None, "r"])
def test_anndata_reads_it_without_a_warning(outputs, plan, made, backed):
    data = anndata.read_h5ad(made, backed=backed)
    X, n_bases = outputs.numbers_of(plan)
    np.testing.assert_array_equal(data.X[:], X)
    triples = plan.rows.triples
    names = [plan.rows.sequence_names[code] for code, _, _ in triples]
    assert list(data.obs_names) == [
        f"{name}:{a}-{b}" for name, (_, a, b) in zip(names, triples, strict=True)
    ]
    assert list(data.obs.columns) == ["sequence", "start", "end", "strand", "n_bases"]
    assert list(data.obs["sequence"]) == names
    assert list(data.obs["sequence"].cat.categories) == ["chr1", "a/b", ".."]
    assert data.obs["start"].tolist() == [a for _, a, _ in triples]
    assert data.obs["end"].tolist() == [b for _, _, b in triples]
    assert set(data.obs["strand"]) == {"+"}
    assert data.obs["n_bases"].tolist() == n_bases.tolist()
    assert list(data.var_names) == ["dim0", "dim1", "dim2", "dim3"]
    assert data.X.dtype == np.float32
    for part in (data.obsm, data.varm, data.obsp, data.varp, data.layers):
        assert len(part) == 0
    if backed:
        data.file.close()


def test_provenance(plan, made):
    uns = anndata.read_h5ad(made).uns
    assert list(uns) == ["genomeconv"]
    found = uns["genomeconv"]
    sequences, checksums = found.pop("sequences"), found.pop("checksums")
    assert json.loads(found.pop("options")) == {"bin": 10, "region": None}
    assert found.pop("tool_version")
    assert found == {
        "format_version": 1,
        "tool": "genomeconv",
        "command": "genomeconv embed genome.fa",
        "model": "tiny",
        "model_sha256": "0" * 64,
        "device": "cpu",
        "dtype": "float32",
        "created": "2023-11-14T22:13:20Z",
        "status": "complete",
        "row_order": "coordinate",
        "versions": {"torch": "2.13.0"},
        "letters": {"N": 3, "A": 5},
    }
    assert sequences.index.tolist() == ["chr1", "a/b", ".."]
    assert sequences["length"].tolist() == [735, 95, 4]
    assert sequences["md5"].tolist() == plan.sequences["md5"]
    assert sequences["row_start"].tolist() == [0, 74, 84]
    assert sequences["row_stop"].tolist() == [74, 84, 85]
    assert checksums["row_start"].tolist() == [0, 16, 32, 48, 64, 80]
    assert checksums["row_stop"].tolist() == [16, 32, 48, 64, 80, 85]


def test_checksums_are_those_of_the_stored_bytes(made):
    with h5py.File(made) as file:
        sums = file["uns/genomeconv/checksums"]
        for i, a in enumerate(range(0, 85, 16)):
            rows = slice(a, a + 16)
            assert sums["X"][i] == zlib.crc32(file["X"][rows].tobytes())
            n_bases = file["obs/n_bases"][rows].tobytes()
            assert sums["n_bases"][i] == zlib.crc32(n_bases)
            coordinates = b"".join(
                file[f"obs/{name}"][rows].tobytes()
                for name in ("sequence/codes", "start", "end")
            )
            assert sums["coordinates"][i] == zlib.crc32(coordinates)


def test_every_node_is_encoded_as_anndata_does(made, tmp_path):
    """The reference is the same object, written by anndata itself."""
    again = tmp_path / "again.h5ad"
    data = anndata.read_h5ad(made)
    data.write_h5ad(again)
    encodings = {}
    for path in (made, again):
        with h5py.File(path) as file:
            nodes = {"/": file}
            file.visititems(nodes.__setitem__)
            encodings[path] = {
                name: (node.attrs["encoding-type"], node.attrs["encoding-version"])
                for name, node in nodes.items()
            }
    assert encodings[made] == encodings[again]


def test_storage_layout(made):
    with h5py.File(made) as file:
        x = file["X"]
        assert x.chunks == (16, 4)
        assert x.compression is None
        assert not x.fletcher32
        settings = x.id.get_create_plist()
        assert settings.get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
        assert h5py.h5a.open(file.id, b"encoding-type").get_type().is_variable_str()


def test_ordinary_blocks_are_of_a_quarter_to_one_mebibyte(outputs, tmp_path):
    plan = outputs.plan_of(outputs.binned({"a": 9000}, 1), 128)
    with h5py.File(outputs.make(tmp_path / "o.h5", plan)) as file:
        assert file["X"].chunks == (1024, 128)


def test_equal_runs_make_equal_bytes(outputs, plan, made, tmp_path):
    """Also when the blocks come in another order, several of them a call."""
    X, n_bases = outputs.numbers_of(plan)
    other = tmp_path / "other.h5"
    with OutputWriter.open(other, plan) as writer:
        for a, b in ((48, 85), (16, 48), (0, 16)):
            writer.write(a, X[a:b], n_bases[a:b])
        writer.finish()
    assert other.read_bytes() == made.read_bytes()


def test_float16_is_rounded_as_numpy_does(outputs, plan, tmp_path):
    half = outputs.plan_of(plan.rows, dtype="float16")
    path = outputs.make(tmp_path / "half.h5", half)
    X, _ = outputs.numbers_of(half)
    found = anndata.read_h5ad(path).X
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, X.astype(np.float16))


@pytest.mark.parametrize(("strand", "stored"), [("+", "+"), ("-", "-"), ("both", ".")])
def test_strand(outputs, plan, tmp_path, strand, stored):
    path = outputs.make(tmp_path / "out.h5", outputs.plan_of(plan.rows, strand=strand))
    column = anndata.read_h5ad(path).obs["strand"]
    assert set(column) == {stored}
    assert list(column.cat.categories) == ["+", "-", "."]


NAMES = [
    "HLA/DRB1*12:17",
    "HLA",
    ".",
    "..",
    "/abs",
    "./c",
    "a/./d",
    "a//b",
    "with space",
    "tab\there",
    "x" * 70_000,
    unicodedata.normalize("NFC", "café"),
    unicodedata.normalize("NFD", "café"),
    "染色体1",
    "chr1:0-5",
]


def test_names_are_data(outputs, tmp_path):
    plan = outputs.plan_of(outputs.binned(dict.fromkeys(NAMES, 5), 5))
    path = outputs.make(tmp_path / "out.h5", plan)
    data = anndata.read_h5ad(path)
    assert list(data.obs["sequence"]) == NAMES
    assert list(data.uns["genomeconv"]["sequences"].index) == NAMES
    with h5py.File(path) as file:
        stored = file["uns/genomeconv/sequences/name"][:].tolist()
        assert stored == [name.encode() for name in NAMES]
        assert set(file) == {
            *("X", "obs", "var", "uns", "layers", "obsm", "obsp", "varm", "varp")
        }


def test_region_names_are_kept_and_labels_made_unique(outputs, tmp_path):
    triples = [(1, 5, 9), (0, 0, 4), (1, 5, 9), (1, 5, 9), (0, 0, 4), (0, 2, 4)]
    labels = ["", "peak/2", "x", "x", "é", "z"]
    rows = outputs.ListRows(["a", "b"], triples, labels)
    data = anndata.read_h5ad(outputs.make(tmp_path / "o.h5", outputs.plan_of(rows)))
    assert list(data.obs_names) == [
        *("b:5-9", "a:0-4", "b:5-9-1", "b:5-9-2", "a:0-4-1", "a:2-4")
    ]
    plain = pd.Index([f"{'ab'[c]}:{a}-{b}" for c, a, b in triples])
    assert list(anndata.utils.make_index_unique(plain)) == list(data.obs_names)
    assert list(data.obs.columns)[4:] == ["name", "n_bases"]
    assert list(data.obs["name"]) == labels
    assert data.uns["genomeconv"]["row_order"] == "input"
    sequences = data.uns["genomeconv"]["sequences"]
    assert sequences["row_start"].tolist() == [1, 0]
    assert sequences["row_stop"].tolist() == [6, 4]


@pytest.mark.parametrize("slice_rows", [1, 2, 3, 5, 64])
@pytest.mark.parametrize(
    ("triples", "order"),
    [
        ([(0, 0, 5), (0, 5, 9), (1, 0, 5)], "coordinate"),
        ([(1, 0, 5), (0, 0, 5)], "coordinate"),
        ([(0, 0, 5), (0, 0, 5), (0, 3, 9)], "coordinate"),
        ([(0, 5, 9), (0, 0, 5)], "input"),
        ([(0, 0, 9), (0, 1, 5)], "input"),
        ([(0, 0, 5), (1, 0, 5), (0, 5, 9)], "input"),
    ],
)
def test_order_and_labels_do_not_depend_on_slices(
    outputs, tmp_path, monkeypatch, slice_rows, triples, order
):
    monkeypatch.setattr("genomeconv.store.plan.SLICE_ROWS", slice_rows)
    plan = outputs.plan_of(outputs.ListRows(["a", "b"], triples))
    data = anndata.read_h5ad(outputs.make(tmp_path / "o.h5", plan))
    assert data.uns["genomeconv"]["row_order"] == order
    assert data.obs_names.is_unique
    assert data.obs["start"].tolist() == [a for _, a, _ in triples]
    own = data.uns["genomeconv"]["sequences"].loc["a"]
    mine = [row for row, (code, _, _) in enumerate(triples) if code == 0]
    assert (own["row_start"], own["row_stop"]) == (mine[0], mine[-1] + 1)


def test_rows_in_order_are_never_held(outputs, monkeypatch, tmp_path):
    """Labels are remembered only once a row is out of order."""
    from genomeconv.store import coordinates

    kept = []
    original = coordinates._UniqueLabels.__call__

    def spy(self, a, part):
        found = original(self, a, part)
        kept.append(self._seen)
        return found

    monkeypatch.setattr("genomeconv.store.plan.SLICE_ROWS", 7)
    monkeypatch.setattr(coordinates._UniqueLabels, "__call__", spy)
    plan = outputs.plan_of(outputs.binned({"a": 300, "b": 50}, 1))
    outputs.make(tmp_path / "out.h5", plan)
    assert kept == [None] * 50


def test_many_sequences_take_wider_codes(outputs, tmp_path):
    plan = outputs.plan_of(outputs.binned({f"s{i}": 1 for i in range(200)}, 1))
    path = outputs.make(tmp_path / "o.h5", plan)
    with h5py.File(path) as file:
        assert file["obs/sequence/codes"].dtype == np.int16
    assert list(anndata.read_h5ad(path).obs["sequence"])[199] == "s199"


def test_labels_may_be_given(outputs, tmp_path):
    class Labelled(outputs.ListRows):
        def slice(self, a, b, /):
            part = super().slice(a, b)
            names = [f"row {i}" for i in range(a, b)]
            return RowSlice(**{**vars(part), "index": names})

    plan = outputs.plan_of(Labelled(["a"], [(0, 0, 5), (0, 5, 9)]))
    data = anndata.read_h5ad(outputs.make(tmp_path / "o.h5", plan))
    assert list(data.obs_names) == ["row 0", "row 1"]


def test_any_plain_value_can_be_provenance(outputs, plan, tmp_path):
    extra = {
        "none": None,
        "flag": True,
        "count": 3,
        "rate": 0.5,
        "words": ["a/b", "ü"],
        "numbers": np.arange(3),
        "deep": {"er": {"still": "x"}},
    }
    given = {**plan.provenance, **extra}
    path = outputs.make(tmp_path / "o.h5", outputs.plan_of(plan.rows, provenance=given))
    found = anndata.read_h5ad(path).uns["genomeconv"]
    assert "none" not in found
    assert found["flag"] == True  # noqa: E712 - a numpy bool
    assert (found["count"], found["rate"], found["deep"]) == (3, 0.5, extra["deep"])
    assert found["words"].tolist() == ["a/b", "ü"]
    assert found["numbers"].tolist() == [0, 1, 2]
    with genomeconv.open(path) as reader:
        assert reader.provenance["words"] == ["a/b", "ü"]
        assert reader.provenance["numbers"] == [0, 1, 2]
        assert reader.provenance["flag"] is True
