import json
import os
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import genomeconv
from genomeconv.errors import DataError, InputMissingError, UsageError
from genomeconv.store import OutputWriter, Reader, describe


@pytest.fixture
def made(outputs, plan, tmp_path, small_blocks):
    return outputs.make(tmp_path / "out.h5", plan)


def test_rows(outputs, plan, made):
    X, n_bases = outputs.numbers_of(plan)
    with genomeconv.open(made) as reader:
        assert isinstance(reader, Reader)
        assert reader.n_rows == 85
        assert reader.columns.tolist() == ["dim0", "dim1", "dim2", "dim3"]
        np.testing.assert_array_equal(reader.X[3:9], X[3:9])
        found = reader.rows(70, 85)
        assert len(found) == 15
        np.testing.assert_array_equal(found.X, X[70:])
        assert found.sequence.tolist() == ["chr1"] * 4 + ["a/b"] * 10 + [".."]
        assert found.index[3:5].tolist() == ["chr1:730-735", "a/b:0-10"]
        assert found.start[3:5].tolist() == [730, 0]
        assert found.end[3:5].tolist() == [735, 10]
        assert found.strand.tolist() == ["+"] * 15
        assert found.n_bases.tolist() == n_bases[70:].tolist()
        assert found.name is None
        assert len(reader.rows(5, 5)) == 0
        with pytest.raises(IndexError, match=r"rows 80 to 86: .* has rows 0 to 85"):
            reader.rows(80, 86)


def test_sequences_and_provenance(plan, made):
    with genomeconv.open(made) as reader:
        entry = reader.sequences["a/b"]
        assert list(reader.sequences) == ["chr1", "a/b", ".."]
        assert entry == (95, plan.sequences["md5"][1], 74, 84)
        assert reader.provenance["options"] == {"bin": 10, "region": None}
        assert reader.provenance["versions"] == {"torch": "2.13.0"}
        assert reader.provenance["letters"] == {"A": 5, "N": 3}


@pytest.mark.parametrize(
    ("region", "rows"),
    [
        ("chr1", (0, 74)),
        ("chr1:1-1", (0, 1)),
        ("chr1:1-10", (0, 1)),
        ("chr1:10-11", (0, 2)),
        ("chr1:11-20", (1, 2)),
        ("chr1:735-735", (73, 74)),
        ("chr1:1-735", (0, 74)),
        ("a/b:95-95", (83, 84)),
        ("..:1-4", (84, 85)),
    ],
)
def test_fetch(made, region, rows):
    with genomeconv.open(made) as reader:
        found = reader.fetch(region)
        assert found.index.tolist() == reader.rows(*rows).index.tolist()


@pytest.mark.parametrize("region", ["chrX", "chr1:730-736", "chr1:900-901"])
def test_fetch_outside(made, region):
    with genomeconv.open(made) as reader, pytest.raises(DataError):
        reader.fetch(region)


triples = st.tuples(st.integers(0, 2), st.integers(0, 28), st.integers(1, 12)).map(
    lambda t: (t[0], t[1], min(t[1] + t[2], 30))
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(triples, min_size=1, max_size=12),
    in_order=st.booleans(),
    query=triples,
)
def test_fetch_finds_what_a_scan_finds(outputs, tmp_path, rows, in_order, query):
    rows = sorted(rows) if in_order else rows
    rows += [(code, 0, 30) for code in (0, 1, 2)] if not in_order else []
    names = ["a", "b:1-2", "c"]
    plan = outputs.plan_of(
        outputs.ListRows(names, rows),
        sequences={"length": np.full(3, 30), "md5": ["0" * 32] * 3},
    )
    path = outputs.make(tmp_path / "o.h5", plan, overwrite=True)
    code, start, end = query
    wanted = [
        i for i, (c, a, b) in enumerate(rows) if c == code and a < end and b > start
    ]
    X, _ = outputs.numbers_of(plan)
    with genomeconv.open(path) as reader:
        found = reader.fetch(f"{{{names[code]}}}:{start + 1}-{end}")
    np.testing.assert_array_equal(found.X, X[wanted])
    assert found.start.tolist() == [rows[i][1] for i in wanted]


def test_a_fetch_in_order_does_not_scan(outputs, tmp_path, monkeypatch):
    plan = outputs.plan_of(outputs.binned({"a": 100_000, "b": 100_000}, 1))
    path = outputs.make(tmp_path / "o.h5", plan)
    read = h5py.Dataset.__getitem__
    sizes = []

    def spy(self, key, *args):
        found = read(self, key, *args)
        sizes.append(np.size(found))
        return found

    with genomeconv.open(path) as reader:
        monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
        assert reader.fetch("b:50,000-50,001").start.tolist() == [49_999, 50_000]
    assert max(sizes) < 10
    assert len(sizes) < 80


def test_pandas(outputs, tmp_path):
    rows = outputs.ListRows(["a"], [(0, 0, 5), (0, 2, 9)], ["x", "y"])
    plan = outputs.plan_of(rows, 2)
    X, n_bases = outputs.numbers_of(plan)
    with genomeconv.open(outputs.make(tmp_path / "o.h5", plan)) as reader:
        found = reader.to_pandas()
    wanted = pd.DataFrame(
        {
            "sequence": ["a", "a"],
            "start": [0, 2],
            "end": [5, 9],
            "strand": ["+", "+"],
            "name": ["x", "y"],
            "n_bases": n_bases,
            "dim0": X[:, 0],
            "dim1": X[:, 1],
        },
        index=["a:0-5", "a:2-9"],
    )
    pd.testing.assert_frame_equal(found, wanted, check_dtype=True)


