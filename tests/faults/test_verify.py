"""`genomeconv verify` finds every damage, and no file brings a reader down."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import zlib
from collections import Counter
from importlib.resources import files
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import genomeconv as library
from genomeconv.errors import DataError, GenomeconvError
from genomeconv.store import apart, schema
from genomeconv.store.apart import Child
from genomeconv.store.verify import verify

BASES = "".join(Random(8).choices("ACGT", k=2400))
BED = "".join(
    f"{name}\t{a}\t{a + 10}\tsite {a}\n"
    for name, length in (("one", 1500), ("two/2", 900))
    for a in range(0, length, 10)
)
ROWS = 240
FEW = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An output of 240 named rows in 15 blocks."""
    from genomeconv_cli.main import run

    folder = tmp_path_factory.mktemp("verify")
    fasta, bed, out = folder / "x.fa", folder / "x.bed", folder / "out.h5"
    fasta.write_text(f">one\n{BASES[:1500]}\n>two/2\n{BASES[1500:]}\n")
    bed.write_text(BED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "BLOCK_BYTES", 16 * 128 * 4)
        words = ["embed", fasta, "--bed", bed, "-o", out, "--layer", "0", "-q"]
        assert run([str(word) for word in words]) == 0
    return out


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copy(whole, tmp_path / "copy.h5"))


@pytest.fixture(scope="module")
def child():
    with Child(silence=10) as child:
        yield child


def test_a_whole_file(genomeconv, whole):
    outcome = genomeconv("verify", whole)
    assert (outcome.code, outcome.err) == (0, "")
    fields = dict(line.split("  ", 1) for line in outcome.out.splitlines())
    assert {key: value.strip() for key, value in fields.items()} == {
        "whole": "yes",
        "kind": "output",
        "path": str(whole),
        "format version": "1",
        "rows": "240",
        "columns": "128",
        "blocks": "15",
        "size": f"{whole.stat().st_size:,}",
        "compression": "none",
        "checked": "all values",
    }
    facts = json.loads(genomeconv("verify", whole, "--json").out)
    assert (facts["whole"], facts["rows"], facts["beside"]) == (True, ROWS, [])


def places(path: Path) -> dict[str, list[tuple[int, int, int, int]]]:
    """Where the rows are: first byte, bytes, first row, bytes a row; by dataset."""
    found: dict[str, list[tuple[int, int, int, int]]] = {"texts": []}
    with h5py.File(path) as file:
        x = file["X"]
        row = x.shape[1] * x.dtype.itemsize
        chunks = [x.id.get_chunk_info(i) for i in range(x.id.get_num_chunks())]
        found["X"] = [
            (info.byte_offset, info.size, info.chunk_offset[0], row) for info in chunks
        ]
        for name in (*("n_bases", "start", "end"), "sequence/codes", "strand/codes"):
            numbers = file[f"obs/{name}"]
            width = numbers.dtype.itemsize
            found[name] = [(numbers.id.get_offset(), ROWS * width, 0, width)]
        for name in ("_index", "name"):  # 16 bytes a row that point to the text
            at = file[f"obs/{name}"].id.get_offset()
            found[name] = [(at, 16 * ROWS, 0, 16)]
            for row in range(ROWS):
                found["texts"].append((*heap_text(path, at + 16 * row), row, 1000))
    return found


@pytest.fixture(scope="module")
def table(whole):
    return places(whole)


