"""What to embed and how: the options of a run, checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genomeconv.errors import UsageError
from genomeconv.fasta import ReadPolicy
from genomeconv.weights import DEFAULT_MODEL

_SUFFIXES = (".gz", ".bgz", ".bgzf"), (".fa", ".fasta", ".fna", ".ffn")


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """What to embed and how; fields are the options of ``genomeconv embed``."""

    fasta: str
    """Path, or "-" for standard input."""
    output: Path | None = None
    """Where to; None: the FASTA's name with .embeddings.h5, in this folder."""
    model: str = DEFAULT_MODEL
    """Name of a model at hand, or its folder."""
    rows: Literal["bin", "per-base", "whole", "bed"] = "bin"
    """What a row is: N bases, a base, a sequence, a region of a BED file."""
    bin: int = 1024
    """Bases of a row, with rows="bin"."""
    bed: Path | None = None
    """Regions, with rows="bed"."""
    regions: tuple[str, ...] = ()
    """Only these, 1-based inclusive ("chr1:1,000-2,000"); empty: everything."""
    empty: Literal["error", "skip"] = "error"
    """What to do with records that have no bases."""
    gaps: Literal["error", "n", "remove"] = "error"
    """How '-' and '.' are read: refused, as N, or not at all."""
    soft_mask: Literal["keep", "n"] = "keep"
    """How lower-case letters are read: as the bases they are, or as N."""
    duplicates: Literal["error", "number"] = "error"
    """What to do with a name used before: refuse it, or put _2, _3 ... behind it."""
    names: Literal["strict", "replace"] = "strict"
    """What to do with bytes of names that are not UTF-8: refuse them, or U+FFFD."""
    max_length: int | None = None
    """The most bases a record may have; None: any number."""
    allow_truncated: bool = False
    """Read bgzip files without their end-of-file block."""
    layer: Literal["last"] | int = "last"
    """Block whose residual is taken; "last": behind the final norm."""
    strand: Literal["forward", "reverse", "both"] = "forward"
    """Strand that is read; "both": the mean of the two."""
    chunk: int = 1 << 20
    """Bases read from disk at a time; changes no number."""
    dtype: Literal["float32", "float16"] = "float32"
    """Type of the stored numbers."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "cuda:0"."""
    threads: int | None = None
    """Threads of the CPU; None: as many as the machine lends."""
    kernels: Literal["auto", "triton", "torch"] = "auto"
    """Which convolutions run on a GPU: Triton's where they can, or one by force."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the operands of matrix products."""
    compress: Literal["none", "zstd", "gzip"] = "none"
    """How the finished file is packed."""
    overwrite: bool = False
    """Replace an output that exists, discard an unfinished one that differs."""
    break_lock: bool = False
    """Take over a lock that cannot be checked from here: the run it is of is over."""
    command: str = ""
    """Command line, for the record."""

    def __post_init__(self) -> None:
        if self.rows == "bed" and (self.bed is None or self.regions):
            raise UsageError("rows by BED need a BED file and no regions beside it")
        if self.bin < 1:
            raise UsageError(f"--bin must be at least 1, got {self.bin}")
        if self.chunk < 1:
            raise UsageError(f"--chunk must be at least 1, got {self.chunk}")
        if self.max_length is not None and self.max_length < 1:
            raise UsageError(f"--max-length must be at least 1, got {self.max_length}")
        for option in self.policy.whole_files_only:
            if self.regions or self.bed:
                raise UsageError(f"{option} is for whole files, not for regions")
        if self.fasta == "-" and (self.regions or self.bed):
            raise UsageError(
                "regions need a file that can be read at any place: save standard "
                "input to a file first"
            )

    @property
    def policy(self) -> ReadPolicy:
        """How the FASTA is to be read."""
        return ReadPolicy(
            empty=self.empty,
            gaps=self.gaps,
            soft_mask=self.soft_mask,
            duplicates=self.duplicates,
            names=self.names,
            max_length=self.max_length,
            allow_truncated=self.allow_truncated,
        )

    @property
    def row_bases(self) -> int | None:
        """Bases of a row; None: a whole stretch."""
        return {"bin": self.bin, "per-base": 1}.get(self.rows)

    @property
    def destination(self) -> Path:
        """Path of the output."""
        if self.output is not None:
            return self.output
        if self.fasta == "-":
            raise UsageError("standard input has no name: say where to with -o OUT.h5")
        name = Path(self.fasta).name
        for endings in _SUFFIXES:
            for ending in endings:
                name = name.removesuffix(ending)
        return Path(name + ".embeddings.h5")
