"""Tell from its first bytes what an input is, when it is not FASTA."""

from __future__ import annotations

import re

HEAD_BYTES = 4096
UTF8_MARK = b"\xef\xbb\xbf"

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (rb"@(HD|SQ|RG|PG|CO)\t", "SAM; extract the sequences with 'samtools fasta'"),
    (rb"@", "FASTQ; convert it with 'seqtk seq -A' if you mean its reads"),
    (rb"##gff-version", "GFF; give the FASTA file it annotates"),
    (rb"#!genome-build|#gtf", "GTF; give the FASTA file it annotates"),
    (rb"##fileformat=VCF", "VCF; give the FASTA file of its reference genome"),
    (rb"LOCUS {3,}", "GenBank; export it as FASTA"),
    (rb"ID {3}", "EMBL; export it as FASTA"),
    (rb"(?i)\s*<(!doctype\s+html|html)", "HTML, a web page; download the file again"),
    (rb"\s*<\?xml", "XML; export it as FASTA"),
    (rb"\x43\x27\x41\x1a|\x1a\x41\x27\x43", "2bit; convert it with 'twoBitToFa'"),
    (rb"BAM\x01", "BAM; extract the sequences with 'samtools fasta'"),
    (rb"CRAM", "CRAM; extract the sequences with 'samtools fasta'"),
    (rb"BCF\x02", "BCF; give the FASTA file of its reference genome"),
    (rb"\x89HDF\r\n", "HDF5; try 'genomeconv info' on it"),
    (rb"PK\x03\x04", "a zip archive; unpack it first"),
    (rb"BZh[1-9]", "compressed with bzip2; unpack it with 'bunzip2' first"),
    (rb"\xfd7zXZ\x00", "compressed with xz; unpack it with 'unxz' first"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it with 'unzstd' first"),
    (rb"\x1f\x8b", "compressed twice; unpack it once first"),
    (rb"%PDF", "PDF; give the sequences as plain FASTA"),
    (
        rb"\xff\xfe|\xfe\xff|>\x00|\x00>",
        "UTF-16 text; re-encode it with 'iconv -f UTF-16 -t UTF-8'",
    ),
    (rb"[^\s>]+\t\d+\t\d+[\t\r\n]", "BED; give the genome's FASTA and --bed this file"),
    (
        rb"(?i)[acgtun]{20,}\s",
        "a sequence without a name; put a line '>name' before it",
    ),
)
_PATTERNS = [(re.compile(beginning), what) for beginning, what in _BEGINNINGS]


def other_format(head: bytes) -> str | None:
    """Return what the beginning of a file looks like and what to do, if it is known."""
    for pattern, what in _PATTERNS:
        if pattern.match(head):
            return what
    return None
