"""The fault matrix: what can be wrong, and what then has to happen. Only a table.

Numbers are those of docs/faults.md; several rows can have one number. A row is one
command line in an empty folder with the files of the row; `test_matrix` runs it. A
number that needs a process of its own, a clock or a gigabyte is in `ELSEWHERE`.
"""

from __future__ import annotations

import ctypes
import gzip
import io
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import h5py
import pytest
from packed import bgzipped

from genomeconv.store.lock import _describe


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The folder of a row, and what may be done to it and to the process.

    What `monkeypatch` and `stack` are told to undo is undone after the run.
    """

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that can be wrong, and what has to happen.

    Attributes
    ----------
    number : int or None
        Of the matrix; None for a fault of the same kind that it does not list.
    name : str
        Id of the test.
    argv : str
        The command line, as one would type it after `genomeconv`.
    code : int
        The exit code.
    message : str
        Regular expression that a line of stderr has to contain: the one error line,
        or where the code is 0 a message. Empty: no warning at all.
    files : mapping
        Content of the files that are there before.
    stdin : str
        Name of the file given as standard input.
    prepare : callable
        What else to do to the folder, or to the process.
    output : str
        The name nothing may stand under afterwards if the code is not 0.
    left : tuple of str
        Other files that may be new, changed or gone afterwards.
    same_as : bytes or None
        The FASTA whose output has to be equal byte for byte, by the command `same_by`.
    see : callable or None
        What has to be true of the output.
    deviation : str
        Where the matrix, as first written, asked for something else, and why not.
    """

    number: int | None
    name: str
    argv: str = "embed x.fa -o out.h5"
    code: int = 0
    message: str = ""
    files: Mapping[str, bytes]
    stdin: str = ""
    prepare: Callable[[Scene], None] = lambda scene: None
    output: str = "out.h5"
    left: tuple[str, ...] = ()
    same_as: bytes | None = None
    same_by: str = "embed x.fa -o out.h5"
    see: Callable[[h5py.File], bool] | None = None
    deviation: str = ""


BASES = "".join(Random(1).choices("ACGT", k=3000))
GOOD = f">chr1 first\n{BASES[:600]}\n>chr2\n{BASES[600:900]}\n".encode()
PROTEIN = b">p53\nMEEPQSDPSVEPPLSQETFSDLWKLLPENNVLSPLPSQAMDDLMLSPDDIEQWFTEDPGP\n"
EMBED = "embed x.fa -o out.h5"
REGION = f"{EMBED} --region chr1:101-400 --region chr2"


def wrapped(width: int = 60, end: str = "\n", text: bytes = GOOD) -> bytes:
    """Rewrap every record of a FASTA."""
    out = ""
    for record in text.decode().split(">")[1:]:
        head, letters = record.split("\n", 1)
        letters = letters.replace("\n", "")
        lines = [letters[i : i + width] for i in range(0, len(letters), width)]
        out += "".join(line + end for line in [f">{head}", *lines])
    return out.encode()


def fasta(text: bytes | str) -> dict[str, bytes]:
    return {"x.fa": text if isinstance(text, bytes) else text.encode()}


def flipped(content: bytes, at: int = 1_000_000) -> bytes:
    """One bit of one byte turned over."""
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def first_row(output: bytes) -> int:
    """Where the numbers begin in an output."""
    with h5py.File(io.BytesIO(output)) as file:
        return int(file["X"].id.get_chunk_info(0).byte_offset)


def full_disk(scene: Scene) -> None:
    """Leave so little space that the input fits and the output does not."""
    usage = shutil.disk_usage(scene.folder)
    scene.monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage._replace(free=20_000)
    )


def folder(name: str) -> Callable[[Scene], None]:
    return lambda scene: (scene.folder / name).mkdir()


def link(name: str, target: str) -> Callable[[Scene], None]:
    return lambda scene: (scene.folder / name).symlink_to(target)


def forbid(name: str, mode: int) -> Callable[[Scene], None]:
    """Take permissions away, also from root."""

    def prepare(scene: Scene) -> None:
        path = scene.folder / name
        before = path.stat().st_mode
        path.chmod(mode)
        scene.stack.callback(path.chmod, before)
        scene.stack.enter_context(as_anybody())

    return prepare


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


