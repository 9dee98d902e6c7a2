"""Bytes and operations of a plan, and the time no version can beat.

Axes: B batch, H channels, L positions, K taps, F points, V new outputs of a window.

Bytes are those that must pass through the device's memory: each input and output once,
workspaces as often as a band's passes touch them. What neighbouring programs share
(halos, spectra, tables) is taken to come out of the cache. Operations are those of the
transforms' and Toeplitz blocks' matrix products, which are nearly all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from genomeconv_kernels.fftconv.gpu.plan import GpuPlan, transform_flops
from genomeconv_kernels.fftconv.gpu.shapes import packed, shape_long, tiles
from genomeconv_kernels.fftconv.mask import BLOCK, FrequencyMask


@dataclass(frozen=True, kw_only=True)
class Device:
    """Two ceilings of a device.

    Attributes
    ----------
    bytes_per_s
        Read and written by a large copy.
    flops_per_s
        Of a large product of 16-bit matrices.
    """

    name: str
    bytes_per_s: float
    flops_per_s: float

    def rate(self, plan: GpuPlan) -> float:
        """Return FLOP/s of the plan's products: tf32 half of 16 bits, ieee a twelfth.

        A product of "tf32x3" is three of tf32.
        """
        if plan.operand == "float16":
            return self.flops_per_s
        return self.flops_per_s / {"tf32": 2, "tf32x3": 6, "ieee": 12}[plan.precision]


H200 = Device(name="NVIDIA H200", bytes_per_s=4.3e12, flops_per_s=788e12)
"""As measured with a copy of 8.6 GB and a product of 8192 x 8192 x 8192 bfloat16."""


class Work(NamedTuple):
    """What a call must do."""

    bytes: float
    flops: float

    def plus(self, other: Work) -> Work:
        """Return the work of both."""
        return Work(self.bytes + other.bytes, self.flops + other.flops)


class Shape(NamedTuple):
    """What is convolved: (B, H, L) of `itemsize` bytes an element."""

    B: int
    H: int
    L: int
    itemsize: int

    @property
    def elements(self) -> int:
        """Real outputs, B H L."""
        return self.B * self.H * self.L


class Floor(NamedTuple):
    """The least time of a call, and which ceiling it hits."""

    seconds: float
    bound: Literal["memory", "products"]


def floor(work: Work, plan: GpuPlan, device: Device = H200) -> Floor:
    """Return the larger of the two least times."""
    memory, products = work.bytes / device.bytes_per_s, work.flops / device.rate(plan)
    return (
        Floor(memory, "memory") if memory >= products else Floor(products, "products")
    )


def forward(
    plan: GpuPlan,
    shape: Shape,
    *,
    pre: bool = False,
    post: bool = False,
    outputs: int = 1,
) -> Work:
    """Return the work of y = post (k * (pre u)); the filter is prepared, if it can be.

    Parameters
    ----------
    pre, post
        Whether there are gates.
    outputs
        2 where the result is stored twice under two gates, as the backward pass does.
    """
    gates = bool(pre) + (outputs if post or outputs > 1 else 0)
    ends = shape.elements * shape.itemsize * (1 + gates + outputs)
    between, flops = _inside(plan, shape)
    k_bytes, k_flops = _filter(plan)
    return Work(ends + between + shape.H * k_bytes, flops + shape.H * k_flops)


def sparse(
    plan: GpuPlan,
    mask: FrequencyMask,
    shape: Shape,
    *,
    pre: bool = False,
    post: bool = False,
) -> Work:
    """Return the work of a frequency-sparse convolution, its filter prepared.

    Of a pair of windows the first and the last product run over the rows of blocks with
    any kept, those between over kept blocks: of all, 16 F (N1 + N2), as dense ones.
    Only kept blocks of a filter are read.
    """
    N1, N2 = mask.factors
    rows, blocks = sum(map(any, mask.kept)), sum(map(sum, mask.kept))
    ends = shape.elements * shape.itemsize * (2 + pre + post)
    pairs = math.ceil(shape.B * math.ceil(shape.L / plan.block) / 2)
    flops = 2 * 8 * BLOCK * N2 * (N1 * rows + BLOCK * blocks)
    loaded = 2 * _width(plan) * BLOCK**2 * blocks
    return Work(ends + shape.H * loaded, shape.H * pairs * flops)


def backward(
    plan: GpuPlan, shape: Shape, *, pre: bool = False, post: bool = False
) -> Work:
    """Return the work of du, dk and, where there are gates, dpre and dpost.

    Three passes: y again under the gate dy gives dpost; dy post through the filter read
    backwards, stored under two gates, gives du and dpre; both signals give dk.
    """
    back = replace(plan, right=plan.taps - 1 - plan.right)
    work = forward(back, shape, pre=post, post=pre, outputs=2 if pre else 1)
    if post:
        work = work.plus(forward(plan, shape, pre=pre, post=True))
    return work.plus(filter_gradient(plan, shape, pre=pre, post=post))


def filter_gradient(
    plan: GpuPlan, shape: Shape, *, pre: bool = False, post: bool = False
) -> Work:
    """Return the work of dk: two gated signals in, K numbers a channel out."""
    if plan.method == "partitioned":  # takes the passes of the long band
        cut = shape_long(shape.B, shape.L, plan.taps, plan.right, plan.operand)
        plan = replace(plan, method="long", **cut._asdict())
    ends = shape.elements * shape.itemsize * (2 + bool(pre) + bool(post))
    between, flops = _inside(plan, shape)
    return Work(ends + 2 * between + 4 * shape.H * plan.taps, flops)


def mixer_bytes(itemsize: int, *, fused: bool) -> int:
    """Return bytes an element of a mixer between its products, three signals to one.

    Fused, the short filters run as the long convolution reads its input and its gates;
    apart, they read and write all three once more.
    """
    return itemsize * (4 if fused else 10)


def _width(plan: GpuPlan) -> int:
    return 2 if plan.operand == "float16" else 4


def _filter(plan: GpuPlan) -> tuple[float, float]:
    """Return (bytes, FLOPs) of one channel's filter in a call."""
    if plan.method == "short":
        return 4 * plan.taps, 0
    if plan.method == "toeplitz":
        return 8 * _width(plan) * (plan.taps + 2 * plan.factors[1]), 0
    spectrum = 2 * _width(plan) * plan.fft_size * plan.parts
    if plan.method != "long":
        return spectrum, 0
    # The long band prepares nothing: taps in, two passes, and the product reads them.
    return 4 * plan.taps + 4 * spectrum, plan.parts * _window_flops(plan) / 2


