"""Bad input and its answer: a table; a new fault is a new row, not new code.

Each row runs one command line in an empty folder that `prepare` has filled. Whatever
the fault, there must be one error line, no traceback, the exit code of the row,
nothing under the name of the output, and every file that was there untouched.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

BASES = "".join(Random(1).choices("ACGT", k=600))
GOOD = f">chr1 first\n{BASES}\n>chr2\n{BASES[:300]}\n".encode()
PROTEIN = b">p53\nMEEPQSDPSVEPPLSQETFSDLWKLLPENNVLSPLPSQAMDDLMLSPDDIEQWFTEDPGP\n"

Prepare = Callable[[Path, pytest.MonkeyPatch], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that can be wrong, and what has to happen.

    Attributes
    ----------
    name : str
        Id of the test.
    argv : str
        The command line, as one would type it after `genomeconv`.
    code : int
        The exit code.
    message : str
        Regular expression that the error line has to contain.
    files : mapping
        Content of the files that are there before.
    prepare : callable
        What else to do to the folder, or to the process.
    output : str
        The name nothing may stand under afterwards, if nothing stood there before.
    """

    name: str
    argv: str
    code: int
    message: str
    files: Mapping[str, bytes] = field(default_factory=lambda: {"x.fa": GOOD})
    prepare: Prepare = lambda folder, monkeypatch: None
    output: str = "out.h5"


