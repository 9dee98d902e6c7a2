"""Make the FASTA files of GRCh37 that are learned from and tested on.

They come with four Debian packages:

apt-get download vt-examples smalt-examples augustus-doc hisat2
for deb in *.deb; do dpkg-deb -x $deb packages; done
python recipes/human/data.py packages
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Source:
    """A sequence in a package, and the file made of it."""

    path: str
    name: str
    length: int
    md5: str
    """Of the upper-case letters."""
    target: str


SOURCES = (
    Source(
        path="usr/share/doc/vt/examples/ref/20.fa.gz",
        name="chr20",
        length=63_025_520,
        md5="0dec9660ec1efaaf33281c0d5ea2560f",
        target="GRCh37.chr20.fa.gz",
    ),
    Source(
        path="usr/share/doc/smalt/test/data/hs37chrXtrunc.fa.gz",
        name="chrX",
        length=40_000_000,
        md5="95e21c09781307af28ce618eb665a58e",
        target="GRCh37.chrX_1-40000000.fa.gz",
    ),
    Source(
        path="usr/share/doc/augustus/tutorial/data/chr4.103M.fa",
        name="chr4:103000000-105000000",
        length=2_000_001,
        md5="ea86ce09a95ff219e4477fb3d0fff8f5",
        target="GRCh37.chr4_103000000-105000000.fa.gz",
    ),
    Source(
        path="usr/share/doc/hisat2/examples/reference/22_20-21M.fa",
        name="chr22:20000001-21000000",
        length=1_000_000,
        md5="05a352ea48c23662e7d72e1614f88da7",
        target="GRCh37.chr22_20000001-21000000.fa.gz",
    ),
)


def letters(path: Path) -> bytes:
    """Return the upper-case sequence of a FASTA of one record, gzip or plain."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    lines = data.split(b"\n")
    return b"".join(x.strip() for x in lines if not x.startswith(b">")).upper()


def make(source: Source, packages: Path, folder: Path) -> None:
    """Write one file; refuse another sequence than the one that was trained on."""
    text = letters(packages / source.path)[: source.length]
    if hashlib.md5(text, usedforsecurity=False).hexdigest() != source.md5:
        raise SystemExit(f"{source.path}: not the {source.name} of GRCh37 wanted here")
    lines = (text[i : i + 60] + b"\n" for i in range(0, len(text), 60))
    with gzip.open(folder / source.target, "wb", compresslevel=6) as file:
        file.write(f">{source.name} GRCh37\n".encode())
        file.writelines(lines)
    print(f"{source.target}: {len(text):,} bases")


def main() -> None:
    """Parse the command line and write the four files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path, help="where the packages were unpacked")
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder")
    args = parser.parse_args()
    for source in SOURCES:
        make(source, args.packages, args.output)


if __name__ == "__main__":
    main()
