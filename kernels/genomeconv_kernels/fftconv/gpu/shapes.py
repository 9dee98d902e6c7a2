"""Shapes of the bands: pure functions for the planner.

Axes: B batch, L positions, K taps; F complex points of a transform, which carry windows
of 2F real values; V new outputs of a window. Every shape named here compiles without
spills on sm_90.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Literal, NamedTuple

Operand = Literal["float16", "float32"]


class Columns(NamedTuple):
    """Tile of the outer passes: factors of outer, columns, warps."""

    O1: int
    O2: int
    columns: int
    warps: int


class Inner(NamedTuple):
    """Transform on the chip: its factors and warps."""

    factors: tuple[int, ...]
    warps: int


class LongShape(NamedTuple):
    """What `long` wants of a plan; parts > 1 where the filter has to be cut."""

    outer: int
    factors: tuple[int, ...]
    warps: int
    block: int
    halo: int
    parts: int


class PartitionedShape(NamedTuple):
    """What `partitioned` wants of a plan."""

    factors: tuple[int, ...]
    warps: int
    block: int
    halo: int
    parts: int


class ToeplitzShape(NamedTuple):
    """What `toeplitz` wants of a plan; block = N M."""

    factors: tuple[int, int]
    """(N, M): rows of a tile, positions of a row."""
    warps: int
    precision: Literal["ieee", "tf32x3"]


class ShortShape(NamedTuple):
    """What `short` wants of a plan."""

    block: int
    warps: int


_COLUMNS = MappingProxyType(
    {
        "float16": {
            16: Columns(16, 1, 128, 4),
            32: Columns(32, 1, 128, 8),
            64: Columns(64, 1, 64, 8),
            128: Columns(128, 1, 32, 8),
            256: Columns(16, 16, 16, 8),
            512: Columns(32, 16, 8, 8),
            1024: Columns(32, 32, 8, 8),
        },
        "float32": {
            16: Columns(16, 1, 64, 4),
            32: Columns(32, 1, 16, 4),
            64: Columns(64, 1, 16, 4),
            256: Columns(16, 16, 8, 8),
            512: Columns(32, 16, 4, 8),
            1024: Columns(32, 32, 2, 8),
        },
    }
)
_INNER = MappingProxyType(
    {
        "float16": (Inner((16, 16), 4), Inner((32, 32), 4), Inner((16, 16, 16), 8)),
        "float32": (Inner((16, 16), 4), Inner((16, 16, 16), 8)),
    }
)


# Windows read through short filters spill with three factors of float16.
_PART = MappingProxyType(
    {"float16": Inner((64, 64), 8), "float32": Inner((16, 16, 16), 8)}
)


def tiles(outer: int, operand: Operand, *, short: bool = False) -> Columns:
    """Return the tile of the outer passes, without or with short filters run in them.

    Raises
    ------
    ValueError
        No transform of so many points is offered.
    """
    known = _COLUMNS[operand]
    if outer not in known:
        offered = ", ".join(map(str, known))
        raise ValueError(f"outer must be one of {offered} for {operand}, got {outer}")
    tile = known[outer]
    crowded = short and operand == "float16" and outer == 1024
    return tile._replace(columns=tile.columns // 2) if crowded else tile


def part_taps(K: int, parts: int) -> int:
    """Return the taps of a part: K whole, or a multiple of 16."""
    return K if parts == 1 else aligned(math.ceil(K / parts))


def aligned(n: int) -> int:
    """Return n rounded up to a multiple of 16."""
    return -(-n // 16) * 16


def shape_long(B: int, L: int, K: int, right: int, operand: Operand) -> LongShape:
    """Return the shape that transforms fewest points: batch rows, windows, the filter.

    Of equals it is the one with the smaller outer transform, whose passes read longer
    runs of memory. A filter beyond half the largest window is cut.
    """
    shapes = []
    for factors, warps in _INNER[operand]:
        for outer in _COLUMNS[operand]:
            F = outer * math.prod(factors)
            parts = 1 if K + 32 <= 2 * F else math.ceil(K / F)
            T = part_taps(K, parts)
            halo = aligned(T - 1 - right)
            block = (2 * F - right - halo) // 16 * 16
            points = F * parts * (B * math.ceil(L / block) + 1)
            shape = LongShape(outer, factors, warps, block, halo, parts)
            shapes.append(((points, outer), shape))
    return min(shapes)[1]


def shape_partitioned(K: int, right: int, operand: Operand) -> PartitionedShape:
    """Return the shape with the largest parts, F taps each.

    Zeros before the first tap make `right` a multiple of 16; a window begins F before
    the place where its block meets the first tap.
    """
    factors, warps = _PART[operand]
    F = math.prod(factors)
    lead = aligned(right) - right
    return PartitionedShape(
        factors, warps, F, F - right - lead, math.ceil((K + lead) / F)
    )


def shape_toeplitz(B: int, L: int, operand: Operand) -> ToeplitzShape:
    """Return the tile of the products, whatever the number of taps.

    Rows of 64 positions: fewer would be read more often (D times), more would multiply
    more zeros (K + M of M) and no longer leave room for two programs on a processor. As
    many rows as a program has registers for, but no more than all batch rows fill.
    """
    N, M, warps = (128, 64, 8) if operand == "float16" else (64, 32, 4)
    rows = power_of_two(math.ceil(L / M)) * power_of_two(B)
    few = max(min(rows, N), 16)
    precision: Literal["ieee", "tf32x3"] = "ieee" if operand == "float16" else "tf32x3"
    return ToeplitzShape((few, M), max(warps * few // N, 1), precision)


def packed(B: int, L: int, N: int, M: int) -> tuple[int, int]:
    """Return (Q, runs): batch rows of a Toeplitz tile, tiles of a batch row."""
    rows = power_of_two(math.ceil(L / M))
    if rows >= N:
        return 1, math.ceil(L / (N * M))
    return min(N // rows, power_of_two(B)), 1


def power_of_two(n: int) -> int:
    """Return the power of two at or above n."""
    return 1 << (n - 1).bit_length()


def shape_short(L: int) -> ShortShape:
    """Return the run of positions of a program: 16 a thread, no more than there are."""
    block = min(max(power_of_two(L), 512), 2048)
    return ShortShape(block, block // 512)