@contextmanager
def as_anybody() -> Iterator[None]:
    """Let permissions hold for root too: capabilities(7) that override them go."""
    if os.geteuid() != 0:
        yield
        return
    libc, header, sets = (
        ctypes.CDLL(None),
        _Header(0x20080522, 0),
        (ctypes.c_uint32 * 6)(),
    )
    override, no_fixup = 1 << 1 | 1 << 2, 1 << 2  # CAP_DAC_*; access(2) obeys it too
    assert libc.capget(ctypes.byref(header), sets) == 0
    bits, before = libc.prctl(27, 0, 0, 0, 0), sets[0]
    if libc.prctl(28, bits | no_fixup, 0, 0, 0):
        pytest.skip("root may do everything here, and cannot give it up")
    sets[0] = before & ~override
    assert libc.capset(ctypes.byref(header), sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(ctypes.byref(header), sets) == 0
        assert libc.prctl(28, bits, 0, 0, 0) == 0


def pipe(name: str, content: bytes) -> Callable[[Scene], None]:
    def prepare(scene: Scene) -> None:
        path = scene.folder / name
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        scene.stack.callback(writer.join)

    return prepare


def locked(host: str, pid: int) -> Callable[[Scene], None]:
    """Leave the lock of a process, as it would have written it."""
    holder = {**json.loads(_describe(pid)), "host": host}
    return link("out.h5.lock", json.dumps(holder))


def column(name: str) -> Callable[[h5py.File], list[Any]]:
    def read(file: h5py.File) -> list[Any]:
        values = file[name][:].tolist()
        return [v.decode() if isinstance(v, bytes) else v for v in values]

    return read


NAMES = column("uns/genomeconv/sequences/name")
DESCRIPTIONS = column("uns/genomeconv/sequences/description")
CALLED = column("obs/n_bases")


def named(*names: str) -> Callable[[h5py.File], bool]:
    return lambda file: NAMES(file) == list(names)


NO_BASES = "has no bases; the file may be (damaged|truncated here); .*--empty skip"
SKIP = f"{EMBED} --empty skip"
ONE = f">a\n{BASES[:600]}\n"
FAI = b"chr1\t600\t12\t60\t61\nchr2\t300\t628\t60\t61\n"  # of wrapped()
TRUE = fasta(wrapped())
WITH_FAI = {
    "left": ("x.fa.fai",),
    "argv": REGION,
    "same_as": wrapped(),
    "same_by": REGION,
}
SHIPPED = files("genomeconv_data")
GOLDEN = (SHIPPED / "golden" / "embeddings-v1.h5").read_bytes()
WEIGHTS = "weights.safetensors"
MODEL = {
    f"m/{name}": (SHIPPED / "models" / "human" / name).read_bytes()
    for name in ("config.json", "model.json", WEIGHTS)
}
REBUILT = r"warning: x\.fa\.fai: does not match the FASTA file \(.*\); made anew"
WHY_REBUILT = "An index that does not fit is made anew with a warning, not refused: the numbers are right and nobody has to act."

ROWS: list[Row] = [
    # 1-14: files without sequences, and headers.
    Row(number=1, name="zero bytes", code=65, message=r"no sequences in x\.fa: the file is empty", files=fasta("")),
    Row(number=2, name="line ends only", code=65, message=r"no sequences in x\.fa", files=fasta("\n\n\r\n")),
    Row(number=3, name="header only", code=65, message=rf"x\.fa:1: record 'a' {NO_BASES}", files=fasta(">a\n")),
    Row(number=3, name="header only, skipped", argv=SKIP, code=65, message=r"no sequences in x\.fa, only empty records", files=fasta(">a\n")),
    Row(number=4, name="empty record between", code=65, message=rf"x\.fa:3: record 'b' {NO_BASES}", files=fasta(">a\nAC\n>b\n\n>c\nG\n")),
    Row(number=4, name="empty record skipped", argv=SKIP, message=r"x\.fa: 1 records without bases skipped", files=fasta(f">b\n{ONE}"), same_as=ONE.encode()),
    Row(number=5, name="header at the end", code=65, message=rf"x\.fa:3: record 'b' {NO_BASES}", files=fasta(">a\nAC\n>b")),
    Row(number=6, name="text first", code=65, message=r"x\.fa:2: text before the first '>': 'Dear all,'; give a FASTA file", files=fasta("\nDear all,\n>a\nACGT\n")),
    Row(number=6, name="GFF", code=65, message="looks like GFF", files=fasta("##gff-version 3\n")),
    Row(number=6, name="HTML", code=65, message="looks like HTML, a web page; download", files=fasta("<!DOCTYPE html>\n<html>")),
    Row(number=6, name="GenBank", code=65, message="looks like GenBank; export it", files=fasta("LOCUS       NC_001416  48502 bp\n")),
    Row(number=6, name="2bit", code=65, message="looks like 2bit; convert it", files=fasta(b"\x43\x27\x41\x1a" + bytes(12))),
    Row(number=6, name="BAM", code=65, message="looks like BAM; extract", files=fasta(bgzipped(b"BAM\x01" + bytes(12)))),
    Row(number=7, name="FASTQ", code=65, message="looks like FASTQ; convert it", files=fasta("@r\nACGT\n+\nIIII\n")),
    Row(number=8, name="duplicate name", code=65, message=r"x\.fa:3: the name 'a' is used before, on line 1; .*--duplicates number", files=fasta(">a\nAC\n>a\nGT\n")),
    Row(number=8, name="duplicate names numbered", argv=f"{EMBED} --duplicates number", message=r"warning: x\.fa:3: the name 'a' is used before; now 'a_2'", files=fasta(">a\nAC\n>a\nGT\n>a_2\nA\n>a\nT\n"), same_as=b">a\nAC\n>a_2\nGT\n>a_2_2\nA\n>a_3\nT\n"),
    Row(number=8, name="duplicates of regions", argv=f"{EMBED} --region a --duplicates number", code=2, message="--duplicates number is for whole files", files=fasta(ONE)),
    Row(number=9, name="no name", code=65, message=r"x\.fa:1: a '>' without a name", files=fasta(">\nACGT\n")),
    Row(number=9, name="blank before the name", message=r"warning: x\.fa:1: blanks between '>' and the name 'a'", files=fasta(ONE.replace(">", "> ")), same_as=ONE.encode()),
    Row(number=10, name="description", files=fasta(">a\tb c \nAC\n>d  e\nGT\n"), see=lambda file: (NAMES(file), DESCRIPTIONS(file)) == (["a", "d"], ["b c", "e"])),
    Row(number=11, name="names like paths", files=fasta("".join(f">{name}\nACGT\n" for name in ("/", ".", "..", "a/b", "a//b", "./a", "HLA/A*01:01", "x" * 70_000))), see=named("/", ".", "..", "a/b", "a//b", "./a", "HLA/A*01:01", "x" * 70_000)),
    Row(number=12, name="composed and decomposed", files=fasta(">é\nA\n>e\u0301\nC\n"), see=named("é", "e\u0301")),
    Row(number=13, name="latin-1 name", code=65, message=r"x\.fa:1: the name 'Bl\\xfcte' is not UTF-8 \(its byte 3 is 0xFC\); .*--names replace", files=fasta(b">Bl\xfcte\nACGT\n")),
    Row(number=13, name="latin-1 name replaced", argv=f"{EMBED} --names replace", message=r"warning: .* is not UTF-8 .*; read as 'Bl\ufffdte'", files=fasta(b">ok\nA\n>Bl\xfcte\nACGT\n"), same_as=">ok\nA\n>Bl\ufffdte\nACGT\n".encode()),
    Row(number=13, name="replaced names alike", argv=f"{EMBED} --names replace", code=65, message="the name 'a\ufffd' is used before, on line 1", files=fasta(b">a\xfc\nA\n>a\xe9\nACGT\n")),
    Row(number=13, name="names of regions", argv=f"{EMBED} --region a --names replace", code=2, message="--names replace is for whole files", files=fasta(ONE)),
    Row(number=14, name="escapes in a refused name", code=65, message=r"record 'a\\x1b\[2J\\x07' has a gap", files=fasta(">a\x1b[2J\x07\nAC-GT\n")),
    Row(number=14, name="escapes in a warning", message=r"the name '\\x1b\[31m\\u202ea'", files=fasta("> \x1b[31m\u202ea\nACGT\n"), see=named("\x1b[31m\u202ea")),
    # 15-21: letters.
    Row(number=15, name="lower case", files=fasta(GOOD[:100] + GOOD[100:].lower()), same_as=GOOD),
    Row(number=15, name="soft mask as N", argv=f"{EMBED} --soft-mask n", message="7 lower-case bases of x.fa read as N", files=fasta(">a\nACacgtunACGu\nGtT\n"), same_as=b">a\nACNNNNNNACGN\nGNT\n"),
    Row(number=15, name="soft mask of regions", argv=f"{EMBED} --soft-mask n --region a:3-6 --per-base", left=("x.fa.fai",), message="5 lower-case", files=fasta(">a\nACacGTuu\nAnt\n"), same_as=b">a\nACNNGTNN\nANN\n", same_by=f"{EMBED} --region a:3-6 --per-base"),
    Row(number=16, name="IUPAC codes", message="10 IUPAC codes of x.fa read as N", files=fasta(">a\nACRYKMSWBDHVGT\n"), same_as=b">a\nACNNNNNNNNNNGT\n"),
    Row(number=17, name="runs of N", argv=f"{EMBED} --bin 10", files=fasta(f">a\n{'N' * 40}\n>b\nACGT{'N' * 20}\n"), see=lambda file: CALLED(file) == [0, 0, 0, 0, 4, 0, 0]),
    Row(number=18, name="gap", code=65, message=r"x\.fa:3:2: record 'a' has a gap '-'; .*--gaps n or --gaps remove", files=fasta(">a\nACGT\nA-C\n")),
    Row(number=18, name="gap of a region", argv=f"{EMBED} --region chr1", code=65, message=r"x\.fa: record 'chr1', base 5, has a gap '\.'", files=fasta(">chr1\nACGT.AC\n>chr2\nA\n"), left=("x.fa.fai",)),
    Row(number=18, name="gaps as N", argv=f"{EMBED} --gaps n", message="3 gaps of x.fa read as N", files=fasta(">a\nAC--GT\nA.nR\n"), same_as=b">a\nACNNGT\nANNN\n"),
    Row(number=18, name="gaps as N in regions", argv=f"{EMBED} --gaps n --region a:2-8 --per-base", message="3 gaps of x.fa read as N", left=("x.fa.fai",), files=fasta(">a\nAC--GT\nA.nR\n"), same_as=b">a\nACNNGT\nANNN\n", same_by=f"{EMBED} --region a:2-8 --per-base"),
    Row(number=18, name="gaps removed", argv=f"{EMBED} --gaps remove", message="3 gaps of x.fa removed, positions too", files=fasta(">a\nAC--GT\nA.nR\n"), same_as=b">a\nACGTANN\n"),
    Row(number=18, name="nothing but gaps", argv=f"{EMBED} --gaps remove", code=65, message=r"x\.fa:1: record 'a' has no bases", files=fasta(">a\n---\n>b\nA\n")),
    Row(number=18, name="gaps removed from regions", argv=f"{EMBED} --gaps remove --region a", code=2, message="--gaps remove is for whole files", files=fasta(ONE)),
    Row(number=19, name="RNA", message=r"warning: x\.fa: 3 letters U \(RNA\) read as T", files=fasta(">a\nACGUu\nUA\n"), same_as=b">a\nACGTT\nTA\n"),
    Row(number=20, name="protein", code=65, message=r"x\.fa:2:2: record 'p53' has 'E'; .* % letters that are not nucleotides, looks like protein", files=fasta(PROTEIN)),
    Row(number=21, name="star", code=65, message=r"x\.fa:2:5: record 'a' has '\*'", files=fasta(">a\nACGT*\n")),
    Row(number=21, name="digit", code=65, message=r"x\.fa:2:1: record 'a' has the digit 6", files=fasta(">a\n61 ACGT\n")),
    Row(number=21, name="greater inside a line", code=65, message=r"x\.fa:2:5: record 'a' has '>' inside a line", files=fasta(">a\nACGT>b\nGG\n")),
    # 22-30: lines and bytes.
    Row(number=22, name="CRLF", files=fasta(wrapped(60, "\r\n")), same_as=GOOD),
    Row(number=22, name="CRLF, region", files=fasta(wrapped(60, "\r\n")), **WITH_FAI),
    Row(number=23, name="CR only", files=fasta(wrapped(60, "\r")), same_as=GOOD),
    Row(number=23, name="CR only, region", argv=REGION, code=65, message=r"x\.fa: lines end with CR only, regions need LF", files=fasta(wrapped(60, "\r"))),
    Row(number=24, name="mixed ends, ragged lines", files=fasta(wrapped().replace(b"G\n", b"G\r\n").replace(b"AC", b"A\nC")), same_as=GOOD),
    Row(number=24, name="a CR ends a header, region", argv=REGION, code=65, message=r"x\.fa:1: a CR inside a header line; regions need every line to end with LF or CRLF: run .mac2unix.", files=fasta(wrapped().replace(b"first\n", b"first\r"))),
    Row(number=24, name="ragged lines, region", argv=REGION, code=65, message=r"x\.fa: line lengths differ in record 'chr1', regions need them equal; rewrap", files=fasta(wrapped().replace(b"ACG", b"A\nCG"))),
    Row(number=25, name="no end of the last line", files=fasta(wrapped().rstrip()), same_as=GOOD),
    Row(number=25, name="no end of the last line, region", files=fasta(wrapped().rstrip()), **WITH_FAI),
    Row(number=26, name="blank lines", files=fasta(b"\n\n" + wrapped(7).replace(b">", b"\n>").replace(b"A\n", b"A\n\n")), same_as=GOOD),
    Row(number=27, name="blanks at line ends", files=fasta(wrapped(60, " \t\n")), same_as=GOOD),
    Row(number=27, name="blank inside a line", code=65, message=r"x\.fa:3:3: record 'a' has a blank inside a line", files=fasta(">a\nACGT \nAC GT \n")),
    Row(number=28, name="NUL", code=65, message=r"x\.fa:2:3: record 'a' has a NUL byte; a sparse or damaged copy", files=fasta(">a\nAC\0\0\0"), deviation="Line and column instead of an offset: the way to find it in an editor."),
    Row(number=28, name="NUL in a name", code=65, message=r"x\.fa:1: a NUL byte in the name 'a\\x00b'", files=fasta(">a\0b\nAC\n")),
    Row(number=29, name="byte order mark", message="warning: x.fa: begins with a UTF-8 byte order mark; ignored", files=fasta(b"\xef\xbb\xbf" + GOOD), same_as=GOOD),
    Row(number=29, name="UTF-16", code=65, message="looks like UTF-16 text; re-encode it with", files=fasta(GOOD.decode().encode("utf-16"))),
    Row(number=30, name="Ctrl-Z at the end", message="warning: x.fa: ends with a Ctrl-Z.*ignored", files=fasta(GOOD + b"\x1a\r\n"), same_as=GOOD),
    Row(number=30, name="Ctrl-Z inside", code=65, message=r"x\.fa:3:1: record 'a' has a Ctrl-Z that is not the last byte", files=fasta(">a\nACGT\n\x1a>b\nA\n")),
    # 33-39: sizes and packing.
    Row(number=33, name="one base", argv=f"{EMBED} --per-base", files=fasta(">a\nA\n>b\nC\n"), see=lambda file: file["X"].shape[0] == 2),
    Row(number=34, name="gzip of several members", argv="embed x.fa.gz -o out.h5", files={"x.fa.gz": gzip.compress(GOOD[:99]) + gzip.compress(GOOD[99:])}, same_as=GOOD),
    Row(number=34, name="gzip, region", argv="embed x.fa.gz -o out.h5 --region chr2", code=65, message=r"x\.fa\.gz: regions need bgzip, this is plain gzip; run", files={"x.fa.gz": gzip.compress(GOOD)}),
    Row(number=35, name="gzip truncated", argv="embed x.fa.gz -o out.h5", code=65, message=r"x\.fa\.gz: the compressed data stop early at byte \d+; the file is truncated", files={"x.fa.gz": gzip.compress(GOOD)[:-20]}),
    Row(number=35, name="gzip with a wrong checksum", argv="embed x.fa.gz -o out.h5", code=65, message=r"x\.fa\.gz: the compressed data are damaged near byte \d+", files={"x.fa.gz": gzip.compress(GOOD)[:-8] + bytes(8)}),
    Row(number=35, name="text behind gzip", argv="embed x.fa.gz -o out.h5", code=65, message=r"x\.fa\.gz: something that is not gzip follows .* at byte \d+", files={"x.fa.gz": gzip.compress(GOOD) + b"garbage"}),
    Row(number=36, name="bgzip, region", argv=f"{REGION}".replace("x.fa", "x.fa.gz"), left=("x.fa.gz.fai",), files={"x.fa.gz": bgzipped(wrapped())}, same_as=wrapped(), same_by=REGION),
    Row(number=36, name="bgzip with a lying .gzi", argv=f"{REGION}".replace("x.fa", "x.fa.gz"), left=("x.fa.gz.fai",), files={"x.fa.gz": bgzipped(wrapped()), "x.fa.gz.gzi": bytes(range(64))}, same_as=wrapped(), same_by=REGION),
    Row(number=37, name="bgzip without its end", argv="embed x.fa.gz -o out.h5", code=65, message=r"x\.fa\.gz: the bgzip end-of-file block is missing at byte [\d,]+; .*--allow-truncated", files={"x.fa.gz": bgzipped(GOOD)[:-28]}),
    Row(number=37, name="bgzip without its end, allowed", argv="embed x.fa.gz -o out.h5 --allow-truncated", message="warning: .*end-of-file block is missing .*, what is there is read", files={"x.fa.gz": bgzipped(GOOD)[:-28]}, same_as=GOOD),
    Row(number=37, name="bgzip without its end, region", argv=f"{REGION} --allow-truncated".replace("x.fa", "x.fa.gz"), left=("x.fa.gz.fai",), message="warning: .*end-of-file block is missing .*, what is there is read", files={"x.fa.gz": bgzipped(wrapped())[:-28]}, same_as=wrapped(), same_by=REGION),
    Row(number=37, name="bgzip cut inside a block", argv="embed x.fa.gz -o out.h5 --allow-truncated", code=65, message="the compressed data stop early at byte", files={"x.fa.gz": bgzipped(GOOD)[:-40]}),
    Row(number=38, name="text named .gz", argv="embed x.fa.gz -o out.h5", message=r"warning: x\.fa\.gz: not compressed in spite of its name", files={"x.fa.gz": GOOD}, same_as=GOOD),
    Row(number=38, name="gzip not named so", message=r"warning: x\.fa: compressed \(gzip\) though its name hides it", files=fasta(gzip.compress(GOOD)), same_as=GOOD),
    Row(number=39, name="gzip bomb", argv="embed x.fa.gz -o out.h5 --max-length 1M", code=65, message=r"x\.fa\.gz:1: record 'a' has more than 1,000,000 bases; raise --max-length", files={"x.fa.gz": gzip.compress(b">a\n" + b"A" * 20_000_000)}),
    Row(number=39, name="a record too long in the middle", argv=f"{EMBED} --max-length 4", code=65, message=r"x\.fa:3: record 'b' has more than 4 bases", files=fasta(">a\nACGT\n>b\nACG\nTA\n>c\nA\n")),
    Row(number=39, name="a region of a record too long", argv=f"{REGION} --max-length 500", code=65, message=r"x\.fa: record 'chr1' has 600 bases, more than 500; raise --max-length", files=TRUE, left=("x.fa.fai",)),
    Row(number=39, name="as long as allowed", argv=f"{EMBED} --max-length 600", files=TRUE, same_as=GOOD),
    # 40-44: indexes and streams.
    Row(number=40, name="stale index", message=REBUILT, files={"x.fa.fai": FAI, "x.fa": wrapped(text=b">new\nACGT\n" + GOOD)}, argv=REGION, same_as=wrapped(text=b">new\nACGT\n" + GOOD), same_by=REGION, left=("x.fa.fai",), deviation=WHY_REBUILT),
    Row(number=41, name="empty index", message=REBUILT, files={**TRUE, "x.fa.fai": b""}, **WITH_FAI, deviation=WHY_REBUILT),
    Row(number=41, name="garbage index", message=REBUILT, files={**TRUE, "x.fa.fai": bytes(range(256))}, **WITH_FAI),
    Row(number=41, name="index of another file", message=REBUILT, files={**TRUE, "x.fa.fai": FAI.replace(b"\t12\t", b"\t19\t")}, **WITH_FAI),
    Row(number=41, name="index past the end", message=REBUILT, files={**TRUE, "x.fa.fai": FAI.replace(b"chr2\t300", b"chr2\t90000")}, **WITH_FAI),
    Row(number=41, name="index of a part", message=REBUILT, files={**TRUE, "x.fa.fai": FAI.splitlines(keepends=True)[0]}, **WITH_FAI),
    Row(number=41, name="index with names exchanged", message=REBUILT, files={**TRUE, "x.fa.fai": FAI.replace(b"chr1", b"chrX")}, **WITH_FAI),
    Row(number=41, name="a right index is believed", files={**TRUE, "x.fa.fai": FAI}, **WITH_FAI),
    Row(number=42, name="read-only folder", argv=REGION.replace("x.fa", "d/x.fa"), message=r"d/x\.fa\.fai: cannot be written; the index is kept in memory", files={"d/x.fa": wrapped()}, prepare=forbid("d", 0o555), same_as=wrapped(), same_by=REGION),
    Row(number=44, name="standard input", argv="embed - -o out.h5", stdin="x.fa", files=TRUE, same_as=GOOD),
    Row(number=44, name="standard input, region", argv="embed - -o out.h5 --region chr1", stdin="x.fa", code=2, message="regions need a file that can be read at any place", files=TRUE),
    Row(number=44, name="standard input without -o", argv="embed -", stdin="x.fa", code=2, message="standard input has no name: say where to with -o", files=TRUE),
    Row(number=44, name="standard input that is no FASTA", argv="embed - -o out.h5", stdin="x.fa", code=65, message="standard input:1: text before the first '>'", files=fasta("Dear all,\n")),
    # 45-50: places.
    Row(number=45, name="link", argv="embed y.fa -o out.h5", files=TRUE, prepare=link("y.fa", "x.fa"), same_as=GOOD),
    Row(number=45, name="dangling link", code=66, message=r"x\.fa: is a symbolic link to gone\.fa, which does not exist", files={}, prepare=link("x.fa", "gone.fa")),
    Row(number=45, name="pipe with a name", files={}, prepare=pipe("x.fa", GOOD), same_as=GOOD),
    Row(number=45, name="folder", argv="embed d -o out.h5", code=66, message="d: is a directory", files={}, prepare=folder("d")),
    Row(number=45, name="missing", argv="embed y.fa -o out.h5", code=66, message=r"y\.fa: no such file; did you mean x\.fa\?", files=TRUE),
    Row(number=45, name="missing folder", argv="embed d/y.fa -o out.h5", code=66, message=r"d/y\.fa: no such file; the folder d does", files=TRUE),
    Row(number=46, name="unreadable", code=77, message=r"x\.fa: no permission to read it", files=TRUE, prepare=forbid("x.fa", 0)),
    Row(number=48, name="output exists", code=73, message=r"out\.h5 exists: .*--overwrite", files={**TRUE, "out.h5": b"mine"}),
    Row(number=48, name="output replaced", argv=f"{EMBED} --overwrite", files={**TRUE, "out.h5": b"mine"}, same_as=GOOD, deviation="--overwrite is the name of --force; there is no --resume, since the same command continues by itself and only if its fingerprint is equal."),
    Row(number=48, name="dry run, output exists", argv=f"{EMBED} -n", code=73, message=r"out\.h5 exists: .*--overwrite", files={**TRUE, "out.h5": b"mine"}),
    Row(number=48, name="output is the input", argv="embed x.fa -o x.fa --overwrite", code=73, message=r"x\.fa is the input x\.fa: choose another name", files=TRUE, output="x.fa"),
    Row(number=48, name="output is a link to the input", argv="embed x.fa -o y.fa --overwrite", code=73, message=r"y\.fa is the input x\.fa", files=TRUE, prepare=link("y.fa", "x.fa"), output="y.fa"),
    Row(number=48, name="output is the BED", argv="embed x.fa --bed b.bed -o b.bed --overwrite", code=73, message=r"b\.bed is the input b\.bed", files={**TRUE, "b.bed": b"chr1\t1\t5\n"}, output="b.bed"),
    Row(number=49, name="output folder missing", argv="embed x.fa -o d/out.h5", code=73, message="the folder d does not exist", files=TRUE, output="d"),
    Row(number=49, name="dry run, output folder missing", argv="embed x.fa -n -o d/out.h5", code=73, message="the folder d does not exist", files=TRUE, output="d"),
    Row(number=49, name="output is a folder", argv="embed x.fa -o d", code=73, message="d is a folder", files=TRUE, prepare=folder("d"), output="d"),
    Row(number=49, name="output folder read-only", argv="embed x.fa -o d/out.h5", code=77, message="the folder d is not writable", files={**TRUE, "d/f": b""}, prepare=forbid("d", 0o555), output="d/out.h5"),
    Row(number=49, name="output to a pipe", argv="embed x.fa -o -", code=2, message="HDF5 cannot be written to a pipe", files=TRUE),
    Row(number=50, name="disk too small", argv=f"{EMBED} --per-base", code=74, message=r"out\.h5: needs .* on disk, .* are free in", files=TRUE, prepare=full_disk),
    # 60, 63: locks, odd outputs. More of both in test_concurrency and test_streams.
    Row(number=60, name="lock of another machine", code=75, message=r"out\.h5 is locked by elsewhere:7, on another machine: .*--break-lock", files=TRUE, prepare=locked("elsewhere", 7)),
    Row(number=60, name="lock of another machine broken", argv=f"{EMBED} --break-lock", files=TRUE, prepare=locked("elsewhere", 7), left=("out.h5.lock",), same_as=GOOD),
    Row(number=60, name="lock of a dead process", files=TRUE, prepare=locked(socket.gethostname(), 2**22 + 1), left=("out.h5.lock",), same_as=GOOD),
    Row(number=60, name="lock of a live process", argv=f"{EMBED} --break-lock", code=75, message=rf"out\.h5 is being written by .*:{os.getpid()}: wait for it, or stop it", files=TRUE, prepare=locked(socket.gethostname(), os.getpid()), deviation="--break-lock never takes the lock of a process that is seen to live."),
    Row(number=60, name="lock that says nothing", code=75, message=r"locked by an unknown process, says out\.h5\.lock: .*--break-lock", files={**TRUE, "out.h5.lock": b"?"}),
    Row(number=63, name="output is a device", argv="embed x.fa -o /dev/null", code=73, message="/dev/null is not a regular file", files=TRUE, output="none"),
    # 65-79: outputs and models; more in test_verify and test_models.
    Row(number=65, name="a flipped bit", argv="verify x.h5", code=65, message=r"x\.h5: damaged: rows 0 to \d+ \(", files={"x.h5": flipped(GOLDEN, first_row(GOLDEN))}, output="none"),
    Row(number=70, name="a model cut short", argv=f"{EMBED} -m m", code=78, message=r"m/weights\.safetensors: damaged: 1,000 bytes, model\.json says", files={**TRUE, **MODEL, f"m/{WEIGHTS}": MODEL[f"m/{WEIGHTS}"][:1000]}),
    Row(number=71, name="a flipped bit in a model", argv=f"{EMBED} -m m", code=78, message=r"m/weights\.safetensors: damaged or changed: sha256", files={**TRUE, **MODEL, f"m/{WEIGHTS}": flipped(MODEL[f"m/{WEIGHTS}"])}),
    Row(number=72, name="a pickle", argv=f"{EMBED} -m x.pt", code=78, message=r"x\.pt: a pickle file, which can run code", files={**TRUE, "x.pt": b"cos\nsystem\n(S'touch canary'\ntR."}),
    Row(number=77, name="a model of the network", argv=f"{EMBED} -m https://x.org/m", code=78, message="nothing is fetched from a network", files=TRUE),
    # 79 and 92-95: device and regions, as far as embed has them.
    Row(number=79, name="no such device", argv=f"{EMBED} --device cuda:99", code=69, message="--device cuda:99: this machine has", files=TRUE),
    Row(number=92, name="region backwards", argv=f"{EMBED} --region chr1:20-10", code=2, message="region 'chr1:20-10': starts at 20, behind its end 10", files=TRUE, left=("x.fa.fai",)),
    Row(number=92, name="BED missing", argv=f"{EMBED} --bed b.bed", code=66, message=r"b\.bed: no such file", files=TRUE, left=("x.fa.fai",)),
    Row(number=92, name="BED of two columns", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed:1: 2 columns", files={**TRUE, "b.bed": b"chr1\t1\n"}, left=("x.fa.fai",)),
    Row(number=92, name="BED empty", argv=f"{EMBED} --bed b.bed", code=65, message=r"no regions in b\.bed", files={**TRUE, "b.bed": b""}, left=("x.fa.fai",)),
    Row(number=92, name="BED with headers and CRLF", argv=f"{EMBED} --bed b.bed", files={**TRUE, "b.bed": b"track name=x\r\n#chrom\tstart\tend\r\nchr1\t0\t9\ta\r\n"}, left=("x.fa.fai",), see=lambda file: column("obs/name")(file) == ["a"]),
    Row(number=93, name="region past the end", argv=f"{EMBED} --region chr2:200-400", code=65, message="reaches past the end, 'chr2' has 300 bases", files=TRUE, left=("x.fa.fai",)),
    Row(number=93, name="BED past the end", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed:2: end 301 is past the end", files={**TRUE, "b.bed": b"chr1\t1\t5\nchr2\t0\t301\n"}, left=("x.fa.fai",)),
    Row(number=94, name="unknown sequence", argv=f"{EMBED} --region chr3", code=65, message="no sequence 'chr3' in x.fa; did you mean 'chr[12]'", files=TRUE, left=("x.fa.fai",)),
    Row(number=94, name="sequence without chr", argv=f"{EMBED} --region 1:5-10", code=65, message="no sequence '1' in x.fa; did you mean 'chr1'", files=TRUE, left=("x.fa.fai",)),
    Row(number=94, name="BED with an unknown sequence", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed:1: no sequence 'chr3'", files={**TRUE, "b.bed": b"chr3\t1\t5\n"}, left=("x.fa.fai",)),
    Row(number=95, name="BED start is end", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed:1: start 5 is not before end 5", files={**TRUE, "b.bed": b"chr1\t5\t5\n"}, left=("x.fa.fai",)),
    # Faults of the same kind that the matrix does not list.
    Row(number=None, name="unknown model", argv=f"{EMBED} -m nosuch", code=78, message="nosuch", files=TRUE),
    Row(number=None, name="empty model folder", argv=f"{EMBED} -m d", code=78, message="d", files=TRUE, prepare=folder("d")),
    Row(number=None, name="too many threads", argv=f"{EMBED} -@ 1000000", code=2, message="1000000 is not in the range", files=TRUE),
    Row(number=None, name="no such layer", argv=f"{EMBED} --layer 999", code=2, message="--layer 999: model", files=TRUE),
    Row(number=None, name="info: missing", argv="info y.fa", code=66, message=r"y\.fa: no such file", files=TRUE),
    Row(number=None, name="info: empty folder", argv="info d", code=78, message="d", files={}, prepare=folder("d")),
    Row(number=None, name="info: no output", argv="info x.h5", code=65, message=r"x\.h5", files={"x.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)}),
    Row(number=None, name="info: a FASTA with a gap", argv="info x.fa", code=65, message=r"x\.fa:2:2: record 'a' has a gap", files=fasta(">a\nA-C\n")),
    Row(number=None, name="import: missing", argv="import hyenadna w.ckpt -o m", code=66, message=r"w\.ckpt", files={}, output="m"),
    Row(number=None, name="import: damaged", argv="import hyenadna w.ckpt -o m", code=78, message=r"w\.ckpt", files={"w.ckpt": b"PK\x03\x04" + bytes(50)}, output="m"),
    Row(number=None, name="import: output exists", argv="import hyenadna w.ckpt -o m", code=73, message="m: exists already", files={"w.ckpt": b"", "m/config.json": b"{}"}, output="m"),
]  # fmt: skip

HERE = "tests/faults/"
TRAIN = "tests/genomeconv/train/"
ELSEWHERE: Mapping[int, tuple[str, ...]] = {
    31: (
        f"{HERE}test_sizes.py::test_a_million_records_are_read_under_1_gb",
        f"{HERE}test_sizes.py::test_a_million_records_are_embedded_under_1_gb",
    ),
    32: (
        "tests/genomeconv/fasta/test_memory.py::test_one_line_of_200_mb_takes_less_than_200_mb",
        "tests/genomeconv/test_embed.py::test_the_chunk_never_changes_a_byte",
    ),
    33: ("tests/genomeconv/test_embed.py::test_bins_are_means_of_the_plain_forward",),
    39: (
        f"{HERE}test_sizes.py::test_a_bomb_is_read_in_little_memory",
        f"{HERE}test_sizes.py::test_a_bomb_stops_at_the_length_allowed",
    ),
    41: (f"{HERE}test_concurrency.py::test_an_index_never_gives_a_wrong_base",),
    43: (
        f"{HERE}test_concurrency.py::test_twenty_readers_see_every_record",
        f"{HERE}test_concurrency.py::test_twenty_processes_twelve_rounds",
        "tests/genomeconv/fasta/test_indexed.py::test_forked_children_read_right",
        "tests/genomeconv/fasta/test_spool.py::test_a_forked_child_reads_right",
    ),
    47: (f"{HERE}test_concurrency.py::test_a_fasta_that_changes_is_noticed",),
    48: (
        "tests/genomeconv/test_embed.py::test_other_options_do_not_continue_an_unfinished_run",
    ),
    51: (f"{HERE}test_writes.py::test_every_operation",),
    52: (f"{HERE}test_writes.py::test_every_operation",),
    53: (f"{HERE}test_writes.py::test_every_operation",),
    54: (f"{HERE}test_writes.py::test_every_operation",),
    55: (
        f"{HERE}test_signals.py::test_at_any_moment",
        f"{HERE}test_signals.py::test_the_interpreter_is_not_waited_for",
        f"{HERE}test_signals.py::test_while_it_waits_for_a_pipe",
        "tests/cli/test_runs.py::test_a_stopped_run_continues_to_the_same_bytes",
    ),
    56: (
        "tests/cli/test_train.py::test_a_signal_saves_and_leaves",
        f"{TRAIN}folder/test_resume.py::test_stopped_by_a_signal",
    ),
    57: (
        f"{HERE}test_signals.py::test_at_any_moment",
        f"{HERE}test_signals.py::test_sigint_twice_leaves_at_once",
    ),
    58: (f"{HERE}test_streams.py::test_a_reader_that_leaves",),
    59: (
        f"{HERE}test_concurrency.py::test_the_second_run_names_the_first_and_leaves_it_alone",
    ),
    61: (f"{HERE}test_concurrency.py::test_locks_that_fail_stop_nothing",),
    62: (f"{HERE}test_concurrency.py::test_a_reader_sees_no_file_or_a_whole_one",),
    63: (
        f"{HERE}test_streams.py::test_a_full_disk_behind_stdout",
        f"{HERE}test_streams.py::test_stdout_to_nowhere",
        f"{HERE}test_streams.py::test_stdout_closed",
    ),
    65: (
        f"{HERE}test_verify.py::test_every_flipped_bit_of_the_rows_is_found",
        f"{HERE}test_verify.py::test_what_is_verified_is_what_was_written",
        f"{HERE}test_verify.py::test_several_damages_are_named_together",
    ),
    66: (f"{HERE}test_models.py::test_numbers_that_cannot_be_stored",),
    67: (
        f"{HERE}test_models.py::test_numbers_that_cannot_be_stored",
        f"{HERE}test_verify.py::test_a_number_that_is_not_finite",
        "tests/genomeconv/test_embed.py::test_a_result_that_is_not_finite_is_refused",
    ),
    68: (
        f"{HERE}test_verify.py::test_golden_files_of_every_version",
        "tests/genomeconv/store/test_golden.py::test_version_1_with_our_reader",
        "tests/genomeconv/store/test_golden.py::test_version_1_with_anndata",
    ),
    69: (
        f"{HERE}test_verify.py::test_mutants_are_read_or_refused",
        f"{HERE}test_verify.py::test_a_child_that_hangs_or_dies_is_one_line",
    ),
    70: (f"{HERE}test_models.py::test_two_hundred_truncations",),
    71: (f"{HERE}test_models.py::test_flipped_bits",),
    72: (
        f"{HERE}test_models.py::test_pickles",
        f"{HERE}test_models.py::test_pickles_under_other_names",
        f"{HERE}test_models.py::test_folders_of_distributed_torch",
    ),
    73: (f"{HERE}test_models.py::test_weights",),
    74: (
        f"{HERE}test_models.py::test_weights",
        "tests/genomeconv/weights/test_folder.py::test_narrow_weights_are_widened_with_a_note",
    ),
    75: (f"{HERE}test_models.py::test_weights",),
    76: (f"{HERE}test_models.py::test_configurations",),
    77: (
        f"{HERE}test_models.py::test_configurations",
        f"{HERE}test_models.py::test_places_that_are_no_model",
        f"{HERE}test_models.py::test_links_that_lead_outside",
    ),
    78: (f"{HERE}test_models.py::test_a_file_that_shrinks_while_it_is_read",),
    79: ("tests/genomeconv/test_device.py::test_auto_takes_what_is_there",),
    80: (
        "tests/genomeconv/test_device.py::test_the_tile_is_halved_until_it_fits",
        "tests/genomeconv/test_device.py::test_nothing_fits",
        "tests/genomeconv/test_device.py::test_what_a_gpu_can_do_to_a_run",
    ),
    81: (
        "tests/kernels/test_backend.py::test_an_old_gpu",
        "tests/genomeconv/test_device.py::test_a_gpu_that_cannot_run_them",
    ),
    82: (
        "tests/kernels/test_backend.py::test_triton_is_missing",
        "tests/kernels/test_backend.py::test_a_first_kernel_that_fails",
        "tests/genomeconv/test_device.py::test_a_gpu_that_cannot_run_them",
    ),
    83: (
        "tests/genomeconv/test_device.py::test_what_a_gpu_can_do_to_a_run",
        f"{HERE}test_signals.py::test_the_interpreter_is_not_waited_for",
    ),
    84: (f"{TRAIN}engine/test_distributed.py::test_a_dead_process_ends_the_run",),
    85: (
        f"{TRAIN}engine/test_loop.py::test_a_step_that_is_not_finite_is_skipped",
        f"{TRAIN}engine/test_loop.py::test_too_many_in_a_row",
    ),
    86: (
        f"{TRAIN}folder/test_resume.py::test_killed_at_some_writes",
        f"{TRAIN}folder/test_resume.py::test_killed_at_every_write",
    ),
    87: (f"{TRAIN}folder/test_resume.py::test_full_disk_at_every_write",),
    88: (
        f"{TRAIN}engine/test_distributed.py::test_a_checkpoint_is_resumed_however_it_was_shared",
    ),
    89: (f"{TRAIN}engine/test_loop.py::test_other_sequences",),
    90: (
        f"{TRAIN}engine/test_loop.py::test_another_config",
        f"{TRAIN}engine/test_loop.py::test_other_versions",
    ),
    91: (
        f"{TRAIN}folder/test_resume.py::test_a_damaged_newest_checkpoint_is_passed_over",
        f"{TRAIN}folder/test_resume.py::test_killed_at_some_writes",
    ),
    96: ("tests/genomeconv/test_embed.py::test_a_bed_file_gives_a_row_a_line",),
}
"""Tests of what a row cannot hold."""

NOT_YET: Mapping[int, str] = {64: "merge"}
"""Faults of commands that there are not yet."""
