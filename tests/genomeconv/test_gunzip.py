"""Members, padding, bombs, truncation, flipped bits."""

from __future__ import annotations

import contextlib
import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import bgzipped

from genomeconv.errors import DataError
from genomeconv.gunzip import gunzip

CONTENT = b">a\n" + bytes(range(65, 91)) * 9000


def unpack(data: bytes, chunk: int = 1 << 16, block: int = 1 << 20) -> bytes:
    stream = io.BytesIO(data)
    return b"".join(gunzip(lambda n: stream.read(min(n, chunk)), "x.fa.gz", block))


def test_a_bomb_comes_in_bounded_pieces() -> None:
    bomb = gzip.compress(bytes(50 << 20), 9)
    stream = io.BytesIO(bomb)
    sizes = [len(piece) for piece in gunzip(stream.read, "bomb", 1 << 16)]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 1 << 16


def test_every_truncation_is_seen() -> None:
    whole = gzip.compress(b">a\nACGT\n")
    for size in range(2, len(whole)):
        with pytest.raises(DataError) as caught:
            unpack(whole[:size])
        assert str(caught.value) == (
            f"x.fa.gz: the compressed data stop early at byte {size}; the file is "
            "truncated: copy or download it again"
        )


def test_truncation_between_bgzip_blocks_is_seen() -> None:
    whole = bgzipped(CONTENT)
    without_end = whole[:-28]
    with pytest.raises(DataError) as caught:
        unpack(without_end)
    assert str(caught.value) == (
        "x.fa.gz: the bgzip end-of-file block is missing at byte "
        f"{len(without_end):,}; the file is truncated: copy or download it again, "
        "or embed what is there with --allow-truncated"
    )
    said = []
    stream = io.BytesIO(without_end)
    pieces = gunzip(stream.read, "x.fa.gz", 1 << 16, said.append)
    assert b"".join(pieces) == CONTENT
    assert said == [
        "x.fa.gz: the bgzip end-of-file block is missing at byte "
        f"{len(without_end):,}; the file may be truncated, what is there is read"
    ]


def test_a_wrong_checksum_is_seen() -> None:
    whole = bytearray(gzip.compress(CONTENT))
    whole[-8] ^= 1
    with pytest.raises(DataError) as caught:
        unpack(bytes(whole))
    assert str(caught.value) == (
        "x.fa.gz: the compressed data are damaged near byte 0 (incorrect data check); "
        "copy or download the file again"
    )


@given(at=st.integers(10, 400), bit=st.integers(0, 7), chunk=st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_a_flipped_bit_never_gives_other_content(at: int, bit: int, chunk: int) -> None:
    content = b"".join(b"%d " % (i * i) for i in range(300))
    data = bytearray(gzip.compress(content))
    data[at % len(data)] ^= 1 << bit
    if at % len(data) < 10:
        return  # the header may say what it likes of time and system
    with contextlib.suppress(DataError):
        # a few bits of deflate carry nothing: padding, codes that are not used
        assert unpack(bytes(data), chunk) == content


def test_something_behind_the_data_is_seen() -> None:
    whole = gzip.compress(CONTENT)
    with pytest.raises(DataError) as caught:
        unpack(whole + b"\0\0garbage")
    assert str(caught.value) == (
        "x.fa.gz: something that is not gzip follows the compressed data at byte "
        f"{len(whole) + 2:,}; the file is damaged"
    )


@given(
    parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=5),
    padding=st.integers(0, 100),
    chunk=st.integers(1, 3000),
    block=st.integers(1, 500),
)
@settings(max_examples=100, deadline=None)
def test_members_of_any_size(
    parts: list[bytes], padding: int, chunk: int, block: int
) -> None:
    data = bytes(padding).join(gzip.compress(part) for part in parts)
    assert unpack(data, chunk, block) == b"".join(parts)
