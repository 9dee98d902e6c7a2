"""The block reader equals a reader one can see through, however the bytes are cut."""

from __future__ import annotations

import gzip
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from packed import bgzipped

from genomeconv.alphabet import decode
from genomeconv.errors import DataError
from genomeconv.fasta import ReadPolicy, read_genome
from genomeconv.fasta.blocks import text_blocks

NAMES = st.lists(
    st.text("abcXYZ0129./:|é", min_size=1, max_size=9), min_size=1, unique=True
)
LINES = st.lists(st.text("ACGTacgtNnRyU", max_size=12), max_size=6)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def naive(text: str) -> dict[str, tuple[int, str]]:
    """Read FASTA line by line, as one would write it on a blackboard."""
    records: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(">"):
            name = line[1:].split()[0]
            records[name] = (number, "")
        elif line.strip():
            first, letters = records[name]
            records[name] = (first, letters + line.rstrip().upper())
    return records


@st.composite
def fasta_files(draw: st.DrawFn) -> str:
    lines = [""] * draw(st.integers(0, 2))
    for name in draw(NAMES):
        lines.append(f">{name}" + draw(st.sampled_from(["", " text", "\tmore text"])))
        lines += [
            line + draw(st.sampled_from(["", "", " ", " \t"])) for line in draw(LINES)
        ]
    text = "".join(line + draw(ENDS) for line in lines)
    return text.rstrip("\r\n") if draw(st.booleans()) else text


def as_naive(letters: str) -> bytes:
    return letters.translate(str.maketrans("URYKMSWBDHV", "TNNNNNNNNNN")).encode()


@given(text=fasta_files(), block_bytes=st.integers(1, 40))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_equals_naive_reader(tmp_path: Path, text: str, block_bytes: int) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(text.encode())
    wanted = {name: r for name, r in naive(text).items() if r[1]}
    policy = ReadPolicy(empty="skip")

    def run():
        return read_genome(
            path, tmp_path, policy, warn=lambda m: None, block_bytes=block_bytes
        )

    if not wanted:
        with pytest.raises(DataError, match="only empty records"):
            run()
        return
    with run() as genome:
        records = genome.records
        assert records.names == list(wanted)
        assert records.lengths.tolist() == [len(r[1]) for r in wanted.values()]
        for i, (_, letters) in enumerate(wanted.values()):
            codes = genome.codes(i, 0, len(letters))
            assert decode(codes) == as_naive(letters)
            assert records.md5[i] == hashlib.md5(letters.encode()).hexdigest()
            assert records.called[i] == np.count_nonzero(codes < 4)


@given(text=fasta_files(), cuts=st.lists(st.integers(0, 200), max_size=12))
@example(text=">a\r\nAC \r\nGT", cuts=[3, 6, 7, 8, 9])
@settings(max_examples=200, deadline=None)
def test_any_cutting_gives_the_same_text(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = sorted({0, *(c for c in cuts if c < len(data)), len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    blocks = list(text_blocks(pieces, "x", lambda m: None))
    whole = b"".join(block.text for block in blocks)
    assert whole == b"\n" + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    at = 0
    for block in blocks:
        before = whole[:at]
        assert block.line == before.count(b"\n")
        assert block.column == len(before) - before.rfind(b"\n") - 1
        at += len(block.text)


@given(text=fasta_files(), block_bytes=st.integers(1, 40), data=st.data())
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_bad_letter_is_found_where_it_is(
    tmp_path: Path, text: str, block_bytes: int, data: st.DataObject
) -> None:
    lines = text.splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if line[0] in "ACGTacgtNnRyU"]
    if not rows:
        return
    row = data.draw(st.sampled_from(rows))
    column = data.draw(st.integers(0, len(lines[row].rstrip())))
    lines[row] = lines[row][:column] + "*" + lines[row][column:]
    path = tmp_path / "x.fa"
    path.write_bytes("".join(lines).encode())
    with pytest.raises(DataError) as caught:
        read_genome(
            path,
            tmp_path,
            ReadPolicy(empty="skip"),
            warn=lambda m: None,
            block_bytes=block_bytes,
        )
    name = [line for line in lines[:row] if line.startswith(">")][-1].split()[0][1:]
    assert str(caught.value) == (
        f"{path}:{row + 1}:{column + 1}: record '{name}' has '*', a stop or padding "
        "sign; remove it first"
    )


def rewrap(records: dict[str, str], width: int, end: str = "\n") -> bytes:
    out = ""
    for name, letters in records.items():
        out += f">{name}{end}"
        out += "".join(
            letters[i : i + width] + end for i in range(0, len(letters), width)
        )
    return out.encode()


RANDOM = np.random.default_rng(7)
GENOME = {
    f"chr{i}": "".join(RANDOM.choice(list("ACGTN"), size))
    for i, size in enumerate([70_001, 1, 60, 200_000, 61])
}
FORMS = {
    "one line": rewrap(GENOME, 1 << 30),
    "7 a line": rewrap(GENOME, 7),
    "CRLF": rewrap(GENOME, 60, "\r\n"),
    "CR": rewrap(GENOME, 60, "\r"),
    "lower case": rewrap({k: v.lower() for k, v in GENOME.items()}, 60),
    "no end": rewrap(GENOME, 60).rstrip(),
    "blank lines": rewrap(GENOME, 60).replace(b">", b"\n\n>") + b"\n\n",
    "blanks": rewrap(GENOME, 60, " \t\n"),
    "gzip": gzip.compress(rewrap(GENOME, 60)),
    "gzip, 3 members": b"".join(
        gzip.compress(part)
        for part in (rewrap(GENOME, 60)[:99], rewrap(GENOME, 60)[99:], b"")
    ),
    "gzip, zero padding": gzip.compress(rewrap(GENOME, 60)) + bytes(1000),
    "bgzip": bgzipped(rewrap(GENOME, 60)),
    "bgzip, joined": bgzipped(rewrap(GENOME, 60)[:99])
    + bgzipped(rewrap(GENOME, 60)[99:]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block_bytes", [1 << 18, 4099])
def test_the_form_of_a_file_changes_nothing(
    tmp_path: Path, form: str, block_bytes: int
) -> None:
    path = tmp_path / ("x.fa.gz" if "gzip" in form else "x.fa")
    path.write_bytes(FORMS[form])
    said: list[str] = []
    with read_genome(
        path, tmp_path, warn=said.append, block_bytes=block_bytes
    ) as genome:
        assert genome.records.names == list(GENOME)
        for i, letters in enumerate(GENOME.values()):
            assert decode(genome.codes(i, 0, len(letters))) == letters.encode()
            assert genome.records.md5[i] == hashlib.md5(letters.encode()).hexdigest()
    assert said == []
