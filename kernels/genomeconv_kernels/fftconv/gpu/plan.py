"""How a convolution is carried out on a GPU: a pure function of shapes and limits.

Axes: B batch, H channels, L positions, K taps; F points of the transform on the chip,
V new outputs of a block.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from genomeconv_kernels.checks import check_count, refuse
from genomeconv_kernels.fftconv.gpu.limits import (
    METHODS,
    CrossOvers,
    Limits,
    Method,
    Operand,
    Precision,
    crossovers_in_force,
)
from genomeconv_kernels.fftconv.gpu.shapes import (
    packed,
    shape_long,
    shape_partitioned,
    shape_short,
    shape_toeplitz,
)
from genomeconv_kernels.fftconv.gpu.tiles import TILES, Tile

__all__ = ["METHODS", "GpuPlan", "Limits", "Method", "plan_gpu", "window"]

MAX_LENGTH = 1 << 30
"""Positions inside a row are int32, and windows reach beyond both its ends."""
MAX_SHORT = 16
"""Taps are unrolled: each stands in registers."""
MAX_TOEPLITZ = 2048
"""Beyond, products with zeros and taps cost many times what transforms do."""

# What a program reaches, as predicted: the choice among transforms needs ratios only.
_FLOPS_PER_PS = {"float16": 240.0, "float32": 50.0}
_STEP_PS = 1.5  # a point of a step: operands through shared memory, twiddles, scaling


@dataclass(frozen=True, kw_only=True)
class GpuPlan:
    """How one convolution runs in Triton.

    Attributes
    ----------
    method
        The band.
    first_tap, taps, right
        Taps k[:, first_tap : first_tap + taps] are used, of which `right` reach ahead.
    factors
        Of the transform on the chip: N1, N2 or N1, N2, N3; of a Toeplitz tile: rows,
        positions of a row; else empty.
    outer
        Points of the transform across the chip's blocks (long band), else 1.
    block
        V, new outputs of a window, or positions of a tile.
    halo
        Positions of a window before its block: a multiple of 16, so that reads and
        writes stay aligned.
    parts
        Parts the filter is cut into (partitioned band), else 1.
    operand
        Type of the products' operands: "float16" or "float32".
    precision
        How products of float32 operands are done: "ieee", "tf32x3" or "tf32".
    warps
        Warps of a program.
    """

    method: Method
    first_tap: int
    taps: int
    right: int
    block: int
    halo: int = 0
    factors: tuple[int, ...] = ()
    outer: int = 1
    parts: int = 1
    operand: Operand = "float16"
    precision: Precision = "ieee"
    warps: int = 8

    @property
    def inner(self) -> int:
        """Points of the transform on the chip, F, 0 where there is none."""
        none = self.method == "toeplitz" or not self.factors
        return 0 if none else math.prod(self.factors)

    @property
    def fft_size(self) -> int:
        """Points of the whole transform, 0 where there is none."""
        return self.inner * self.outer


def plan_gpu(
    B: int,
    H: int,
    L: int,
    K: int,
    dtype: torch.dtype,
    *,
    right: int = 0,
    history: bool = False,
    method: str | None = None,
    tf32: bool = False,
    limits: Limits,
    crossovers: CrossOvers | None = None,
) -> GpuPlan:
    """Plan the convolution of (B, H, L) with K taps.

    Parameters
    ----------
    B, H, L, K
        Batch rows, channels, new outputs and taps, each at least 1; L at most 2^30.
    dtype
        Of the input: float32, float16 or bfloat16. Products of the half precisions
        have operands of scaled float16.
    right
        Taps that reach to the future, 0..K-1.
    history
        Whether positions before 0 may hold values (a state): then no tap is out of
        reach. Without, taps beyond L are left out.
    method
        One of `METHODS` to have it so; None to take what the cross-overs say.
    tf32
        Whether products of float32 may round their operands to tf32.
    limits
        Of the device.
    crossovers
        Which band for how many taps; None for the table in force.

    Raises
    ------
    TypeError, ValueError
        In the one message form, for sizes, a dtype or a method that make no sense, or
        for a method that cannot carry so many taps.
    """
    op = "plan_gpu"
    for name, value in (("B", B), ("H", H), ("K", K)):
        check_count(op, name, value, 1)
    check_count(op, "L", L, 1, MAX_LENGTH)
    check_count(op, "right", right, 0, K - 1)
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        refuse(op, "dtype", "float32, float16 or bfloat16", dtype, TypeError)
    if method is not None and method not in METHODS:
        refuse(op, "method", "None or one of " + ", ".join(METHODS), method, ValueError)
    first, last = (0, K) if history else (max(right - (L - 1), 0), min(L + right, K))
    check_count(op, "K", last - first, 1, MAX_LENGTH)
    p = _Problem(
        batch=B,
        length=L,
        first_tap=first,
        taps=last - first,
        right=right - first,
        operand="float32" if dtype == torch.float32 else "float16",
        tf32=tf32,
        limits=limits,
    )
    if method is not None:
        try:
            return _BANDS[method](p)
        except _UnfitError as why:
            refuse(op, "method", f"one for {p.taps:,} taps ({why})", method, ValueError)
    table = crossovers_in_force() if crossovers is None else crossovers
    return _first_fit(p, table.reach(p.operand).band(p.taps))


class _UnfitError(Exception):
    """Why a band cannot carry a problem."""


@dataclass(frozen=True, kw_only=True)
class _Problem:
    batch: int
    length: int
    first_tap: int
    taps: int
    right: int
    operand: Operand
    tf32: bool
    limits: Limits

    def plan(
        self,
        method: Method,
        factors: tuple[int, ...],
        warps: int,
        precision: Precision = "tf32x3",
        **how: int,
    ) -> GpuPlan:
        if self.operand == "float16" or self.limits.amd:  # tf32 is NVIDIA's
            precision = "ieee"
        elif self.tf32:
            precision = "tf32"
        return GpuPlan(
            method=method, first_tap=self.first_tap, taps=self.taps, right=self.right,
            factors=factors, operand=self.operand, precision=precision, warps=warps,
            **how,
        )  # fmt: skip


def _first_fit(p: _Problem, wanted: Method) -> GpuPlan:
    """Plan with the band wanted or, where it cannot, the next above, then below.

    Cross-overs are those of long signals: a band whose blocks are more than twice as
    long as the signal would compute more nothing than outputs, and is passed over too
    if another is not. The short band has no such waste; a Toeplitz tile holds several
    batch rows.
    """
    at = METHODS.index(wanted)
    plans = []
    for method in METHODS[at:] + METHODS[:at][::-1]:
        with contextlib.suppress(_UnfitError):
            plans.append(_BANDS[method](p))
    return next((plan for plan in plans if _is_full(p, plan)), plans[0])


def _is_full(p: _Problem, plan: GpuPlan) -> bool:
    if plan.method == "short":
        return True
    if plan.method == "toeplitz":
        Q, runs = packed(p.batch, p.length, *plan.factors)
        computed = math.ceil(p.batch / Q) * runs * plan.block
        return computed <= 2 * p.batch * p.length
    return plan.block <= 2 * p.length


def window(taps: int, right: int, points: int) -> tuple[int, int]:
    """Return (halo, block): the window of a block of outputs begins halo before it.

    Output t stands at t - begin + right of the window's convolution, which wraps: it
    is whole from taps - 1 on. Both are multiples of 16 if the window has room for it.

    Raises
    ------
    ValueError
        The window has no room for a block.
    """
    halo = -(-max(taps - 1 - right, 0) // 16) * 16
    block = (points - right - halo) // 16 * 16
    if block < 16:
        raise ValueError(f"a transform of {points} points has no room for {taps} taps")
    return halo, block


def transform_flops(factors: tuple[int, ...]) -> int:
    """Return real FLOPs of one complex transform: 8 F sum(N_i)."""
    return 8 * math.prod(factors) * sum(factors)


def _short(p: _Problem) -> GpuPlan:
    if p.taps > MAX_SHORT:
        raise _UnfitError(f"it takes {MAX_SHORT} at most")
    block, warps = shape_short(p.length)
    return p.plan("short", (), warps, block=block)


def _toeplitz(p: _Problem) -> GpuPlan:
    if p.taps > MAX_TOEPLITZ:
        raise _UnfitError(f"it takes {MAX_TOEPLITZ:,} at most")
    factors, warps, _ = shape_toeplitz(p.batch, p.length, p.operand)
    return p.plan("toeplitz", factors, warps, block=math.prod(factors))


def _overlap_save(p: _Problem) -> GpuPlan:
    """Take the transform whose windows cost a channel least."""
    fits = [t for t in TILES[p.operand] if t.shared <= p.limits.shared]
    # Of equal points the first is the fastest: choose among sizes, not among shapes.
    tiles = {t.points: t for t in reversed(fits)}.values()
    plans = []
    for tile in tiles:
        with contextlib.suppress(ValueError):
            halo, block = window(p.taps, p.right, 2 * tile.points)
            windows = p.batch * math.ceil(p.length / block)
            plan = p.plan(
                "overlap_save", tile.factors, tile.warps, tile.precision,
                halo=halo, block=block,
            )  # fmt: skip
            plans.append((windows * _window_ps(tile, p.operand), tile.points, plan))
    if not plans:
        points = max((2 * t.points for t in tiles), default=0)
        raise _UnfitError(
            f"windows of {points:,} points, the most for {p.operand} within "
            f"{p.limits.shared:,} bytes of shared memory, have no room for them"
        )
    return min(plans, key=lambda costed: costed[:2])[2]


def _window_ps(tile: Tile, operand: Operand) -> float:
    """Estimate ps of an H200 for a window: products, and all else a point."""
    flops = 2 * transform_flops(tile.factors)
    steps = 2 * len(tile.factors)
    return flops / _FLOPS_PER_PS[operand] + steps * tile.points * _STEP_PS


def _partitioned(p: _Problem) -> GpuPlan:
    factors, warps, block, halo, parts = shape_partitioned(p.taps, p.right, p.operand)
    return p.plan("partitioned", factors, warps, block=block, halo=halo, parts=parts)


def _long(p: _Problem) -> GpuPlan:
    outer, factors, warps, block, halo, parts = shape_long(
        p.batch, p.length, p.taps, p.right, p.operand
    )
    return p.plan(
        "long", factors, warps, block=block, halo=halo, outer=outer, parts=parts
    )


_BANDS: dict[str, Callable[[_Problem], GpuPlan]] = {
    "short": _short,
    "toeplitz": _toeplitz,
    "overlap_save": _overlap_save,
    "partitioned": _partitioned,
    "long": _long,
}
