"""Region strings and BED lines: what they mean, and what is refused in which words."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.errors import DataError, UsageError
from genomeconv.intervals import Interval, parse_region, read_bed

LENGTHS = {
    "chr1": 3_000_000,
    "chrM": 16_569,
    "HLA-DRB1*12:17": 1_000,
    "HLA-DRB1*12": 500,
    "a-b": 10,
    "x:1-5": 7,
    "x": 9,
    "{odd}": 4,
}


def region(text: str) -> Interval:
    return parse_region(text, LENGTHS, "x.fa")


@pytest.mark.parametrize(
    ("text", "name", "start", "end"),
    [
        ("chr1", "chr1", 0, 3_000_000),
        ("chr1:5", "chr1", 4, 3_000_000),
        ("chr1:5-", "chr1", 4, 3_000_000),
        ("chr1:-5", "chr1", 0, 5),
        ("chr1:-", "chr1", 0, 3_000_000),
        ("chr1:1-1", "chr1", 0, 1),
        ("chr1:1,000-2,000", "chr1", 999, 2_000),
        ("chr1:1k-2K", "chr1", 999, 2_000),
        ("chr1:1.5M-2m", "chr1", 1_499_999, 2_000_000),
        ("chr1:3,000,000-3,000,000", "chr1", 2_999_999, 3_000_000),
        ("HLA-DRB1*12:17", "HLA-DRB1*12:17", 0, 1_000),
        ("HLA-DRB1*12:17:5-6", "HLA-DRB1*12:17", 4, 6),
        ("{HLA-DRB1*12}:17-18", "HLA-DRB1*12", 16, 18),
        ("{HLA-DRB1*12:17}", "HLA-DRB1*12:17", 0, 1_000),
        ("{HLA-DRB1*12:17}:5-6", "HLA-DRB1*12:17", 4, 6),
        ("x:1-5", "x:1-5", 0, 7),
        ("{x}:1-5", "x", 0, 5),
        ("a-b:2-3", "a-b", 1, 3),
        ("{odd}", "{odd}", 0, 4),
        ("{{odd}}:2-3", "{odd}", 1, 3),
    ],
)
def test_region(text: str, name: str, start: int, end: int) -> None:
    assert region(text) == Interval(name, start, end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "chr1:0-5",
            "region 'chr1:0-5': positions count from 1",
        ),
        (
            "chr1:9-5",
            "region 'chr1:9-5': starts at 9, behind its end 5",
        ),
        (
            "chr1:5-x",
            "region 'chr1:5-x': 'x' is not a position; write name:start-end, as "
            "chr1:1,000-2,000 or chr1:1.5M-2M",
        ),
        (
            "chr1:",
            "region 'chr1:': '' is not a position; write name:start-end, as "
            "chr1:1,000-2,000 or chr1:1.5M-2M",
        ),
        (
            "chr1:1.5-9",
            "region 'chr1:1.5-9': '1.5' is not a position; write name:start-end, as "
            "chr1:1,000-2,000 or chr1:1.5M-2M",
        ),
        (
            "chr1:1-2-3",
            "region 'chr1:1-2-3': '2-3' is not a position; write name:start-end, as "
            "chr1:1,000-2,000 or chr1:1.5M-2M",
        ),
        (
            "{chr1",
            "region '{chr1': a name in braces is written {name}:start-end",
        ),
        (
            "{chr1}5",
            "region '{chr1}5': a name in braces is written {name}:start-end",
        ),
    ],
)
def test_region_that_is_none(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        region(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1:5-6", "region '1:5-6': no sequence '1' in x.fa; did you mean 'chr1'?"),
        ("MT", "region 'MT': no sequence 'MT' in x.fa; did you mean 'chrM'?"),
        ("CHR1:1", "region 'CHR1:1': no sequence 'CHR1' in x.fa; did you mean 'chr1'?"),
        (
            "chr11:1-2",
            "region 'chr11:1-2': no sequence 'chr11' in x.fa; did you mean 'chr1' or "
            "'chrM'?",
        ),
        (
            "scaffold_9",
            "region 'scaffold_9': no sequence 'scaffold_9' in x.fa; it has 'chr1', "
            "'chrM', 'HLA-DRB1*12:17', 'HLA-DRB1*12', 'a-b', ...",
        ),
        (
            "chrM:5-16570",
            "region 'chrM:5-16570': reaches past the end, 'chrM' has 16,569 bases",
        ),
        (
            "chrM:17k",
            "region 'chrM:17k': reaches past the end, 'chrM' has 16,569 bases",
        ),
    ],
)
def test_region_that_is_not_there(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        region(text)
    assert str(caught.value) == message


def test_chr_is_left_out_where_the_file_has_none() -> None:
    with pytest.raises(
        DataError, match=r"no sequence 'chr2' in x\.fa; did you mean '2'"
    ):
        parse_region("chr2", {"1": 5, "2": 5}, "x.fa")


def test_a_record_without_bases_has_no_region() -> None:
    with pytest.raises(DataError, match="reaches past the end, 'e' has 0 bases"):
        parse_region("e", {"e": 0}, "x.fa")


@given(st.integers(1, 3_000_000), st.integers(1, 3_000_000))
def test_what_is_shown_can_be_read(a: int, b: int) -> None:
    interval = Interval("chr1", min(a, b) - 1, max(a, b))
    assert region(str(interval)) == interval
    assert len(interval) == max(a, b) - min(a, b) + 1


@pytest.mark.parametrize("span", [(-1, 5), (5, 5), (6, 5)])
def test_interval_has_bases(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a stretch of bases"):
        Interval("chr1", *span)


def test_interval_has_a_strand() -> None:
    with pytest.raises(ValueError, match=r"strand must be one of \+ - \. not 'x'"):
        Interval("chr1", 0, 1, strand="x")


def bed(folder: Path, content: bytes, name: str = "x.bed") -> list[Interval]:
    path = folder / name
    path.write_bytes(content)
    return read_bed(path, LENGTHS, "x.fa")


BED = b"chr1\t5\t9\nchrM\t0\t3\tgene 1\t0\t-\nchr1\t5\t9\nchr1\t0\t7\t\t0\t+\textra\n"
INTERVALS = [
    Interval("chr1", 5, 9),
    Interval("chrM", 0, 3, "gene 1", "-"),
    Interval("chr1", 5, 9),
    Interval("chr1", 0, 7, "", "+"),
]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(BED, id="plain"),
        pytest.param(BED.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(BED.replace(b"\n", b"\r"), id="CR"),
        pytest.param(BED.rstrip(), id="no end"),
        pytest.param(b"\xef\xbb\xbf" + BED, id="byte order mark"),
        pytest.param(gzip.compress(BED), id="gzip"),
        pytest.param(b"chrom\tstart\tend\n" + BED, id="titles"),
        pytest.param(
            b"#comment\nbrowser position chr1:1-2\ntrack name=x\n\n"
            + BED
            + b"\n#end\n",
            id="comments",
        ),
    ],
)
def test_bed(tmp_path: Path, content: bytes) -> None:
    assert bed(tmp_path, content) == INTERVALS


def test_bed_with_blanks_between_columns(tmp_path: Path) -> None:
    assert bed(tmp_path, b"chr1 5  9 n 0 -\nx:1-5 0 7") == [
        Interval("chr1", 5, 9, "n", "-"),
        Interval("x:1-5", 0, 7),
    ]


def test_sequences_may_be_called_track(tmp_path: Path) -> None:
    path = tmp_path / "x.bed"
    path.write_bytes(b"tracker\t0\t1\nbrowserify\t0\t1\n")
    lengths = {"tracker": 1, "browserify": 1}
    assert len(read_bed(path, lengths, "x.fa")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"chr1\t5", "2 columns, a BED line has 3 or more: name, start, end"),
        (b"chr1\t5\t5", "start 5 is not before end 5"),
        (b"chr1\t9,\t5", "start '9,' is not a whole number of 0 or more"),
        (b"chr1\t9\t5", "start 9 is not before end 5"),
        (b"chr1\t-1\t5", "start '-1' is not a whole number of 0 or more"),
        (b"chr1\t1.0\t5", "start '1.0' is not a whole number of 0 or more"),
        (b"chr1\t1\tend", "end 'end' is not a whole number of 0 or more"),
        (b"chr1\t1\t\xd9\xa3", "end '\u0663' is not a whole number of 0 or more"),
        (
            b"chrM\t16560\t16570",
            "end 16,570 is past the end, 'chrM' has 16,569 bases",
        ),
        (b"M\t1\t5", "no sequence 'M' in x.fa; did you mean 'chrM'?"),
        (b"chr1\t1\t5\tn\t0\tplus", "the strand (column 6) is 'plus', not + - or ."),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_bed_line_that_is_refused(
    tmp_path: Path, line: bytes, message: str, end: bytes
) -> None:
    with pytest.raises(DataError) as caught:
        bed(tmp_path, end.join([b"#x", b"", b"chr1\t0\t1", line, b"chr1\t0\t1", b""]))
    assert str(caught.value) == f"{tmp_path}/x.bed:4: {message}"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"#x\n", b"chrom\tstart\tend\n"])
def test_bed_without_regions(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        bed(tmp_path, content)
    assert str(caught.value) == f"no regions in {tmp_path}/x.bed"


def test_bed_that_is_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        bed(tmp_path, b"\x89HDF\r\n\xff\xfe")
    assert str(caught.value) == (
        rf"{tmp_path}/x.bed:1: '\x89HDF' is not UTF-8 text; give a BED file"
    )
    with pytest.raises(DataError, match=r"x\.bed: a line is too long; give a BED file"):
        bed(tmp_path, b"A" * (3 << 20))