def full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave so little space that the input fits and the output does not."""
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000))


def make_folder(name: str) -> Prepare:
    return lambda folder, monkeypatch: (folder / name).mkdir()


def forbid(name: str, mode: int) -> Prepare:
    def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may do everything")
        (folder / name).chmod(mode)

    return prepare


def link(name: str, target: str) -> Prepare:
    return lambda folder, monkeypatch: (folder / name).symlink_to(target)


def dangling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "x.fa").symlink_to("gone.fa")


def fasta(text: bytes) -> dict[str, bytes]:
    return {"x.fa": text}


EMBED = "embed x.fa -o out.h5"

FAULTS = [
    # The input is not there, or is not a file.
    Fault(name="missing", argv="embed y.fa -o out.h5", code=66, message=r"y\.fa: no such file; did you mean x\.fa\?"),
    Fault(name="missing-folder", argv="embed d/y.fa -o out.h5", code=66, message=r"d/y\.fa: no such file; the folder d does"),
    Fault(name="directory", argv="embed d -o out.h5", code=66, message="d: is a directory", prepare=make_folder("d")),
    Fault(name="dangling-link", argv=EMBED, code=66, message="symbolic link to gone.fa", files={}, prepare=dangling),
    Fault(name="unreadable", argv=EMBED, code=77, message="x.fa: no permission", prepare=forbid("x.fa", 0)),
    # The input is not a FASTA of DNA.
    Fault(name="empty", argv=EMBED, code=65, message=r"no sequences in x\.fa", files=fasta(b"")),
    Fault(name="blank-lines", argv=EMBED, code=65, message=r"no sequences in x\.fa", files=fasta(b"\n\n\n")),
    Fault(name="header-only", argv=EMBED, code=65, message=r"x\.fa:1: record 'a' has no bases", files=fasta(b">a\n")),
    Fault(name="prose", argv=EMBED, code=65, message=r"x\.fa:1: text before the first '>'", files=fasta(b"Dear all,\n>a\nACGT\n")),
    Fault(name="fastq", argv=EMBED, code=65, message="looks like FASTQ", files=fasta(b"@r\nACGT\n+\nIIII\n")),
    Fault(name="protein", argv=EMBED, code=65, message=r"x\.fa:2:2: record 'p53' .*looks like protein", files=fasta(PROTEIN)),
    Fault(name="gap", argv=EMBED, code=65, message=r"x\.fa:3:2: record 'a' has a gap '-'", files=fasta(b">a\nACGT\nA-C\n")),
    Fault(name="digit", argv=EMBED, code=65, message=r"x\.fa:2:1: record 'a' has the digit 6", files=fasta(b">a\n61 ACGT\n")),
    Fault(name="duplicate", argv=EMBED, code=65, message=r"x\.fa:3: the name 'a' is used before, on line 1", files=fasta(b">a\nAC\n>a\nGT\n")),
    Fault(name="nameless", argv=EMBED, code=65, message=r"x\.fa:1: a '>' without a name", files=fasta(b">\nACGT\n")),
    Fault(name="escape-in-name", argv=EMBED, code=65, message=r"record 'a\\x1b\[2J' has a gap", files=fasta(b">a\x1b[2J\nAC-GT\n")),
    Fault(name="truncated-gzip", argv="embed x.fa.gz -o out.h5", code=65, message=r"x\.fa\.gz: .*truncated", files={"x.fa.gz": gzip.compress(GOOD)[:-20]}),
    Fault(name="damaged-gzip", argv="embed x.fa.gz -o out.h5", code=65, message=r"x\.fa\.gz: .*damaged", files={"x.fa.gz": gzip.compress(GOOD)[:-8] + bytes(8)}),
    # Regions.
    Fault(name="unknown-contig", argv=f"{EMBED} --region chr3", code=65, message="chr3.*chr[12]"),
    Fault(name="contig-without-chr", argv=f"{EMBED} --region 1:5-10", code=65, message="1.*chr1"),
    Fault(name="region-past-the-end", argv=f"{EMBED} --region chr2:200-400", code=65, message="chr2.*300"),
    Fault(name="region-backwards", argv=f"{EMBED} --region chr1:20-10", code=2, message="region .chr1:20-10.: starts at 20, behind its end 10"),
    Fault(name="missing-bed", argv=f"{EMBED} --bed b.bed", code=66, message=r"b\.bed: no such file"),
    Fault(name="bed-unknown-contig", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed:1: .*chr3.*chr[12]", files={"x.fa": GOOD, "b.bed": b"chr3\t1\t5\n"}),
    Fault(name="bed-past-the-end", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed:2: .*300", files={"x.fa": GOOD, "b.bed": b"chr1\t1\t5\nchr2\t0\t301\n"}),
    Fault(name="bed-two-columns", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed:1: ", files={"x.fa": GOOD, "b.bed": b"chr1\t1\n"}),
    Fault(name="bed-empty", argv=f"{EMBED} --bed b.bed", code=65, message=r"b\.bed", files={"x.fa": GOOD, "b.bed": b""}),
    # The output.
    Fault(name="output-exists", argv=EMBED, code=73, message=r"out\.h5 exists: .*--overwrite", files={"x.fa": GOOD, "out.h5": b"mine"}),
    Fault(name="output-folder-missing", argv="embed x.fa -o d/out.h5", code=73, message="the folder d does not exist", output="d"),
    Fault(name="output-is-a-folder", argv="embed x.fa -o d", code=73, message="d is a folder", prepare=make_folder("d")),
    Fault(name="output-folder-read-only", argv="embed x.fa -o d/out.h5", code=77, message="the folder d is not writable", files={"x.fa": GOOD, "d/f": b""}, prepare=forbid("d", 0o555), output="d/out.h5"),
    Fault(name="disk-too-small", argv=f"{EMBED} --per-base", code=74, message=r"out\.h5: needs .* on disk, .* free", prepare=full_disk),
    Fault(name="output-is-the-input", argv="embed x.fa -o x.fa --overwrite", code=73, message=r"x\.fa is the input x\.fa: choose another name", output="x.fa"),
    Fault(name="output-is-the-input-by-a-link", argv="embed x.fa -o y.fa --overwrite", code=73, message=r"y\.fa is the input x\.fa", prepare=link("y.fa", "x.fa"), output="y.fa"),
    Fault(name="output-is-the-bed", argv="embed x.fa --bed b.bed -o b.bed --overwrite", code=73, message=r"b\.bed is the input b\.bed", files={"x.fa": GOOD, "b.bed": b"chr1\t1\t5\n"}, output="b.bed"),
    Fault(name="dry-run-folder-missing", argv="embed x.fa -n -o d/out.h5", code=73, message="the folder d does not exist", output="d"),
    Fault(name="dry-run-output-exists", argv="embed x.fa -n -o out.h5", code=73, message=r"out\.h5 exists: .*--overwrite", files={"x.fa": GOOD, "out.h5": b"mine"}),
    Fault(name="output-to-a-pipe", argv="embed x.fa -o -", code=2, message="HDF5 cannot be written to a pipe"),
    # The model and the device.
    Fault(name="unknown-model", argv=f"{EMBED} -m nosuch", code=78, message="nosuch"),
    Fault(name="empty-model-folder", argv=f"{EMBED} -m d", code=78, message="d", prepare=make_folder("d")),
    Fault(name="no-such-device", argv=f"{EMBED} --device cuda:99", code=69, message="cuda:99"),
    Fault(name="too-many-threads", argv=f"{EMBED} -@ 1000000", code=2, message="1000000 is not in the range"),
    Fault(name="no-such-layer", argv=f"{EMBED} --layer 999", code=2, message="999"),
    # Other commands.
    Fault(name="info-missing", argv="info y.fa", code=66, message=r"y\.fa: no such file"),
    Fault(name="info-empty-folder", argv="info d", code=78, message="d", prepare=make_folder("d")),
    Fault(name="info-not-an-output", argv="info x.h5", code=65, message=r"x\.h5", files={"x.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)}),
    Fault(name="import-missing", argv="import hyenadna w.ckpt -o m", code=66, message=r"w\.ckpt", output="m"),
    Fault(name="import-damaged", argv="import hyenadna w.ckpt -o m", code=78, message=r"w\.ckpt", files={"w.ckpt": b"PK\x03\x04" + bytes(50)}, output="m"),
    Fault(name="import-output-exists", argv="import hyenadna w.ckpt -o m", code=73, message="m: exists already", files={"w.ckpt": b"", "m/config.json": b"{}"}),
]  # fmt: skip


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and os.access(path, os.R_OK)
    }


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(fault, genomeconv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in fault.files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    fault.prepare(tmp_path, monkeypatch)
    before = contents(tmp_path)
    output_stood = Path(fault.output).exists()

    outcome = genomeconv(*shlex.split(fault.argv))

    errors = [line for line in outcome.err.splitlines() if " error: " in line]
    assert outcome.code == fault.code, outcome.err
    assert len(errors) == 1, outcome.err
    assert errors[0].startswith("genomeconv: error: ")
    assert re.search(fault.message, errors[0]), errors[0]
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert Path(fault.output).exists() == output_stood
    assert {path: contents(tmp_path).get(path) for path in before} == before


def test_stdin_that_is_no_fasta(genomeconv, tmp_path, monkeypatch):
    source = tmp_path / "prose"
    source.write_bytes(b"Dear all,\n")
    monkeypatch.chdir(tmp_path)
    with source.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        outcome = genomeconv("embed", "-", "-o", "out.h5")
    assert outcome.code == 65
    assert "standard input:1: text before the first '>'" in outcome.err
    assert not Path("out.h5").exists()
