"""Missing, unreadable, packed, truncated and damaged files."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import pytest
from packed import bgzipped

from genomeconv.errors import InputMissingError, PermissionDeniedError
from genomeconv.inputs import Input, open_binary, shown

CONTENT = b">a\n" + bytes(range(65, 91)) * 9000


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "genome.fa.gz").touch()
    (tmp_path / "other.txt").touch()
    with pytest.raises(InputMissingError) as caught:
        Input(tmp_path / "genome.fa")
    assert str(caught.value) == (
        f"{tmp_path}/genome.fa: no such file; did you mean genome.fa.gz?"
    )


def test_missing_file_without_neighbours(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError) as caught:
        Input(tmp_path / "genome.fa")
    assert str(caught.value) == f"{tmp_path}/genome.fa: no such file"


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError) as caught:
        Input(tmp_path / "no" / "genome.fa")
    assert str(caught.value) == (
        f"{tmp_path}/no/genome.fa: no such file; the folder {tmp_path}/no does not "
        "exist"
    )


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError) as caught:
        Input(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: is a directory; give the file in it that you mean"
    )


def test_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link.fa").symlink_to("gone.fa")
    with pytest.raises(InputMissingError) as caught:
        Input(tmp_path / "link.fa")
    assert str(caught.value) == (
        f"{tmp_path}/link.fa: is a symbolic link to gone.fa, which does not exist"
    )


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_bytes(CONTENT)
    (tmp_path / "link.fa").symlink_to("x.fa")
    with Input(tmp_path / "link.fa") as source:
        assert b"".join(source.blocks()) == CONTENT


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> None:  # the tests may run as root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionDeniedError) as caught:
        open_binary(Path("x.fa"))
    assert str(caught.value) == "x.fa: no permission to read it"


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(InputMissingError, match=r"no such file|File name too long"):
        Input("x" * 5000)


@pytest.mark.parametrize(
    ("name", "content", "packing", "warning"),
    [
        ("x.fa", CONTENT, "plain", None),
        ("x.fa.gz", gzip.compress(CONTENT), "gzip", None),
        ("x.fa.gz", bgzipped(CONTENT), "bgzip", None),
        (
            "x.fa.gz",
            CONTENT,
            "plain",
            "not compressed in spite of its name; read as text",
        ),
        (
            "x.fa",
            gzip.compress(CONTENT),
            "gzip",
            "compressed (gzip) though its name hides it",
        ),
        (
            "x.fa",
            bgzipped(CONTENT),
            "bgzip",
            "compressed (bgzip) though its name hides it",
        ),
    ],
)
@pytest.mark.parametrize("block_bytes", [1 << 20, 1000])
def test_the_first_bytes_decide(
    tmp_path: Path,
    name: str,
    content: bytes,
    packing: str,
    warning: str | None,
    block_bytes: int,
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with Input(path, block_bytes) as source:
        assert source.packing == packing
        assert source.suffix_warning() == (warning and f"{path}: {warning}")
        blocks = list(source.blocks())
    assert b"".join(blocks) == CONTENT
    assert all(0 < len(block) < 2 * block_bytes for block in blocks)


def test_zlib_without_gzip_is_not_gzip(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(zlib.compress(CONTENT))
    with Input(tmp_path / "x") as source:
        assert source.packing == "plain"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("chr1", "'chr1'"),
        ("a\x1b[31mb\n", r"'a\x1b[31mb\n'"),
        (b"a\xff", r"'a\\xff'".replace(r"\\", "\\")),
        ("x" * 100, "'" + "x" * 60 + "...'"),
        ("é", "'é'"),
        ("a\u202eb", r"'a\u202eb'"),
    ],
)
def test_names_in_messages_are_harmless(text: str | bytes, wanted: str) -> None:
    assert shown(text) == wanted


def test_identity_is_only_for_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    with Input(tmp_path / "x") as source:
        assert source.identity is not None
        assert source.identity.size == len(CONTENT)
    with Input(os.devnull) as source:
        assert source.identity is None
