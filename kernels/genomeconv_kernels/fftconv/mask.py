"""Which frequencies of a filter are kept: a mask over blocks of its spectrum.

Axes: F = N1 N2 points of a window. Frequency k = k1 + N1 k2 stands in a table of
N1 x N2, which a mask covers in blocks of 16 x 16. Rows and columns are folded, so that
a frequency and its mirror F - k share a block:

    rows     0, N1/2, 1, N1-1, 2, N1-2, ...       row block r: 8 r <= |k1| < 8 (r + 1)
    columns  0, N2-1, 1, N2-2, ...                column block c: about 8 c N1 <= |k|
                                                  < 8 (c + 1) N1, a band of frequencies

Of row k1 = 0, whose mirrors lie one column further, frequency 8 c N1 belongs to two
blocks and is kept with both; N1/2 takes the place of a mirror in the first row block.
Only so is the masked filter real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

import torch
from torch import Tensor

from genomeconv_kernels.checks import check_count, refuse

BLOCK = 16
"""Rows and columns of a block."""
FACTORS = MappingProxyType(
    {256: (16, 16), 512: (16, 32), 1024: (32, 32), 2048: (32, 64), 4096: (64, 64)}
)
"""N1, N2 of each F: the more columns, the more a band leaves out."""


@dataclass(frozen=True, kw_only=True)
class FrequencyMask:
    """Blocks of a spectrum of F points that a filter keeps; the rest count as 0.

    Attributes
    ----------
    fft_size
        F, one of 256, 512, 1024, 2048, 4096.
    kept
        A row of bools for every 16 of N1, one for every 16 of N2; column c is about the
        band of frequencies 8 c N1 / F to 8 (c + 1) N1 / F, in cycles a position.

    Raises
    ------
    TypeError, ValueError
        In the one message form, for another size or another shape.
    """

    fft_size: int
    kept: tuple[tuple[bool, ...], ...]

    def __post_init__(self) -> None:
        """Refuse what is no mask."""
        op = "FrequencyMask"
        check_count(op, "fft_size", self.fft_size, 1)
        if self.fft_size not in FACTORS:
            offered = ", ".join(map(str, FACTORS))
            refuse(op, "fft_size", f"one of {offered}", self.fft_size, ValueError)
        rows, columns = self.blocks
        wanted = f"{rows} tuples of {columns} bools for F = {self.fft_size}"
        if not isinstance(self.kept, tuple) or not all(
            isinstance(row, tuple) and all(type(keep) is bool for keep in row)
            for row in self.kept
        ):
            refuse(op, "kept", wanted, self.kept, TypeError)
        if [len(row) for row in self.kept] != [columns] * rows:
            refuse(op, "kept", wanted, str(self.kept), ValueError)

    @classmethod
    def low_pass(cls, fft_size: int, bands: int) -> FrequencyMask:
        """Return the mask that keeps the lowest so many columns of blocks."""
        N1, N2 = FACTORS.get(fft_size, (0, 0))
        row = tuple(c < bands for c in range(N2 // BLOCK))
        return cls(fft_size=fft_size, kept=(row,) * (N1 // BLOCK))

    @classmethod
    def of_blocks(cls, fft_size: int, kept: Sequence[bool]) -> FrequencyMask:
        """Return the mask of blocks given row after row."""
        columns = FACTORS[fft_size][1] // BLOCK
        rows = range(0, len(kept), columns)
        return cls(
            fft_size=fft_size, kept=tuple(tuple(kept[r : r + columns]) for r in rows)
        )

    @property
    def factors(self) -> tuple[int, int]:
        """N1, N2."""
        return FACTORS[self.fft_size]

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        N1, N2 = self.factors
        return N1 // BLOCK, N2 // BLOCK

    @property
    def share(self) -> float:
        """Share of the blocks that is kept."""
        flat = list(chain.from_iterable(self.kept))
        return sum(flat) / len(flat)

    def frequencies(self) -> Tensor:
        """Return which of the F frequencies are kept (F,), bool, k's mirror with k."""
        N1, N2 = self.factors
        table = torch.tensor(self.kept).repeat_interleave(BLOCK, 0)
        inside = torch.empty(N1 * N2, dtype=torch.bool)
        inside[order(self.factors)] = table.repeat_interleave(BLOCK, 1).flatten()
        return inside & inside.roll(-1).flip(0)


def folded(N: int, *, rows: bool) -> Tensor:
    """Return the k1 (rows) or k2 of each row or column of the folded table."""
    half = torch.arange(N // 2)
    mirrors = (N - half) % N if rows else N - 1 - half
    if rows:
        mirrors[0] = N // 2
    return torch.stack([half, mirrors], dim=1).flatten()


def order(factors: tuple[int, int]) -> Tensor:
    """Return frequency k of every place of the folded table, (F,)."""
    N1, N2 = factors
    return (folded(N1, rows=True)[:, None] + N1 * folded(N2, rows=False)).flatten()


@lru_cache(maxsize=64)
def kept_half(mask: FrequencyMask, device: torch.device) -> Tensor:
    """Return which of the F/2 + 1 frequencies of a real transform are kept, bool."""
    return mask.frequencies()[: mask.fft_size // 2 + 1].to(device)
