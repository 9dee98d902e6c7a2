"""What the letters of a FASTA file mean, and which of them are refused.

Case is folded. A, C, G, T are bases; N and the other IUPAC codes of DNA are N, an
unknown base; U is T. Everything else is refused: a wrong letter read as something
makes every coordinate or number after it wrong.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Literal

from genomeconv import alphabet

IUPAC = b"RYKMSWBDHV"
BAD = 0xFF
BAD_BYTE = bytes([BAD])
_SAMPLE_LETTERS = 10_000
_PROTEIN_SHARE = 0.05


def _table(pairs: dict[bytes, int], default: int) -> bytes:
    table = bytearray([default]) * 256
    for letters, value in pairs.items():
        for letter in letters + letters.lower():
            table[letter] = value
    return bytes(table)


UPPER = bytes(range(256)).upper()
CODES = _table(
    {
        b"A": alphabet.A,
        b"C": alphabet.C,
        b"G": alphabet.G,
        b"TU": alphabet.T,
        b"N" + IUPAC: alphabet.N,
    },
    BAD,
)
UNKNOWN = bytes([alphabet.N])
_ALPHABET = string.ascii_letters.encode()
_RESIDUES = frozenset(b"EFILPQX")
_PLAUSIBLE = b"ACGTUN" + IUPAC
TRAILING_BLANKS = re.compile(rb"[ \t]+(?=\n|\Z)")
REFUSED = re.compile(rb"(?i)[^%b \t\n]|[ \t]+(?=[^ \t\n])" % _PLAUSIBLE)


@dataclass(frozen=True, kw_only=True)
class LetterPolicy:
    """Choices a user has about records that are legal but doubtful.

    Attributes
    ----------
    empty : "error" or "skip"
        What becomes of a record without a single base.
    """

    empty: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if self.empty not in ("error", "skip"):
            raise ValueError(f"empty must be 'error' or 'skip', not {self.empty!r}")


@dataclass(frozen=True, kw_only=True)
class LetterCounts:
    """How many letters were read as something else.

    Attributes
    ----------
    n : int
        Letters N.
    iupac : int
        Other IUPAC codes, read as N.
    u : int
        Letters U, read as T.
    """

    n: int = 0
    iupac: int = 0
    u: int = 0

    def __add__(self, other: LetterCounts) -> LetterCounts:
        return LetterCounts(
            n=self.n + other.n, iupac=self.iupac + other.iupac, u=self.u + other.u
        )


def count(upper: bytes, codes: bytes) -> LetterCounts:
    """Count the letters read as something else in upper-case letters and their codes.

    Cheap where there are none, which is the usual case.
    """
    unknown = codes.count(UNKNOWN)
    n = upper.count(b"N") if unknown else 0
    return LetterCounts(
        n=n, iupac=unknown - n, u=upper.count(b"U") if b"U" in upper else 0
    )


def complaint(body: bytes, at: int) -> str:
    """Say what a refused byte is and what to do about it.

    Parameters
    ----------
    body : bytes
        Lines of one record, as far as they are at hand.
    at : int
        Where in them the refused byte is.
    """
    letter = body[at]
    sample = body[: 2 * _SAMPLE_LETTERS].translate(UPPER, b" \t\n*-.")
    sample = sample[:_SAMPLE_LETTERS]
    odd = sample.translate(None, _PLAUSIBLE)
    residues = len(set(odd) & _RESIDUES) > 1  # not just an X for a masked base
    if letter in _ALPHABET and residues and len(odd) > _PROTEIN_SHARE * len(sample):
        return (
            f"has {chr(letter)!r}; {100 * len(odd) / len(sample):.0f} % letters that "
            "are not nucleotides, looks like protein; give the DNA sequence"
        )
    return "has " + _advice(letter)


def _advice(letter: int) -> str:
    match chr(letter):
        case "-" | "." as gap:
            return f"a gap {gap!r}; remove the gaps of an alignment first"
        case "*":
            return "'*', a stop or padding sign; remove it first"
        case ">":
            return "'>' inside a line; a line end is missing before it"
        case " " | "\t":
            return "a blank inside a line; remove it first"
        case "\0":
            return "a NUL byte; a sparse or damaged copy: copy the file again"
        case "\x1a":
            return "a Ctrl-Z that is not the last byte; were files joined? remove it"
        case digit if digit in "0123456789":
            return f"the digit {digit}; remove position numbers first"
        case other if other.isascii() and other.isprintable():
            return (
                f"{other!r}, which is not a letter of DNA; replace it by N or remove it"
            )
        case _:
            return f"the byte 0x{letter:02X}, which is not a letter of DNA"