def _inside(plan: GpuPlan, shape: Shape) -> tuple[float, float]:
    """Return (bytes of workspaces, FLOPs of products) of a call, filter apart."""
    rows = shape.B * shape.H
    blocks = math.ceil(shape.L / plan.block)
    spectrum = 2 * _width(plan) * plan.fft_size  # bytes of a window's
    if plan.method == "short":
        return 0, 0
    if plan.method == "toeplitz":
        M = plan.factors[1]
        depth = (plan.taps + -plan.right % 8 + M - 2) // M + 1
        Q, runs = packed(shape.B, shape.L, *plan.factors)
        positions = shape.H * math.ceil(shape.B / Q) * runs * plan.block
        return 0, 2 * M * depth * positions
    if plan.method == "overlap_save":
        return 0, rows * blocks * _window_flops(plan)
    if plan.method == "partitioned":
        early = max(1 - plan.parts, (plan.halo - 2 * plan.inner) // plan.block + 1)
        windows = blocks - early
        transforms = (windows + blocks) / 2
        return 2 * spectrum * rows * windows, rows * transforms * _window_flops(plan)
    windows = rows * blocks * plan.parts
    return 4 * spectrum * windows, windows * _window_flops(plan)


def _window_flops(plan: GpuPlan) -> int:
    """Return FLOPs of a window's transform there and back."""
    flops = 2 * plan.outer * transform_flops(plan.factors)
    if plan.method != "long":
        return flops
    outer = tiles(plan.outer, plan.operand)
    return flops + 16 * plan.fft_size * (outer.O1 + (outer.O2 if outer.O2 > 1 else 0))
