"""Transforms on the chip that compile for sm_90 without spills, one row each.

Found by compiling the one-pass kernel with everything a call may bring. Of equal points
the order says what should be fastest; float32 ends at 4,096 points because twice as
many spill in every shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

from genomeconv_kernels.fftconv.gpu.limits import Operand, Precision


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A transform on the chip.

    Attributes
    ----------
    factors
        N1, N2 or N1, N2, N3 of F.
    warps
        Of a program.
    precision
        How products of float32 operands are done.
    registers, shared
        Registers of a thread and bytes of shared memory of a program on sm_90.
    """

    factors: tuple[int, ...]
    warps: int
    precision: Precision
    registers: int
    shared: int

    @property
    def points(self) -> int:
        """F."""
        return math.prod(self.factors)


def _tile(
    *factors: int,
    warps: int,
    registers: int,
    shared: int,
    precision: Precision = "ieee",
) -> Tile:
    return Tile(
        factors=factors, warps=warps, precision=precision,
        registers=registers, shared=shared,
    )  # fmt: skip


TILES: MappingProxyType[Operand, tuple[Tile, ...]] = MappingProxyType(
    {
        "float16": (
            _tile(16, 16, warps=1, registers=72, shared=2560),
            _tile(32, 16, warps=2, registers=64, shared=7168),
            _tile(32, 32, warps=4, registers=99, shared=10240),
            _tile(64, 32, warps=4, registers=94, shared=28672),
            _tile(16, 16, 16, warps=4, registers=164, shared=25600),
            _tile(64, 64, warps=4, registers=188, shared=40960),
            _tile(16, 32, 16, warps=8, registers=170, shared=50176),
        ),
        "float32": (
            _tile(16, 16, warps=4, precision="tf32x3", registers=138, shared=2048),
            _tile(32, 16, warps=4, precision="tf32x3", registers=172, shared=4096),
            _tile(16, 16, 16, warps=8, precision="tf32x3", registers=194, shared=32768),
        ),
    }
)

_SPARSE: dict[Operand, tuple[Tile, ...]] = {
    "float16": (
        _tile(16, 16, warps=2, registers=142, shared=3072),
        _tile(16, 32, warps=2, registers=150, shared=6144),
        _tile(32, 32, warps=4, registers=168, shared=9216),
        _tile(32, 64, warps=4, registers=224, shared=18432),
        _tile(64, 64, warps=4, registers=174, shared=40960),
    ),
    "float32": (
        _tile(16, 16, warps=4, precision="tf32x3", registers=255, shared=8192),
        _tile(16, 32, warps=4, precision="tf32x3", registers=229, shared=18432),
    ),
}
SPARSE_TILES: MappingProxyType[Operand, dict[int, Tile]] = MappingProxyType(
    {
        operand: {tile.points: tile for tile in found}
        for operand, found in _SPARSE.items()
    }
)
"""Transforms of the frequency-sparse kernel by F, factors as in `..mask`."""
