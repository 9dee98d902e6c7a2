"""The one alphabet: bases as small integers, in the order A C G T N.

Sequences travel through the library as ``uint8`` arrays of these codes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]

LETTERS = b"ACGTN"
A, C, G, T, N = range(5)
SIZE = 5

_COMPLEMENT = np.array([T, G, C, A, N], dtype=np.uint8)
_TO_LETTER = np.frombuffer(LETTERS, dtype=np.uint8)


def complement(codes: Codes) -> Codes:
    """Return the Watson-Crick partner of each base; N stays N."""
    return _COMPLEMENT[codes]


def reverse_complement(codes: Codes) -> Codes:
    """Return the sequence of the other strand, read 5' to 3', as a new array."""
    return _COMPLEMENT[codes[::-1]]


def decode(codes: Codes) -> bytes:
    """Return the upper-case letters of a sequence of codes."""
    return _TO_LETTER[codes].tobytes()
