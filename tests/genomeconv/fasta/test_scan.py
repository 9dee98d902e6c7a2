"""What is read, what is put right with a warning, what is refused in which words."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from genomeconv.alphabet import decode
from genomeconv.errors import DataError
from genomeconv.fasta import LetterCounts, ReadPolicy, read_genome, read_records


def write(folder: Path, content: bytes) -> Path:
    path = folder / "x.fa"
    path.write_bytes(content)
    return path


def no_warning(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def read(folder: Path, content: bytes, **choices) -> tuple[dict[str, bytes], list[str]]:
    """Return letters by name, and the warnings without the folder."""
    said: list[str] = []
    path = write(folder, content)
    policy = ReadPolicy(**choices)
    with read_genome(path, folder, policy, warn=said.append) as genome:
        records = genome.records
        letters = {
            name: decode(genome.codes(i, 0, int(records.lengths[i])))
            for i, name in enumerate(records.names)
        }
    return letters, [message.replace(f"{folder}/", "") for message in said]


def test_table_of_records(tmp_path: Path) -> None:
    content = b">a first one\nACGTN\nacgtr\n>b\nTTTT\n"
    with read_genome(write(tmp_path, content), tmp_path, warn=no_warning) as genome:
        records = genome.records
        assert records.names == ["a", "b"]
        assert records.descriptions == ["first one", ""]
        assert records.lengths.tolist() == [10, 4]
        assert records.lengths.dtype == np.int64
        assert records.called.tolist() == [8, 4]
        assert records.md5 == [
            hashlib.md5(b"ACGTNACGTR").hexdigest(),
            hashlib.md5(b"TTTT").hexdigest(),
        ]
        assert records.bases == 14
        assert len(records) == 2
        assert genome.counts == LetterCounts(n=1, iupac=1, u=0)
        assert genome.codes(0, 0, 10).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
        assert genome.codes(1, 1, 3).tolist() == [3, 3]
        assert genome.codes(1, 4, 4).shape == (0,)
        assert genome.codes(0, 0, 10).flags.writeable


def test_read_records_is_the_same_table(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nACGRN\n>b x\nGG\n")
    records, counts = read_records(path, warn=no_warning)
    with read_genome(path, tmp_path, warn=no_warning) as genome:
        assert records.fingerprint() == genome.fingerprint
        assert counts == genome.counts


def test_fingerprint_tells_names_and_bases_apart(tmp_path: Path) -> None:
    def fingerprint(content: bytes) -> dict[str, int | str]:
        return read_records(write(tmp_path, content), warn=no_warning)[0].fingerprint()

    first = fingerprint(b">a\nACGT\n>b\nGG\n")
    assert first["records"] == 2
    assert first["bases"] == 6
    assert fingerprint(b">a x\nac\ngt\n>b\nGG") == first
    for other in (b">b\nACGT\n>a\nGG\n", b">a\nACGA\n>b\nGG\n", b">a\nACGTGG\n"):
        assert fingerprint(other) != first


@pytest.mark.parametrize(
    ("content", "letters"),
    [
        pytest.param(b">a\nAC\nGT", {"a": b"ACGT"}, id="no line feed at the end"),
        pytest.param(b"\n\n>a\n\nAC\n\nGT\n\n\n", {"a": b"ACGT"}, id="blank lines"),
        pytest.param(b">a\nAC  \nGT\t\n", {"a": b"ACGT"}, id="blanks at line ends"),
        pytest.param(b">a\nAC\n  \t\nGT \t", {"a": b"ACGT"}, id="lines of blanks"),
        pytest.param(b">a\r\nAC\r\nGT\r\n", {"a": b"ACGT"}, id="CRLF"),
        pytest.param(b">a\rAC\rGT\r>b\rT\r", {"a": b"ACGT", "b": b"T"}, id="CR"),
        pytest.param(b">a\r\nAC\nGT\r>b\nT", {"a": b"ACGT", "b": b"T"}, id="mixed"),
        pytest.param(b">a\nRYKMSWBDHVN\n", {"a": b"N" * 11}, id="IUPAC is N"),
        pytest.param(b">a\nACG\n>a.1\nG\n", {"a": b"ACG", "a.1": b"G"}, id="dots"),
        pytest.param(b">HLA/A*01:01 x\nA\n", {"HLA/A*01:01": b"A"}, id="odd name"),
        pytest.param(b">..\nA\n>/\nC\n", {"..": b"A", "/": b"C"}, id="paths as names"),
        pytest.param(
            ">é\nA\n>e\u0301\nC\n".encode(), {"é": b"A", "e\u0301": b"C"}, id="NFC, NFD"
        ),
        pytest.param(
            b">" + b"x" * 70_000 + b"\nA\n", {"x" * 70_000: b"A"}, id="long name"
        ),
        pytest.param(b">a\tb c\nA\n", {"a": b"A"}, id="name ends at a tab"),
        pytest.param(b">a>b\nA\n", {"a>b": b"A"}, id="'>' in a name"),
        pytest.param(b">a\xc2\xa0b\nA\n", {"a\xa0b": b"A"}, id="only ASCII blanks end"),
    ],
)
def test_reads(tmp_path: Path, content: bytes, letters: dict[str, bytes]) -> None:
    assert read(tmp_path, content) == (letters, [])


@pytest.mark.parametrize(
    ("content", "letters", "warning"),
    [
        (b">a\nACGU\nuu\n", b"ACGTTT", "x.fa: 3 letters U (RNA) read as T"),
        (
            b"> a\nAC\n> b\nGT",
            b"AC",
            "x.fa:1: blanks between '>' and the name 'a'; ignored here and below",
        ),
        (
            b"\xef\xbb\xbf>a\nAC\n",
            b"AC",
            "x.fa: begins with a UTF-8 byte order mark; ignored",
        ),
        (
            b">a\nAC\n\x1a",
            b"AC",
            "x.fa: ends with a Ctrl-Z, an old end-of-file mark; ignored",
        ),
        (
            b">a\nAC\r\n\x1a\r\n",
            b"AC",
            "x.fa: ends with a Ctrl-Z, an old end-of-file mark; ignored",
        ),
    ],
    ids=["RNA", "blank before name", "byte order mark", "Ctrl-Z", "Ctrl-Z CRLF"],
)
def test_puts_right_with_one_warning(
    tmp_path: Path, content: bytes, letters: bytes, warning: str
) -> None:
    got, said = read(tmp_path, content)
    assert got["a"] == letters
    assert said == [warning]


def test_md5_keeps_the_letters_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nacguRn\n")
    records, _ = read_records(path, warn=lambda message: None)
    assert records.md5 == [hashlib.md5(b"ACGURN").hexdigest()]


REFUSED = [
    ("empty", b"", "no sequences in x.fa: the file is empty"),
    ("line feeds", b"\n\n\r\n", "no sequences in x.fa: the file is empty"),
    (
        "header only",
        b">a\n",
        "x.fa:1: record 'a' has no bases; the file may be truncated here; else pass "
        "over such records with --empty skip",
    ),
    (
        "empty between",
        b">a\nA\n>b\n\n>c\nA\n",
        "x.fa:3: record 'b' has no bases; the file may be damaged; else pass over such "
        "records with --empty skip",
    ),
    (
        "empty at the end",
        b">a\nA\n>b",
        "x.fa:3: record 'b' has no bases; the file may be truncated here; else pass "
        "over such records with --empty skip",
    ),
    (
        "text first",
        b"\nhello you\n>a\nA\n",
        "x.fa:2: text before the first '>': 'hello you'; give a FASTA file",
    ),
    (
        "escapes are shown",
        b"\x1b[31mred\n>a\nA\n",
        r"x.fa:1: text before the first '>': '\x1b[31mred'; give a FASTA file",
    ),
    ("no name", b">a\nA\n>\nC\n", "x.fa:3: a '>' without a name; name the record"),
    ("blank name", b"> \t\nC\n", "x.fa:1: a '>' without a name; name the record"),
    (
        "duplicate",
        b">a\nA\nC\n>b\nA\n>a x\nG\n",
        "x.fa:6: the name 'a' is used before, on line 1; rename one of the two records"
        ", or embed with --duplicates number",
    ),
    (
        "latin-1 name",
        b">ok\nA\n>Bl\xfcte 1\nC\n",
        "x.fa:3: the name 'Bl\\xfcte' is not UTF-8 (its byte 3 is 0xFC); re-encode the "
        "file, rename the record, or embed with --names replace",
    ),
    (
        "NUL in a name",
        b">ok\nA\n>b\x00c\nC\n",
        r"x.fa:3: a NUL byte in the name 'b\x00c'; a damaged copy: copy the file again",
    ),
    (
        "gap",
        b">a\nACGT\nAC-GT\n",
        "x.fa:3:3: record 'a' has a gap '-'; remove the gaps of an alignment first, or "
        "embed with --gaps n or --gaps remove",
    ),
    (
        "dot",
        b">a\nAC.GT\n",
        "x.fa:2:3: record 'a' has a gap '.'; remove the gaps of an alignment first, or "
        "embed with --gaps n or --gaps remove",
    ),
    (
        "star",
        b">a\nACGT*\n",
        "x.fa:2:5: record 'a' has '*', a stop or padding sign; remove it first",
    ),
    (
        "digit",
        b">a\n1 ACGT\n",
        "x.fa:2:1: record 'a' has the digit 1; remove position numbers first",
    ),
    (
        "greater",
        b">a\nACGT>b\nGG\n",
        "x.fa:2:5: record 'a' has '>' inside a line; a line end is missing before it",
    ),
    (
        "inner blank",
        b">a\nACGT \nAC GT \n",
        "x.fa:3:3: record 'a' has a blank inside a line; remove it first",
    ),
    (
        "indented",
        b">a\nACGT\n\tAC\n",
        "x.fa:3:1: record 'a' has a blank inside a line; remove it first",
    ),
    (
        "NUL",
        b">a\nACGT\n>b\r\nA\x00\x00\x00",
        "x.fa:4:2: record 'b' has a NUL byte; a sparse or damaged copy: copy the file "
        "again",
    ),
    (
        "Ctrl-Z inside",
        b">a\nACGT\n\x1a>b\nA\n",
        "x.fa:3:1: record 'a' has a Ctrl-Z that is not the last byte; were files "
        "joined? remove it",
    ),
    (
        "one odd letter",
        b">a\n" + b"ACGT" * 10 + b"\nACXGT\n",
        "x.fa:3:3: record 'a' has 'X', which is not a letter of DNA; replace it by N "
        "or remove it",
    ),
    (
        "high byte",
        b">a\nAC\xe9\n",
        "x.fa:2:3: record 'a' has the byte 0xE9, which is not a letter of DNA",
    ),
    (
        "protein",
        b">p\nMKVLATTEDA\n",
        "x.fa:2:4: record 'p' has 'L'; 20 % letters that are not nucleotides, looks "
        "like protein; give the DNA sequence",
    ),
]


@pytest.mark.parametrize(
    ("content", "message"),
    [pytest.param(content, message, id=name) for name, content, message in REFUSED],
)
@pytest.mark.parametrize("block_bytes", [1 << 20, 7, 1])
def test_refuses(
    tmp_path: Path, content: bytes, message: str, block_bytes: int
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_genome(path, tmp_path, warn=no_warning, block_bytes=block_bytes)
    told = str(caught.value).replace(f"{tmp_path}/", "")
    if block_bytes < 10 and "protein" in message:  # it judges the block at hand
        assert told.startswith("x.fa:2:4: record 'p' has 'L'")
    else:
        assert told == message
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"@r1\nACGT\n+\nIIII\n", "FASTQ; convert it with 'seqtk seq -A' if you mean"),
        (b"@SQ\tSN:a\tLN:5\n", "SAM; extract the sequences with 'samtools fasta'"),
        (b"##gff-version 3\n", "GFF; give the FASTA file it annotates"),
        (b"##fileformat=VCFv4.2\n", "VCF; give the FASTA file of its reference"),
        (b"LOCUS       NC_001416  48502 bp\n", "GenBank; export it as FASTA"),
        (b"<!DOCTYPE html>\n<html>", "HTML, a web page; download the file again"),
        (b"\x43\x27\x41\x1a\0\0\0\0", "2bit; convert it with 'twoBitToFa'"),
        (b"BAM\x01\0\0", "BAM; extract the sequences with 'samtools fasta'"),
        (b"BZh91AY&SY", "compressed with bzip2; unpack it with 'bunzip2' first"),
        (">a\nACGT\n".encode("utf-16"), "UTF-16 text; re-encode it with 'iconv -f"),
        (">a\nACGT\n".encode("utf-16-be"), "UTF-16 text; re-encode it with 'iconv -f"),
        (b"chr1\t10\t20\n", "BED; give the genome's FASTA and --bed this file"),
        (b"ACGTACGTACGTACGTACGTACGT\n", "a sequence without a name; put a line"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_recognises_other_formats(
    tmp_path: Path, content: bytes, what: str, packed: bool
) -> None:
    path = tmp_path / ("x.fa.gz" if packed else "x.fa")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError) as caught:
        read_genome(path, tmp_path, warn=no_warning)
    assert str(caught.value).startswith(f"{path}: not FASTA; it looks like {what}")


def test_empty_records_can_be_skipped(tmp_path: Path) -> None:
    content = b">a\n>b x\nACGT\n>c\n\n>d\nGG\n>e"
    letters, said = read(tmp_path, content, empty="skip")
    assert letters == {"b": b"ACGT", "d": b"GG"}
    assert said == ["x.fa: 3 records without bases skipped"]


def test_nothing_but_empty_records(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^no sequences in .*x\.fa, only empty records$"
    ):
        read(tmp_path, b">a\n>b\n", empty="skip")


@pytest.mark.parametrize(
    ("choice", "value", "allowed"),
    [
        ("empty", "no", "'error' or 'skip'"),
        ("gaps", "N", "'error' or 'n' or 'remove'"),
        ("soft_mask", True, "'keep' or 'n'"),
        ("duplicates", "", "'error' or 'number'"),
        ("names", None, "'strict' or 'replace'"),
    ],
)
def test_policy_refuses_unknown_choice(
    choice: str, value: object, allowed: str
) -> None:
    message = f"^{choice} must be {allowed}, not {value!r}$"
    with pytest.raises(ValueError, match=message):
        ReadPolicy(**{choice: value})  # type: ignore[arg-type]


DOUBTFUL = b">a x\nACgt-n\n..RU\nu\n>b\ngg \n>a\nC-\n>a_2\nT\n>\xfc\nA\n"
CHOICES = [
    ({"gaps": "n"}, "ACGTNNNNNTT GG CN T A", {"n": 1, "iupac": 1, "u": 2, "gaps": 4}),
    ({"gaps": "remove"}, "ACGTNNTT GG C T A", {"n": 1, "iupac": 1, "u": 2, "gaps": 4}),
    (
        {"gaps": "n", "soft_mask": "n"},
        "ACNNNNNNNTN NN CN T A",
        {"n": 1, "iupac": 1, "u": 1, "masked": 5, "gaps": 4},
    ),
]


@pytest.mark.parametrize(("choice", "letters", "counts"), CHOICES)
@pytest.mark.parametrize("block_bytes", [1 << 20, 7, 1])
def test_doubtful_letters_and_names(
    tmp_path: Path,
    choice: dict[str, str],
    letters: str,
    counts: dict[str, int],
    block_bytes: int,
) -> None:
    policy = ReadPolicy(duplicates="number", names="replace", **choice)
    said: list[str] = []
    path = write(tmp_path, DOUBTFUL)
    with read_genome(
        path, tmp_path, policy, warn=said.append, block_bytes=block_bytes
    ) as genome:
        records = genome.records
        assert records.names == ["a", "b", "a_2", "a_2_2", "\ufffd"]
        got = [
            decode(genome.codes(i, 0, int(n)))
            for i, n in enumerate(records.lengths.tolist())
        ]
        assert b" ".join(got).decode() == letters
        assert [len(x) - x.count(b"N") for x in got] == records.called.tolist()
        assert genome.counts == LetterCounts(**counts)
    assert sorted(text.replace(f"{tmp_path}/", "") for text in said) == [
        f"x.fa: {counts['u']} letters U (RNA) read as T",
        "x.fa:11: the name '\\xfc' is not UTF-8 (its byte 1 is 0xFC); read as "
        "'\ufffd', others below likewise",
        "x.fa:7: the name 'a' is used before; now 'a_2', others below likewise",
    ]


def test_md5_is_of_the_letters_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nAc-g.T\n")
    wanted = {"n": b"AC-G.T", "remove": b"ACGT"}
    for gaps, letters in wanted.items():
        policy = ReadPolicy(gaps=gaps, soft_mask="n")  # type: ignore[arg-type]
        records, _ = read_records(path, policy, warn=no_warning)
        assert records.md5 == [hashlib.md5(letters).hexdigest()]


@pytest.mark.parametrize("block_bytes", [1 << 20, 7, 1])
def test_a_record_may_be_too_long(tmp_path: Path, block_bytes: int) -> None:
    path = write(tmp_path, b">a\nACGT\n>b\nACG\nT\n>c\nACGTA\n>d\nA\n")
    with pytest.raises(DataError) as caught:
        read_genome(
            path,
            tmp_path,
            ReadPolicy(max_length=4),
            warn=no_warning,
            block_bytes=block_bytes,
        )
    assert str(caught.value) == (
        f"{path}:6: record 'c' has more than 4 bases; raise --max-length if that is "
        "right"
    )
    records, _ = read_records(path, ReadPolicy(max_length=5), warn=no_warning)
    assert records.lengths.tolist() == [4, 4, 5, 1]


def test_header_line_has_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nACGT\n>" + b"x" * (5 << 20))
    with pytest.raises(DataError) as caught:
        read_genome(path, tmp_path, warn=no_warning)
    assert str(caught.value) == (
        f"{path}:3: a header line is longer than 1,048,576 bytes; shorten it"
    )


def test_run_of_blanks_has_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nACGT" + b" " * (3 << 20) + b"ACGT\n")
    with pytest.raises(DataError) as caught:
        read_genome(path, tmp_path, warn=no_warning)
    assert str(caught.value) == (
        f"{path}:2: a run of blanks is longer than 1,048,576 bytes; shorten it"
    )