def test_anndata(made):
    wanted = anndata.read_h5ad(made)
    with genomeconv.open(made) as reader:
        found = reader.to_anndata()
        assert anndata.read_h5ad(made).shape == (85, 4)
    np.testing.assert_array_equal(found.X, wanted.X)
    assert found.obs.equals(wanted.obs)
    assert found.var.equals(wanted.var)
    assert str(found.uns) == str(wanted.uns)


def test_a_file_system_without_locks(made, monkeypatch):
    class Unlockable(h5py.File):
        def __init__(self, path, mode, locking=True):
            if locking:
                raise OSError(37, "Unable to lock file: No locks available")
            super().__init__(path, mode, locking=False)

    monkeypatch.setattr("h5py.File", Unlockable)
    with genomeconv.open(made) as reader:
        assert len(reader.fetch("chr1:1-5")) == 1


@pytest.mark.parametrize("module", ["pandas", "anndata"])
def test_what_to_install(made, monkeypatch, module):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with genomeconv.open(made) as reader, pytest.raises(UsageError) as caught:
        getattr(reader, f"to_{module}")()
    assert str(caught.value) == (
        f"{module} is not installed: install it with pip install 'genomeconv[anndata]'"
    )


def test_describe(made):
    found = json.loads(json.dumps(describe(made)))
    assert found.pop("tool_version")
    assert found == {
        "kind": "output",
        "path": str(made),
        "size": made.stat().st_size,
        "rows": 85,
        "columns": 4,
        "dtype": "float32",
        "compression": "none",
        "sequences": 3,
        "bases": 834,
        "tool": "genomeconv",
        "format_version": 1,
        "command": "genomeconv embed genome.fa",
        "options": {"bin": 10, "region": None},
        "model": "tiny",
        "model_sha256": "0" * 64,
        "device": "cpu",
        "created": "2023-11-14T22:13:20Z",
        "row_order": "coordinate",
        "versions": {"torch": "2.13.0"},
        "letters": {"N": 3, "A": 5},
    }


def test_verify(made):
    with genomeconv.open(made) as reader:
        reader.verify()
        chunk = reader.X.id.get_chunk_info_by_coord((32, 0))
        start = reader._file["obs/start"].id.get_offset()
    places = "rows 48 to 64 (coordinates)", "rows 32 to 48 (X)"
    for offset, place in zip((start + 8 * 60, chunk.byte_offset), places, strict=True):
        whole = made.read_bytes()
        data = bytearray(made.read_bytes())
        data[offset] ^= 1
        made.write_bytes(data)
        with genomeconv.open(made) as reader, pytest.raises(DataError) as caught:
            reader.verify()
        assert str(caught.value) == (
            f"{made}: damaged: {place}: make the file again, or take it from a copy"
        )
        made.write_bytes(whole)


def refusal(path, kind=DataError):
    with pytest.raises(kind) as caught:
        genomeconv.open(path)
    return str(caught.value)


def test_what_is_not_an_output(outputs, plan, made, tmp_path):
    assert refusal(tmp_path / "no.h5", InputMissingError) == (
        f"{tmp_path}/no.h5 does not exist: check the path"
    )
    assert refusal(tmp_path, InputMissingError) == (
        f"{tmp_path} is a folder: give an output file"
    )
    text = tmp_path / "text.h5"
    text.write_text(">chr1\nACGT\n")
    assert refusal(text) == (
        f"{text} is not an HDF5 file: give an output of genomeconv"
    )
    short = tmp_path / "short.h5"
    short.write_bytes(made.read_bytes()[:-100])
    assert refusal(short) == (
        f"{short} is cut short, as by an incomplete copy: copy or make it again"
    )
    foreign = tmp_path / "foreign.h5ad"
    anndata.AnnData(np.zeros((2, 2), np.float32)).write_h5ad(foreign)
    assert refusal(foreign) == (
        f"{foreign} is an HDF5 file of another kind: /uns/genomeconv is not there, "
        "give an output of genomeconv"
    )
    with h5py.File(made, "r+") as file:
        file["uns/genomeconv/format_version"][()] = 7
    assert refusal(made) == (
        f"{made} has format version 7, this genomeconv reads up to 1: install a newer "
        "genomeconv"
    )
    other = tmp_path / "other.h5"
    with OutputWriter.open(other, plan):
        assert refusal(tmp_path / "other.h5.partial") == (
            f"{other}.partial is unfinished: run the command that made it again to "
            "finish it"
        )


@pytest.mark.parametrize("missing", ["X", "obs/start", "var", "uns/genomeconv/created"])
def test_a_file_that_lacks_something_is_damaged(made, missing):
    with h5py.File(made, "r+") as file:
        del file[missing]
    if missing == "uns/genomeconv/created":
        genomeconv.open(made).close()
        return
    with pytest.raises(DataError, match="is damaged"), genomeconv.open(made) as reader:
        reader.rows(0, 10)


def test_zstd_without_the_plugin(outputs, plan, tmp_path, monkeypatch):
    path = outputs.make(tmp_path / "o.h5", plan, compress="zstd")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(path, UsageError) == (
        f"{path} is compressed with zstd: install hdf5plugin with pip install "
        "'genomeconv[compression]'"
    )


def test_reading_imports_neither_torch_nor_pandas(made):
    code = (
        "import sys, genomeconv\n"
        f"with genomeconv.open({str(made)!r}) as reader: reader.fetch('chr1:1-5')\n"
        "from genomeconv.store import describe\n"
        f"describe({str(made)!r})\n"
        "sys.exit(bool({'torch', 'pandas', 'anndata'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-P", "-c", code], env=os.environ).returncode
        == 0
    )
