"""Uniformly partitioned overlap-save: spectra of all windows, then sums of products.

Axes: B batch, H channels, L positions, K taps; F complex points of the transform, which
are also the taps of a part and the new outputs V of a block. A window is 2F real
values, the halves real and imaginary part of one complex sequence whose transform at
frequencies k - 1/4 multiplies like a negacyclic convolution, see `outer`. With Z_j the
transform of the window that ends with the inputs block j meets at its first tap, and
K_p that of part p of the filter,

    Y_i = sum_p K_p Z_{i-p}            block i = imaginary part of the inverse of Y_i

1. windows: gated inputs in, spectra out, w bytes a value (2 for products in float16,
   with a scale of the window, else 4);
2. blocks: the sum over parts in float32, one inverse transform, gated outputs.

Bytes per output, e a value of the input: u, two gates and y make 4e, spectra 2w written
and 2w read from memory. The reads of pass 2 are 4w a part: neighbouring programs take
neighbouring blocks, so all but the first come from the second-level cache.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from genomeconv_kernels.fftconv.gpu import long, tables
from genomeconv_kernels.fftconv.gpu.operands import (
    OPERANDS,
    Input,
    Output,
    Spectrum,
    read_arguments,
    select,
    write_arguments,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.shapes import aligned, shape_long
from genomeconv_kernels.fftconv.gpu.signal import normalise_complex
from genomeconv_kernels.fftconv.gpu.transform import (
    forward,
    frequencies,
    inverse,
    positions,
)
from genomeconv_kernels.fftconv.gpu.windows import halves_of, write_row
from genomeconv_kernels.launch import launch


@triton.jit
def _windows(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    values, scales, table,
    u_b, u_h, pre_b, pre_h, state_b, state_h,
    H, B, L, S, windows, begin,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    F: tl.constexpr = N1 * N2 * N3
    pid = tl.program_id(0)
    j = pid % windows
    b = (pid // windows) % B
    h = pid // windows // B

    n = positions(N1, N2, N3)
    t = begin + j * F + n
    re, im = halves_of(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, t, t + F, H, L, S,
        HAS_PRE, HAS_STATE, T,
    )  # fmt: skip
    re, im, scale = normalise_complex(re, im)
    re, im = forward(re, im, table, N1, N2, N3, PRECISION)
    at = values + pid.to(tl.int64) * (2 * F) + frequencies(N1, N2, N3)
    tl.store(at, re.to(values.dtype.element_ty))
    tl.store(at + F, im.to(values.dtype.element_ty))
    tl.store(scales + pid, scale)


@triton.jit
def _blocks(
    values, scales, k_values, k_scales, table,
    out, post, out2, post2, post_table, post_past,
    out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
    H, B, L, blocks, windows, parts,
    HAS_POST: tl.constexpr, TWO: tl.constexpr, T: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # The last window stored is that of the last block; before the first all is zero.
    F: tl.constexpr = N1 * N2 * N3
    pid = tl.program_id(0)
    i = pid % blocks
    row = pid // blocks
    b = row % B
    h = row // B
    latest = i + (windows - blocks)

    f = frequencies(N1, N2, N3)
    z = values + (row * windows + latest).to(tl.int64) * (2 * F) + f
    k = k_values + (h * parts).to(tl.int64) * (2 * F) + f
    re = tl.zeros(f.shape, tl.float32)
    im = tl.zeros(f.shape, tl.float32)
    for p in range(tl.minimum(parts, latest + 1)):
        size = tl.load(scales + (row * windows + latest - p))
        size *= tl.load(k_scales + (h * parts + p))
        zr = tl.load(z).to(tl.float32) * size
        zi = tl.load(z + F).to(tl.float32) * size
        kr = tl.load(k).to(tl.float32)
        ki = tl.load(k + F).to(tl.float32)
        re += zr * kr - zi * ki
        im += zr * ki + zi * kr
        z -= 2 * F
        k += 2 * F
    re, im, scale = normalise_complex(re, im)
    re, im = inverse(re, im, table, N1, N2, N3, PRECISION)

    y = im * scale
    t = i * F + positions(N1, N2, N3)
    write_row(
        y, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b, h, t, t < L, H, L, HAS_POST, TWO, T,
    )  # fmt: skip


def prepare(plan: GpuPlan, taps: Tensor) -> Spectrum:
    """Return the spectra of the parts of taps (H, K): (H, parts, 2, F), (H, parts).

    Zeros in front make `right` a multiple of 16, so that windows begin aligned.
    """
    F = plan.inner
    lead = aligned(plan.right) - plan.right
    rest = plan.parts * F - lead - taps.shape[-1]
    k = torch.nn.functional.pad(taps.float(), (lead, rest)).unflatten(-1, (-1, F))
    n = torch.arange(F, device=taps.device, dtype=torch.float64)
    quarter = torch.polar(torch.ones_like(n), n * (math.pi / 2 / F))
    k = torch.fft.fft(k * quarter.to(torch.complex64))
    # Frequency k1 + N1 k2 + N1 N2 k3 stands at (k1, k2, k3).
    k = k.unflatten(-1, plan.factors[::-1])
    k = k.permute(0, 1, *range(k.ndim - 1, 1, -1)).reshape(-1, plan.parts, F)
    values = torch.view_as_real(k).movedim(-1, -2)
    scale = values.abs().amax((-1, -2))
    scale = torch.where((scale > 0) & scale.isfinite(), scale, 1.0)
    values = (values / scale[..., None, None]).to(OPERANDS[plan.operand])
    return Spectrum(values.contiguous(), scale)


def convolve(
    plan: GpuPlan, x: Input, k: Spectrum, y: Output, workspace: int = long.WORKSPACE
) -> None:
    """Write the convolution into y, which may be uninitialised.

    The workspace, in bytes, is exceeded only where a row's windows do not fit.
    """
    B, H, L = x.u.shape
    blocks = math.ceil(L / plan.block)
    windows = blocks - _first(plan, 0 if x.state is None else x.state.shape[-1])
    kind = OPERANDS[plan.operand]
    rows = max(workspace // (windows * 2 * plan.inner * kind.itemsize), 1)
    group = max(min(rows // B, H), 1)
    rows = min(max(rows // group, 1), B)
    size = (group * rows * windows, 2 * plan.inner)
    z = torch.empty(size, dtype=kind, device=x.u.device)
    scales = torch.empty(len(z), dtype=torch.float32, device=z.device)
    for h in range(0, H, group):
        span = slice(h, min(h + group, H))
        for b in range(0, B, rows):
            batch = slice(b, min(b + rows, B))
            _transform(plan, select(x, batch, span), z, scales, H, windows, blocks)
            f = Spectrum(k.values[span], k.scale[span])
            _sum(plan, z, scales, f, select(y, batch, span), H, windows, blocks)


def filter_grad(plan: GpuPlan, x: Input, g: Input, out: Tensor) -> None:
    """Write dk (H, K), float32, by the passes of the long band.

    Every window meets every part once there, in one transform, instead of F by F.
    """
    B, _, L = x.u.shape
    shape = shape_long(B, L, plan.taps, plan.right, plan.operand)
    as_long = dataclasses.replace(plan, method="long", **shape._asdict())
    long.filter_grad(as_long, x, g, out)


def _first(plan: GpuPlan, S: int) -> int:
    """Return the first window that any block meets and that is not all zero."""
    return max(1 - plan.parts, (plan.halo - 2 * plan.inner - S) // plan.block + 1)


def _transform(
    plan: GpuPlan,
    x: Input,
    z: Tensor,
    scales: Tensor,
    H: int,
    windows: int,
    blocks: int,
) -> None:
    B, rows, L = x.u.shape
    read, read_strides, S = read_arguments(x, align=False)
    launch(
        _windows, B * rows * windows,
        *read, z, scales, _table(plan, z, turned=False), *read_strides,
        H, B, L, S, windows, (blocks - windows) * plan.block - plan.halo,
        HAS_PRE=x.pre is not None, HAS_STATE=x.state is not None, T=x.short_taps,
        **_constants(plan),
    )  # fmt: skip


def _sum(
    plan: GpuPlan, z: Tensor, scales: Tensor, k: Spectrum, y: Output, H: int,
    windows: int, blocks: int,
) -> None:  # fmt: skip
    B, rows, L = y.out.shape
    written, write_strides = write_arguments(y, y.out)
    launch(
        _blocks, B * rows * blocks,
        z, scales, k.values, k.scale, _table(plan, z, turned=True),
        *written, *write_strides,
        H, B, L, blocks, windows, plan.parts,
        HAS_POST=y.post is not None, TWO=y.out2 is not None,
        T=y.post_short.taps if y.post_short else 0,
        **_constants(plan),
    )  # fmt: skip


def _table(plan: GpuPlan, like: Tensor, *, turned: bool) -> Tensor:
    return tables.transform(
        plan.factors, like.dtype, like.device, shift=0.25, turned=turned
    )


def _constants(plan: GpuPlan) -> dict[str, int | str]:
    N1, N2, N3 = (*plan.factors, 1)[:3]
    return {
        "N1": N1, "N2": N2, "N3": N3,
        "PRECISION": plan.precision, "num_warps": plan.warps, "num_stages": 1,
    }  # fmt: skip
