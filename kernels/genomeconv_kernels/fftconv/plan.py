"""How one convolution is carried out: a pure function of its shape.

Axes: B batch, H channels, L positions, K taps; F points of a transform, V new outputs
of a block (F >= V + K - 1), P taps of one part of a partitioned filter (F = 2 P).

The cost model is in nanoseconds of one core. Its constants were measured once (float32,
AVX-512, MKL) and only choose between methods: no result depends on them but through
rounding, and every plan is a function of the shape alone, so that the same call gives
the same bits on any number of threads.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from genomeconv_kernels.checks import check_count, compute_dtype, refuse

Method = Literal["direct", "overlap_save", "partitioned"]
METHODS: tuple[Method, ...] = ("direct", "overlap_save", "partitioned")

# Forward and inverse transform and the product between, ns a real point, at log2 F.
_TRANSFORM_NS = (
    (6, 2.0), (8, 1.8), (10, 1.75), (12, 2.0), (14, 2.35), (15, 2.6), (16, 3.0),
    (17, 3.5), (18, 4.8), (20, 6.2), (21, 8.5), (24, 12.0),
)  # fmt: skip
_MIXED_RADIX = 1.13  # 3 * 2**n and 5 * 2**n against the powers of two beside them
_SETUP_NS = 3.2  # a point: tables made anew by every call of a transform
_CALL_NS = 12_000.0  # the other calls of one round
_MOVE_NS = 0.2  # one read and write of an element in cache
_TAP_NS = 0.11  # one multiply-add of the direct method
_PRODUCT_NS = 0.5  # one complex multiply-add of the partitioned method

_GROUP_BYTES = 8 << 20  # buffer, spectrum and inverse of a round stay in shared cache
_DIRECT_BYTES = 8 << 20  # fewer and longer calls pay more than private cache
_DIRECT_MAX_TAPS = 256
_PARTS_BYTES = 32 << 20  # spectra of one round of the partitioned method


@dataclass(frozen=True, kw_only=True)
class ConvPlan:
    """The carrying out of one convolution.

    Attributes
    ----------
    method
        "direct" (tap by tap), "overlap_save" (one transform a block) or "partitioned"
        (the filter, too, is cut into parts).
    first_tap, taps
        The taps that can meet the signal: first_tap .. first_tap + taps.
    right
        How many of those reach to the future.
    fft_size
        Real points F of a transform; 0 for "direct".
    block
        New outputs V of one block; the parts P of a partitioned filter are as long.
    batches, channels, blocks
        Batch rows, channels and blocks that go through one round together.
    cost_ns
        Estimated nanoseconds on one core.
    """

    method: Method
    first_tap: int
    taps: int
    right: int
    fft_size: int
    block: int
    batches: int
    channels: int
    blocks: int
    cost_ns: float

    @property
    def parts(self) -> int:
        """Parts the filter is cut into."""
        return -(-self.taps // self.block) if self.method == "partitioned" else 1


@dataclass(frozen=True, kw_only=True)
class _Problem:
    batch: int
    channels: int
    length: int
    first_tap: int
    taps: int
    right: int
    history: bool
    prepared: bool
    itemsize: int


def check_method(op: str, method: object, methods: Sequence[str] = METHODS) -> None:
    """Refuse, as a ValueError, what is neither None nor the name of a method."""
    if method is not None and method not in methods:
        refuse(op, "method", "None or one of " + ", ".join(methods), method, ValueError)


def fft_sizes(low: int, high: int) -> list[int]:
    """Return the sizes 2^n, 3 2^n and 5 2^n from `low` up to the first >= `high`."""
    sizes = sorted(
        odd << n for odd in (1, 3, 5) for n in range(5, max(high, 64).bit_length() + 2)
    )
    return sizes[bisect_left(sizes, low) : bisect_left(sizes, high) + 1]


def transform_ns(F: int) -> float:
    """Estimate ns a real point of forward, product and inverse at F points."""
    x = math.log2(F)
    xs = [point for point, _ in _TRANSFORM_NS]
    i = min(max(bisect_left(xs, x), 1), len(xs) - 1)
    (x0, y0), (x1, y1) = _TRANSFORM_NS[i - 1], _TRANSFORM_NS[i]
    share = min(max((x - x0) / (x1 - x0), 0.0), 1.5)
    ns = y0 + (y1 - y0) * share
    return ns if F & (F - 1) == 0 else ns * _MIXED_RADIX


def plan_conv(
    B: int,
    H: int,
    L: int,
    K: int,
    dtype: torch.dtype = torch.float32,
    *,
    right: int = 0,
    history: bool = False,
    prepared: bool = False,
    method: str | None = None,
) -> ConvPlan:
    """Plan the convolution of (B, H, L) with K taps.

    Parameters
    ----------
    B, H, L, K
        Batch rows, channels, new outputs and taps, each at least 1.
    dtype
        Of the input; half precisions compute in float32.
    right
        Taps that reach to the future, 0..K-1.
    history
        Whether positions before 0 may hold values (a state): then no tap is out of
        reach. Without, taps beyond L are left out.
    prepared
        Whether the spectrum of the filter is there already.
    method
        One of `METHODS` to have it so; None to take the cheapest.

    Raises
    ------
    TypeError, ValueError
        In the one message form, for sizes or a method that make no sense.
    """
    op = "plan_conv"
    for name, value in (("B", B), ("H", H), ("L", L), ("K", K)):
        check_count(op, name, value, 1)
    check_count(op, "right", right, 0, K - 1)
    check_method(op, method)
    first, last = 0, K
    if not history:
        first, last = max(right - (L - 1), 0), min(L + right, K)
    problem = _Problem(
        batch=B,
        channels=H,
        length=L,
        first_tap=first,
        taps=last - first,
        right=right - first,
        history=history,
        prepared=prepared,
        itemsize=compute_dtype(dtype).itemsize,
    )
    return min(_candidates(problem, method), key=lambda plan: plan.cost_ns)


def _candidates(p: _Problem, method: str | None) -> Iterator[ConvPlan]:
    if method == "direct" or (method is None and p.taps <= _DIRECT_MAX_TAPS):
        yield _direct(p)
    if method in ("overlap_save", None):
        one_block = p.taps + p.length - 1
        for F in fft_sizes(min(p.taps + p.taps // 4, one_block), one_block):
            yield _overlap_save(p, F)
    if method in ("partitioned", None):
        longest = max(p.taps, p.length)
        for F in fft_sizes(min(256, 2 * longest), 2 * longest):
            if method or p.taps > F:
                yield _partitioned(p, F)


def _plan(p: _Problem, method: Method, **how: int | float) -> ConvPlan:
    return ConvPlan(
        method=method,
        first_tap=p.first_tap,
        taps=p.taps,
        right=p.right,
        **how,  # type: ignore[arg-type]
    )


def _group(rows: int, wanted: int) -> int:
    """Cut `rows` into equal groups of about `wanted`."""
    groups = -(-rows // max(wanted, 1))
    return -(-rows // groups)


def _direct(p: _Problem) -> ConvPlan:
    block = min(p.length, 1 << 14)
    row_bytes = (2 * block + p.taps - 1) * p.itemsize
    wanted = max(_DIRECT_BYTES // row_bytes, 1)
    channels = _group(p.channels, wanted)
    batches = _group(p.batch, wanted // channels)
    rounds = -(-p.channels // channels) * -(-p.batch // batches) * -(-p.length // block)
    elements = p.batch * p.channels * p.length
    cost = elements * (2 * _MOVE_NS + p.taps * _TAP_NS)
    cost += rounds * (_CALL_NS + p.taps * 2_000)
    return _plan(
        p, "direct", fft_size=0, block=block, batches=batches, channels=channels,
        blocks=1, cost_ns=cost,
    )  # fmt: skip


def _overlap_save(p: _Problem, F: int) -> ConvPlan:
    block = min(F - p.taps + 1, p.length)
    n_blocks = -(-p.length // block)
    wanted = max(_GROUP_BYTES // (4 * F * p.itemsize), 2)
    channels = _group(p.channels, wanted)
    batches = _group(p.batch, wanted // channels)
    blocks = _group(n_blocks, wanted // (channels * batches))
    groups = -(-p.channels // channels)
    rounds = groups * -(-p.batch // batches) * -(-n_blocks // blocks)
    scale = p.itemsize / 4
    points = p.batch * p.channels * n_blocks * F
    cost = points * (transform_ns(F) + _MOVE_NS) * scale
    cost += rounds * (_CALL_NS + 2 * F * _SETUP_NS)
    cost += p.batch * p.channels * p.length * 2 * _MOVE_NS * scale
    if not p.prepared:
        cost += p.channels * F * transform_ns(F) / 2 * scale + groups * F * _SETUP_NS
    return _plan(
        p, "overlap_save", fft_size=F, block=block, batches=batches,
        channels=channels, blocks=blocks, cost_ns=cost,
    )  # fmt: skip


def _partitioned(p: _Problem, F: int) -> ConvPlan:
    P = F // 2
    outputs, parts = -(-p.length // P), -(-p.taps // P)
    ahead = parts - 1 if p.history else min(-(-p.right // P), parts - 1)
    windows = outputs + ahead
    spectra = (windows + parts + outputs) * F * p.itemsize
    channels = _group(p.channels, max(_PARTS_BYTES // spectra, 1))
    groups = -(-p.channels // channels)
    # Without history the products are those of a triangle, cut at `parts`.
    products = outputs * parts
    if not p.history:
        missing = min(outputs, parts) - 1
        products -= missing * (missing + 1) // 2
    scale = p.itemsize / 4
    transforms = p.batch * (windows + outputs) + (0 if p.prepared else parts)
    cost = p.channels * transforms * F * transform_ns(F) / 2 * scale
    cost += p.channels * p.batch * products * (P + 1) * _PRODUCT_NS * scale
    cost += groups * (p.batch + 1) * (2 * _CALL_NS + 2 * F * _SETUP_NS)
    cost += groups * p.batch * parts * 3_000
    return _plan(
        p, "partitioned", fft_size=F, block=P, batches=1, channels=channels,
        blocks=outputs, cost_ns=cost,
    )  # fmt: skip