def heap_text(path: Path, at: int) -> tuple[int, int]:
    """First byte and length of the text that the reference at byte `at` points to."""
    data = path.read_bytes()
    length, heap, index = struct.unpack_from("<IQI", data, at)
    item = heap + 16
    while (found := struct.unpack_from("<HHIQ", data, item))[0] != index:
        item += 16 + -(-found[3] // 8) * 8
    return item + 16, length


@FEW
@given(data=st.data())
def test_every_flipped_bit_of_the_rows_is_found(whole, table, tmp_path, child, data):
    spans = table[data.draw(st.sampled_from(sorted(table)))]
    assert len(table) == 9
    first, size, row, width = data.draw(st.sampled_from(spans))
    byte = data.draw(st.integers(0, size - 1))
    row += byte // width
    damaged = bytearray(whole.read_bytes())
    damaged[first + byte] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "damaged.h5"
    path.write_bytes(damaged)
    with pytest.raises(DataError) as caught:
        child.ask("verify", path)
    text = str(caught.value)
    a, b = row // 16 * 16, min(row // 16 * 16 + 16, ROWS)
    assert f"rows {a} to {b} (" in text or "crashed" in text


def contents(path: Path) -> dict[str, object]:
    with library.open(path) as reader:
        rows = reader.rows(0, reader.n_rows)
        return {
            **{name: np.asarray(value).tolist() for name, value in vars(rows).items()},
            "provenance": reader.provenance,
            "sequences": reader.sequences,
        }


@FEW
@given(place=st.integers(0, 1 << 40), bit=st.integers(0, 7))
def test_what_is_verified_is_what_was_written(whole, tmp_path, child, place, bit):
    """Any bit of the file, HDF5's own too: it is noticed or makes no difference."""
    data = bytearray(whole.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path = tmp_path / "damaged.h5"
    path.write_bytes(data)
    try:
        child.ask("verify", path)
    except GenomeconvError:
        return
    assert contents(path) == contents(whole)


def test_several_damages_are_named_together(genomeconv, copy):
    with h5py.File(copy, "r+") as file:
        file["X"][[5, 50, 100, 150, 200, 239], 0] = 7
        file["obs/n_bases"][20] = 1
    outcome = genomeconv("verify", copy)
    assert outcome.code == 65
    assert outcome.err == (
        f"genomeconv: error: {copy}: damaged: rows 0 to 16 (X), rows 16 to 32 "
        "(n_bases), rows 48 to 64 (X), rows 96 to 112 (X), rows 144 to 160 (X), 2 more "
        "places: make the file again, or take it from a copy\n"
    )
    outcome = genomeconv("verify", copy, "--json")
    assert outcome.code == 65
    assert json.loads(outcome.out)["whole"] is False


def test_a_number_that_is_not_finite(genomeconv, copy):
    """Also where a checksum vouches for it."""
    with h5py.File(copy, "r+") as file:
        file["X"][17, 3] = np.nan
        crc = zlib.crc32(file["X"][16:32].data)
        file[f"{schema.CHECKSUMS}/X"][1] = crc
    outcome = genomeconv("verify", copy)
    assert (outcome.code, outcome.out) == (65, "")
    assert "damaged: rows 16 to 32 (X: not finite): make" in outcome.err


def test_names_and_provenance_are_covered(copy):
    changes = {
        "obs/sequence/categories": lambda node: node.__setitem__(0, b"two"),
        "uns/genomeconv/model": lambda node: node.__setitem__((), b"other"),
        "uns/genomeconv/sequences/md5": lambda node: node.__setitem__(1, b"0"),
        "var/_index": lambda node: node.__setitem__(0, b"dim9"),
        "obs": lambda node: node.attrs.__setitem__("_index", "start"),
    }
    before = copy.read_bytes()
    for name, change in changes.items():
        with h5py.File(copy, "r+") as file:
            change(file[name])
        with pytest.raises(DataError, match=rf"rows 0 to 240 \({name}\)"):
            verify(copy)
        copy.write_bytes(before)


def unfinished(path: Path) -> str:
    path.rename(f"{path}.partial")
    return (
        rf"{path} is not finished: {path}\.partial is an unfinished run, run the same "
        "command again to finish it"
    )


def work_in_progress(path: Path) -> str:
    with h5py.File(path, "r+") as file:
        file[schema.STATUS][()] = schema.UNFINISHED
    return f"{path} is unfinished: run the command that made it again to finish it"


def of_the_future(path: Path) -> str:
    with h5py.File(path, "r+") as file:
        file[f"{schema.UNS}/format_version"][()] = 2
    return (
        f"{path} has format version 2, this genomeconv reads up to 1: install a newer"
    )


def cut_short(path: Path) -> str:
    os.truncate(path, path.stat().st_size - 1)
    return f"{path} is cut short, as by an incomplete copy: copy or make it again"


def other_table(path: Path) -> str:
    with h5py.File(path, "r+") as file:
        file[f"{schema.CHECKSUMS}/row_stop"][3] = 70
    return rf"{path} is damaged \(/uns/genomeconv/checksums/row_stop does not fit X\)"


def other_type(path: Path) -> str:
    with h5py.File(path, "r+") as file:
        numbers = file["X"][:]
        del file["X"]
        file.create_dataset("X", data=numbers.astype(">f4"), chunks=(16, 128))
    return f"{path} is damaged: /X is >f4, not the float32 it says"


def text(path: Path) -> str:
    path.write_text(">chr1\nACGT\n")
    return f"{path} is not an HDF5 file: give an output of genomeconv"


@pytest.mark.parametrize(
    "change",
    [
        *(unfinished, work_in_progress, of_the_future, cut_short, other_table),
        *(other_type, text),
    ],
    ids=lambda change: change.__name__,
)
def test_what_is_not_whole(genomeconv, copy, change):
    message = change(copy)
    outcome = genomeconv("verify", copy)
    assert (outcome.code, outcome.out) == (65, "")
    assert outcome.err.count("\n") == 1
    assert re.search(f"^genomeconv: error: {message}", outcome.err), outcome.err


def test_a_missing_file(genomeconv, tmp_path):
    outcome = genomeconv("verify", tmp_path / "no.h5")
    assert outcome.code == 66
    assert outcome.err == (
        f"genomeconv: error: {tmp_path}/no.h5 does not exist: check the path\n"
    )


def test_a_journal_beside_it_is_said(genomeconv, copy):
    journal = copy.with_name("copy.h5.journal")
    journal.write_text("x")
    outcome = genomeconv("verify", copy)
    assert outcome.code == 0
    assert outcome.err == (
        f"genomeconv: warning: beside the file lie {journal}: those of a run that is "
        "going to replace it, or of one that was killed\n"
    )


@pytest.mark.parametrize("method", ["gzip", "zstd"])
def test_compressed_files(genomeconv, whole, tmp_path, method):
    """Packed at the end with fletcher32, verified like any other; a bit is found."""
    out = tmp_path / "out.h5"
    words = ["embed", whole.with_name("x.fa"), "--bed", whole.with_name("x.bed")]
    words += ["-o", out, "--layer", "0", "-q", "--compress", method]
    assert genomeconv(*words).code == 0
    with h5py.File(out) as file:
        assert file["X"].fletcher32
        info = file["X"].id.get_chunk_info(0)
    facts = json.loads(genomeconv("verify", out, "--json").out)
    assert (facts["whole"], facts["compression"]) == (True, method)
    data = bytearray(out.read_bytes())
    data[info.byte_offset + info.size // 2] ^= 1
    out.write_bytes(data)
    outcome = genomeconv("verify", out)
    assert outcome.code == 65
    assert "damaged: rows 0 to 240 (X)" in outcome.err


def test_golden_files_of_every_version(genomeconv):
    """An early file has no checksums of labels; that is said."""
    golden = files("genomeconv_data") / "golden"
    for path in (item for item in golden.iterdir() if item.name.endswith(".h5")):
        facts = json.loads(genomeconv("verify", path, "--json").out)
        assert facts["whole"] is True
        assert facts["checked"] == "numbers, not labels"
        assert genomeconv("info", path).code == 0


def end_of(child: Child, task: str, path: Path) -> str:
    """What becomes of a file: read, refused, crash or hang."""
    try:
        child.ask(task, path)
    except GenomeconvError as error:
        text = str(error)
    else:
        return "read"
    assert str(path) in text
    assert "\n" not in text
    if "no sign of life" in text:
        return "hang"
    return "crash" if "crashed" in text else "refused"


@pytest.mark.parametrize(
    "count", [100, pytest.param(4000, marks=pytest.mark.slow)], ids=["100", "4000"]
)
def test_mutants_are_read_or_refused(whole, tmp_path, child, count):
    """The header is what HDF5 trips over, so the file has little else."""
    golden = files("genomeconv_data") / "golden" / "embeddings-v1.h5"
    data, random = golden.read_bytes(), Random(4000)
    path, ends = tmp_path / "mutant.h5", Counter()
    for number in range(count):
        mutant = bytearray(data)
        for _ in range(random.randint(1, 4)):
            mutant[random.randrange(len(data))] = random.randrange(256)
        path.write_bytes(mutant)
        ends[end_of(child, "describe" if number % 2 else "verify", path)] += 1
    print(dict(ends))  # noqa: T201
    assert ends["refused"] > 0
    assert ends["read"] > 0
    child.ask("verify", whole)  # still at work


def test_a_child_that_hangs_or_dies_is_one_line(copy, monkeypatch):
    monkeypatch.setattr(apart, "_BOOT", "import time; time.sleep(100)")
    with (
        Child(silence=0.2) as child,
        pytest.raises(DataError, match=r"gave no sign of life for 0\.2 s over it"),
    ):
        child.ask("verify", copy)
    monkeypatch.setattr(apart, "_BOOT", "import os; os.kill(os.getpid(), 11)")
    with (
        Child() as child,
        pytest.raises(DataError, match=r"HDF5 crashed over it \(SIGSEGV\)"),
    ):
        child.ask("verify", copy)


def test_info_reads_in_a_child_too(genomeconv, copy, monkeypatch):
    monkeypatch.setattr(apart, "_BOOT", "import os; os.kill(os.getpid(), 11)")
    outcome = genomeconv("info", copy)
    assert outcome.code == 65
    assert "HDF5 crashed over it" in outcome.err
