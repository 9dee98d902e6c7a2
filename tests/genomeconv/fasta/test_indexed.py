"""Regions: an index made, verified, mistrusted; equal to the file read whole."""

from __future__ import annotations

import contextlib
import gzip
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed import bgzipped

from genomeconv.alphabet import decode
from genomeconv.errors import DataError, InputMissingError, UsageError
from genomeconv.fasta import (
    LetterCounts,
    ReadPolicy,
    faidx,
    indexed,
    open_indexed,
    read_genome,
)
from genomeconv.fasta.randomly import BgzipBytes, PlainBytes

RANDOM = np.random.default_rng(11)
GENOME = {
    f"chr{i}": "".join(RANDOM.choice(list("ACGTNacgtr"), size))
    for i, size in enumerate([150_001, 1, 60, 61, 120, 59])
}


def wrapped(width: int = 60, end: str = "\n", last: str | None = None) -> bytes:
    out = ""
    for name, letters in GENOME.items():
        lines = [letters[i : i + width] for i in range(0, len(letters), width)]
        out += f">{name} text\n".replace("\n", end) + end.join(lines) + end
    return (out if last is None else out.removesuffix(end) + last).encode()


def quiet(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def write(folder: Path, content: bytes, name: str = "x.fa") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


FORMS = {
    "60 a line": wrapped(),
    "one line": wrapped(1 << 30),
    "CRLF": wrapped(60, "\r\n"),
    "CRLF, no end": wrapped(60, "\r\n", ""),
    "no end": wrapped(60, "\n", ""),
    "blank lines at the end": wrapped(60, "\n", "\n\n\n"),
    "blank lines between": wrapped().replace(b">", b"\n\n>"),
    "1 a line": wrapped(1),
    "bgzip": bgzipped(wrapped()),
    "bgzip, one line": bgzipped(wrapped(1 << 30)),
    "bgzip, joined": bgzipped(wrapped()[:70_000]) + bgzipped(wrapped()[70_000:]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["x.fa", "x.fa.gz"])
@pytest.mark.parametrize("slice_bases", [1 << 20, 1000])
def test_equals_the_file_read_whole(
    tmp_path: Path,
    form: str,
    name: str,
    slice_bases: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"plain": slice_bases, "bgzip": slice_bases}
    monkeypatch.setattr(indexed, "_SLICE_BASES", limits)
    path = write(tmp_path, FORMS[form], name)
    random = np.random.default_rng(3)
    with read_genome(path, tmp_path, warn=lambda m: None) as whole:
        for _ in range(2):  # with the index made, and with the index found
            with open_indexed(path, warn=quiet) as regions:
                assert regions.lengths == {k: len(v) for k, v in GENOME.items()}
                regions.select(regions.lengths, warn=quiet)
                assert regions.fingerprint == whole.fingerprint
                assert regions.counts == whole.counts
                assert (regions.records.called == whole.records.called).all()
                for record, length in enumerate(whole.records.lengths.tolist()):
                    spans = random.integers(0, length + 1, (25, 2)).tolist()
                    for a, b in [(0, length), *map(sorted, spans)]:
                        wanted = whole.codes(record, a, b)
                        np.testing.assert_array_equal(
                            regions.codes(record, a, b), wanted
                        )
            assert Path(f"{path}.fai").exists()


def test_block_boundaries_of_bgzip(tmp_path: Path) -> None:
    """The writer used here fills blocks to 65,536 bytes, the most there can be."""
    path = write(tmp_path, bgzipped(wrapped(1 << 30)), "x.fa.gz")
    with contextlib.closing(BgzipBytes(path)) as blocks:
        starts = blocks.starts
    assert starts[1] == 65_536
    with open_indexed(path, warn=quiet) as genome:
        genome.select(["chr0"], warn=quiet)
        offset = genome._index["chr0"].offset
        upper = GENOME["chr0"].upper().replace("R", "N").encode()
        for block in starts[1:3]:
            for a in range(block - offset - 2, block - offset + 3):
                assert decode(genome.codes(0, a, a + 5)) == upper[a : a + 5]


def test_record_that_begins_with_its_bgzip_block(tmp_path: Path) -> None:
    first = b">a\n" + b"A" * (65_536 - 3 - 1 - 3) + b"\n>b\n"
    assert len(first) == 65_536
    path = write(tmp_path, bgzipped(first + b"CG\n"), "x.fa.gz")
    with open_indexed(path, warn=quiet) as genome:
        genome.select(["b"], warn=quiet)
        assert decode(genome.codes(0, 0, 2)) == b"CG"


def test_select_takes_each_record_once_in_order(tmp_path: Path) -> None:
    with open_indexed(write(tmp_path, wrapped()), warn=quiet) as genome:
        assert len(genome.records) == 0
        genome.select(["chr4", "chr2", "chr4"], warn=quiet)
        assert genome.records.names == ["chr4", "chr2"]
        assert genome.records.lengths.tolist() == [120, 60]
        first = genome.codes(0, 0, 5)
        genome.select(["chr2", "chr4"], warn=quiet)
        np.testing.assert_array_equal(genome.codes(1, 0, 5), first)
        assert len(genome.codes(1, 7, 7)) == 0
        with pytest.raises(ValueError, match="200-201 is not within a record of 60"):
            genome.codes(0, 200, 201)


def test_warns_of_rna_once(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nACGU\n>b\nuu\n>c\nA\n")
    said: list[str] = []
    with open_indexed(path, warn=quiet) as genome:
        genome.select(["a", "b"], warn=said.append)
        assert decode(genome.codes(0, 0, 4)) == b"ACGT"
        assert genome.counts == LetterCounts(u=3)
    assert said == [f"{path}: 3 letters U (RNA) read as T"]


def test_letters_of_chosen_records_are_judged(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nACGT\nAC-T\n>b\nACGT\n")
    with open_indexed(path, warn=quiet) as genome:
        genome.select(["b"], warn=quiet)
        with pytest.raises(DataError) as caught:
            genome.select(["a"], warn=quiet)
    assert str(caught.value) == (
        f"{path}: record 'a', base 7, has a gap '-'; remove the gaps of an alignment "
        "first, or embed with --gaps n or --gaps remove"
    )


UNEVEN = (
    ": line lengths differ in record 'a', regions need them equal; rewrap it with "
    "'seqkit seq -w 60' or embed whole records"
)
REFUSED = [
    ("empty", b"", "no sequences in x.fa: the file is empty"),
    ("short line", b">a\nACGT\nACG\nACGT\n", "x.fa" + UNEVEN),
    ("long line", b">a\nACG\nACGT\nAC\n", "x.fa" + UNEVEN),
    ("long last line", b">a\nACG\nACGT", "x.fa" + UNEVEN),
    ("blank line inside", b">a\nACG\n\nACG\n", "x.fa" + UNEVEN),
    ("blank line first", b">a\n\nACG\n", "x.fa" + UNEVEN),
    ("one base on a short line", b">a\nACG\nA\nA\n>b\nA", "x.fa" + UNEVEN),
    (
        "CR only",
        b">a\rACGT\r",
        "x.fa: lines end with CR only, regions need LF; run 'mac2unix' on it or embed "
        "whole records",
    ),
    ("FASTQ", b"@a\nA\n+\nI\n", "x.fa: not FASTA; it looks like FASTQ; convert it"),
    (
        "duplicate",
        b">a\nA\n>b\nAC\nA\n>a\nA\n",
        "x.fa:6: the name 'a' is used before, on line 1; rename one of the two records"
        ", or embed with --duplicates number",
    ),
    (
        "gzip",
        gzip.compress(b">a\nACGT\n"),
        "x.fa: regions need bgzip, this is plain gzip; run 'gunzip' and 'bgzip' on it "
        "or embed whole records",
    ),
    (
        "bgzip, no end",
        bgzipped(wrapped())[:-28],
        "x.fa: the bgzip end-of-file block is missing at byte ",
    ),
    ("bgzip, cut", bgzipped(wrapped())[:-40], "x.fa: the bgzip block at byte "),
]


@pytest.mark.parametrize(
    ("content", "message"),
    [pytest.param(content, message, id=name) for name, content, message in REFUSED],
)
def test_refuses(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        open_indexed(path, warn=quiet)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_bgzip_block_is_seen(tmp_path: Path) -> None:
    packed = bytearray(bgzipped(wrapped()))
    path = write(tmp_path, bytes(packed))
    open_indexed(path, warn=quiet).close()
    packed[30_000] ^= 4
    path.write_bytes(bytes(packed))
    with (
        pytest.raises(DataError, match="is damaged; copy or download"),
        open_indexed(path, warn=lambda m: None) as genome,
    ):
        genome.select(genome.lengths, warn=quiet)


def test_streams_are_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        open_indexed(os.devnull, warn=quiet)
    assert str(caught.value) == (
        "/dev/null: regions need a seekable file; save it to a file first"
    )


@pytest.mark.parametrize(
    ("policy", "option"),
    [
        (ReadPolicy(empty="skip"), "--empty skip"),
        (ReadPolicy(gaps="remove"), "--gaps remove"),
        (ReadPolicy(duplicates="number"), "--duplicates number"),
        (ReadPolicy(names="replace"), "--names replace"),
    ],
)
def test_what_an_index_cannot_follow(policy: ReadPolicy, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_indexed("x.fa", policy, warn=quiet)
    assert str(caught.value) == f"{option} is for whole files, not for regions"


def test_doubtful_letters_are_as_in_the_file_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nACgt\n-nRu\n.U\n>b\nACg\n")
    policy = ReadPolicy(gaps="n", soft_mask="n", max_length=10)
    with (
        read_genome(path, tmp_path, policy, warn=lambda m: None) as whole,
        open_indexed(path, policy, warn=lambda m: None) as regions,
    ):
        regions.select(regions.lengths, warn=lambda m: None)
        assert regions.fingerprint == whole.fingerprint
        assert regions.counts == whole.counts
        assert (regions.records.called == whole.records.called).all()
        for record, length in enumerate(whole.records.lengths.tolist()):
            wanted = whole.codes(record, 0, length)
            np.testing.assert_array_equal(regions.codes(record, 0, length), wanted)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        open_indexed(tmp_path / "x.fa", warn=quiet)


GOOD = b">a x\nACGT\nACGT\nAC\n>b\nGGG\n"
GOOD_INDEX = b"a\t10\t5\t4\t5\nb\t3\t21\t3\t4\n"


def test_index_is_as_samtools_writes_it(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with open_indexed(path, warn=quiet):
        assert Path(f"{path}.fai").read_bytes() == GOOD_INDEX


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b"", "it is empty"),
        (b"\0\0\0", "line 1 is not an index line"),
        (b"a\t10\t5\t4\n", "line 1 is not an index line"),
        (b"\xff\t10\t5\t4\t5\n", "line 1 is not an index line"),
        (b"a\t10\t5\t4\t5\n\n", "line 2 is not an index line"),
        (b"a\t10\t5\t4\t5\na\t3\t21\t3\t4\n", "line 2 cannot be right"),
        (b"a\t-10\t5\t4\t5\n", "line 1 cannot be right"),
        (b"a\t10\t5\t4\t5\n", "the file has more than it lists"),
        (GOOD_INDEX + b"c\t3\t30\t3\t4\n", "record 'c' is not where it says"),
        (b"a\t10\t4\t4\t5\nb\t3\t21\t3\t4\n", "the header of record 'a' is not there"),
        (b"c\t10\t5\t4\t5\nb\t3\t21\t3\t4\n", "the header of record 'c' is not there"),
        (b"a\t10\t5\t5\t5\nb\t3\t21\t3\t4\n", "the lines of record 'a' differ"),
        (b"a\t10\t5\t4\t6\nb\t3\t21\t3\t4\n", "the lines of record 'a' differ"),
        (b"a\t10\t5\t0\t0\nb\t3\t21\t3\t4\n", "the lines of record 'a' differ"),
        (b"a\t9\t5\t4\t5\nb\t3\t21\t3\t4\n", "the header of record 'b' is not there"),
        (b"a\t10\t5\t4\t5\nb\t2\t21\t3\t4\n", "the file has more than it lists"),
        (b"a\t10\t5\t4\t5\nb\t99\t21\t99\t100\n", "record 'b' is not where it says"),
        (b"b\t3\t21\t3\t4\na\t10\t5\t4\t5\n", "the header of record 'b' is not there"),
    ],
)
def test_wrong_index_is_replaced(tmp_path: Path, index: bytes, reason: str) -> None:
    path = write(tmp_path, GOOD)
    beside = write(tmp_path, index, "x.fa.fai")
    said: list[str] = []
    with open_indexed(path, warn=said.append) as genome:
        genome.select(["b", "a"], warn=quiet)
        assert decode(genome.codes(0, 0, 3)) == b"GGG"
        assert decode(genome.codes(1, 3, 9)) == b"TACGTA"
    assert said == [f"{beside}: does not match the FASTA file ({reason}); made anew"]
    assert beside.read_bytes() == GOOD_INDEX
    assert sorted(tmp_path.iterdir()) == [path, beside]


def test_index_that_only_measuring_can_tell(tmp_path: Path) -> None:
    """Lines that differ though their sum, first and last are as the index has them."""
    path = write(tmp_path, b">a\nACGT\nACG\nACGTA\nACGT\nA\n")
    write(tmp_path, b"a\t17\t3\t4\t5\n", "x.fa.fai")
    with (
        open_indexed(path, warn=quiet) as genome,
        pytest.raises(DataError) as caught,
    ):
        genome.select(["a"], warn=quiet)
    assert str(caught.value) == f"{path}{UNEVEN}"


def test_index_in_memory_where_the_folder_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, GOOD)

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    said: list[str] = []
    with open_indexed(path, warn=said.append) as genome:
        genome.select(["b"], warn=quiet)
        assert decode(genome.codes(0, 0, 3)) == b"GGG"
    assert said == [f"{path}.fai: cannot be written; the index is kept in memory"]
    assert list(tmp_path.iterdir()) == [path]


def test_file_from_the_future_gives_no_warning(tmp_path: Path) -> None:
    path = write(tmp_path, bgzipped(GOOD))
    later = time.time() + 1e6
    os.utime(path, (later, later))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_indexed(path, warn=quiet) as genome:
            genome.select(["b"], warn=quiet)
            assert decode(genome.codes(0, 0, 3)) == b"GGG"


def test_a_change_of_the_file_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with open_indexed(path, warn=quiet) as genome:
        genome.select(["b"], warn=quiet)
        path.write_bytes(GOOD + b">c\nA\n")
        with pytest.raises(DataError, match="changed while it was used"):
            genome.codes(0, 0, 3)


def test_a_file_cut_short_in_use_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with open_indexed(path, warn=quiet) as genome:
        genome.select(["b"], warn=quiet)
        genome.codes(0, 0, 3)
        path.write_bytes(b">a")
        with pytest.raises(DataError, match="changed while it was used"):
            genome.codes(0, 0, 3)


def test_forked_children_read_right(tmp_path: Path) -> None:
    with open_indexed(write(tmp_path, wrapped()), warn=quiet) as genome:
        genome.select(["chr0"], warn=quiet)
        upper = GENOME["chr0"].upper().replace("R", "N").encode()

        def all_right(seed: int) -> bool:
            starts = np.random.default_rng(seed).integers(0, 140_000, 2000).tolist()
            return all(
                decode(genome.codes(0, a, a + 50)) == upper[a : a + 50] for a in starts
            )

        assert all_right(0)
        children = []
        for seed in (1, 2, 3):
            child = os.fork()
            if not child:
                os._exit(0 if all_right(seed) else 1)
            children.append(child)
        assert all_right(4)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def slow_index(content: str) -> dict[str, tuple[int, int]]:
    """Find length and first offset of each record, one line after the other."""
    found: dict[str, tuple[int, int]] = {}
    at = 0
    for line in content.splitlines(keepends=True):
        at += len(line)
        if line.startswith(">"):
            name = line[1:].split()[0]
            found[name] = (0, at)
        elif line.strip():
            length, offset = found[name]
            found[name] = (length + len(line.rstrip("\r\n")), offset)
    return found


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    width=st.integers(1, 9),
    end=st.sampled_from(["\n", "\r\n"]),
    blank=st.integers(0, 2),
    cut=st.integers(1, 30),
    ended=st.booleans(),
)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_build_and_verify_agree(
    tmp_path: Path,
    lengths: list[int],
    width: int,
    end: str,
    blank: int,
    cut: int,
    ended: bool,
) -> None:
    content = ""
    for i, length in enumerate(lengths):
        letters = ("ACGT" * 10)[i % 4 :][:length]
        lines = [letters[a : a + width] for a in range(0, length, width)]
        content += "".join(line + end for line in [f">r{i} x", *lines, *[""] * blank])
    content = content if ended else content.rstrip("\r\n")
    data = content.encode()
    pieces = [data[a : a + cut] for a in range(0, len(data), cut)]
    index = faidx.build(pieces, "x", quiet)
    wanted = slow_index(content)
    assert {k: v.length for k, v in index.items()} == {
        k: v[0] for k, v in wanted.items()
    }
    for name, entry in index.items():
        if entry.length:
            assert entry.offset == wanted[name][1]
            got = "".join(content[entry.at(i)] for i in range(entry.length))
            assert got == ("ACGT" * 10)[int(name[1:]) % 4 :][: entry.length]
    with contextlib.closing(PlainBytes(write(tmp_path, data))) as source:
        faidx.verify(index, source)


def test_gap_in_the_content_of_bgzip_reads(tmp_path: Path) -> None:
    content = wrapped()
    spans = np.random.default_rng(5).integers(0, len(content) + 1, (50, 2))
    path = write(tmp_path, bgzipped(content))
    with contextlib.closing(BgzipBytes(path)) as blocks:
        assert blocks.size == len(content)
        for a, b in np.sort(spans).tolist():
            assert blocks.read(a, b) == content[a:b]
        with pytest.raises(DataError, match="ends early"):
            blocks.read(0, len(content) + 1)
