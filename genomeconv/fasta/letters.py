"""What the letters of a FASTA file mean, and which of them are refused.

Case is folded. A, C, G, T are bases; N and the other IUPAC codes of DNA are N, an
unknown base; U is T. Everything else is refused, for a wrong letter read as something
makes every coordinate or number after it wrong. A policy can have gaps and lower-case
letters read otherwise.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from functools import cached_property

from genomeconv import alphabet
from genomeconv.fasta.policy import ReadPolicy

IUPAC = b"RYKMSWBDHV"
GAPS = b"-."
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
_CALLED_LOWER = b"acgtu"
TRAILING_BLANKS = re.compile(rb"[ \t]+(?=\n|\Z)")


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
    masked : int
        Lower-case letters of bases, read as N.
    gaps : int
        Gaps read as N, or removed.
    """

    n: int = 0
    iupac: int = 0
    u: int = 0
    masked: int = 0
    gaps: int = 0

    def __add__(self, other: LetterCounts) -> LetterCounts:
        return LetterCounts(
            n=self.n + other.n,
            iupac=self.iupac + other.iupac,
            u=self.u + other.u,
            masked=self.masked + other.masked,
            gaps=self.gaps + other.gaps,
        )


class Reading:
    """How letters are read under one policy.

    Attributes
    ----------
    codes : bytes
        Table of 256 bytes: the code of every letter, `BAD` for the refused ones.
    dropped : bytes
        Letters that are passed over.
    """

    def __init__(self, policy: ReadPolicy) -> None:
        self._counts_gaps = policy.gaps != "error"
        self._counts_masked = policy.soft_mask == "n"
        self._unknown_gaps = policy.gaps == "n"
        self.dropped = GAPS if policy.gaps == "remove" else b""
        codes = bytearray(CODES)
        for letter in GAPS if self._unknown_gaps else b"":
            codes[letter] = alphabet.N
        for letter in _CALLED_LOWER if self._counts_masked else b"":
            codes[letter] = alphabet.N
        self.codes = bytes(codes)

    @cached_property
    def refused(self) -> re.Pattern[bytes]:
        """Pattern of the first byte in lines of a record that has to be refused."""
        fine = _PLAUSIBLE + (re.escape(GAPS) if self._counts_gaps else b"")
        return re.compile(rb"(?i)[^%b \t\n]|[ \t]+(?=[^ \t\n])" % fine)

    def count(self, body: bytes, upper: bytes, codes: bytes) -> LetterCounts:
        """Count the letters of lines that are read as something else.

        Cheap where there are none, which is the usual case.

        Parameters
        ----------
        body : bytes
            The lines as they are in the file.
        upper, codes : bytes
            The same letters in upper case, and their codes.
        """
        unknown = codes.count(UNKNOWN)
        n = upper.count(b"N") if unknown else 0
        gaps = sum(map(body.count, GAPS)) if self._counts_gaps else 0
        masked = sum(map(body.count, _CALLED_LOWER)) if self._counts_masked else 0
        u = upper.count(b"U") if b"U" in upper else 0
        return LetterCounts(
            n=n,
            iupac=unknown - n - masked - (gaps if self._unknown_gaps else 0),
            u=u - body.count(b"u") if u and self._counts_masked else u,
            masked=masked,
            gaps=gaps,
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
            return (
                f"a gap {gap!r}; remove the gaps of an alignment first, or embed with "
                "--gaps n or --gaps remove"
            )
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
