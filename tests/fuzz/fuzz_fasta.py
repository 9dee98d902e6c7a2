"""FASTA: what is accepted is read as another reader reads it, in whatever form."""

from __future__ import annotations

import gzip
import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from Bio.SeqIO.FastaIO import SimpleFastaParser
from judge import answer, check_message, folder, placed

from genomeconv.errors import DataError
from genomeconv.fasta import Genome, ReadPolicy, open_indexed, read_genome

TOLERANT = ReadPolicy(
    empty="skip",
    gaps="n",
    soft_mask="n",
    duplicates="number",
    names="replace",
    allow_truncated=True,
)
STRICT, SKIPPING = ReadPolicy(), ReadPolicy(empty="skip")
VALID = re.compile(rb"(?:>[!-=?-~]+(?: [ -~]*)?\n(?:[ACGTNacgtn]+\n)+)+")
SEQUENCE_LINES = re.compile(rb"^(?!(?:\xef\xbb\xbf)?>).+", re.MULTILINE)
CODES = bytes.maketrans(b"ACGTUNRYKMSWBDHV", bytes([0, 1, 2, 3, 3, *[4] * 11]))
BLANKS_OF_PYTHON = re.compile(rb"[\x1c-\x1f]")
END_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

Records = list[tuple[str, str, int, bytes]]


def read(
    path: Path, policy: ReadPolicy = STRICT, block_bytes: int = 1 << 18
) -> Records | None:
    """Return names, checksums, called bases and codes; None where it is refused."""

    def whole() -> Records:
        with read_genome(
            path, folder(), policy, warn=check_message, block_bytes=block_bytes
        ) as genome:
            return contents(genome)

    return answer(whole, DataError, names=str(path))


def contents(genome: Genome) -> Records:
    table = genome.records
    return [
        (name, md5, int(called), genome.codes(i, 0, int(length)).tobytes())
        for i, (name, md5, called, length) in enumerate(
            zip(table.names, table.md5, table.called, table.lengths, strict=True)
        )
    ]


def by_index(path: Path) -> Records | None:
    """Return all records with bases as regions are read."""

    def whole() -> Records:
        with open_indexed(path, STRICT, warn=check_message) as genome:
            names = [name for name, length in genome.lengths.items() if length]
            genome.select(names, warn=check_message)
            return contents(genome)

    try:
        return answer(whole, DataError, names=str(path))
    finally:
        Path(f"{path}.fai").unlink(missing_ok=True)


def peer(data: bytes) -> list[tuple[str, bytes]]:
    """Return names and codes as Biopython reads them."""
    data = re.sub(rb"\x1a(\r\n?|\n)?\Z", b"", data.removeprefix(b"\xef\xbb\xbf"))
    text = data.lstrip(b" \t\r\n").decode("ascii", "surrogateescape")
    lines = io.TextIOWrapper(
        io.BytesIO(text.encode("ascii", "surrogateescape")), "ascii", "surrogateescape"
    )
    return [
        (
            title.encode("ascii", "surrogateescape").split()[0].decode(),
            re.sub(r"\s", "", letters).upper().encode().translate(CODES),
        )
        for title, letters in SimpleFastaParser(lines)
    ]


def bgzip(data: bytes, size: int = 11) -> bytes:
    """Pack in small blocks (SAM specification 4.1), by hand."""
    blocks = []
    for at in range(0, len(data), max(size, len(data) // 50)):
        part = data[at : at + max(size, len(data) // 50)]
        deflate = zlib.compressobj(wbits=-15)
        packed = deflate.compress(part) + deflate.flush()
        head = bytes.fromhex("1f8b08040000000000ff060042430200")
        head += struct.pack("<H", len(packed) + 25)
        blocks.append(head + packed + struct.pack("<II", zlib.crc32(part), len(part)))
    return b"".join([*blocks, END_BLOCK])


def rewrapped(records: Records, width: int) -> bytes:
    """Write the codes anew, in lower case."""
    out = []
    for name, _, _, codes in records:
        letters = np.frombuffer(b"acgtn", "S1")[np.frombuffer(codes, np.uint8)]
        text = letters.tobytes()
        lines = [text[i : i + width] for i in range(0, len(text), width)]
        out += [b">" + name.encode(), *lines]
    return b"\n".join(out)


def bases(records: Records | None) -> list[tuple[str, bytes]] | None:
    return records and [(name, codes) for name, _, _, codes in records]


def check(data: bytes) -> None:
    path = placed("x.fa", data)
    found = read(path)
    for block_bytes in (1, 13):
        assert read(path, block_bytes=block_bytes) == found
    tolerant, skipping = read(path, TOLERANT), read(path, SKIPPING)
    indexed = by_index(path)
    if found is not None:
        assert skipping == found
        assert tolerant is not None
        check_accepted(found)
    if indexed:
        assert indexed == skipping
    if data.startswith(b"\x1f\x8b"):
        return
    if found is not None and not BLANKS_OF_PYTHON.search(data):
        assert bases(found) == peer(data)
    if VALID.fullmatch(data):
        names = re.findall(rb"^>(\S+)", data, re.MULTILINE)
        assert (found is not None) == (len(set(names)) == len(names))
    check_forms(data, found, indexed)


def check_accepted(found: Records) -> None:
    """Wrapping and case change nothing; records of one width have an index."""
    for width in (1, 60):
        path = placed("rewrapped.fa", rewrapped(found, width))
        assert bases(read(path)) == bases(found)
        assert bases(by_index(path)) == bases(found)


def check_forms(data: bytes, found: Records | None, indexed: Records | None) -> None:
    """Line ends, case and packing change nothing, also where the file is refused."""
    assert read(placed("x.fa.gz", gzip.compress(data, 1))) == found
    packed = placed("x.fa.gz", bgzip(data))
    assert read(packed) == found
    assert by_index(packed) == indexed
    if b"\r" not in data:
        assert read(placed("crlf.fa", data.replace(b"\n", b"\r\n"))) == found
        assert read(placed("cr.fa", data.replace(b"\n", b"\r"))) == found
        if found is not None:
            lower = SEQUENCE_LINES.sub(lambda line: line[0].lower(), data)
            assert read(placed("lower.fa", lower)) == found
