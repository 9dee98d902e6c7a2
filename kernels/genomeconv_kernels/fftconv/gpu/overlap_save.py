"""One-pass overlap-save: window, transform, product, transform back, on the chip.

Axes: B batch, H channels, L positions, K taps, F points, V new outputs of a window. The
halves of a window of 2F positions ride as real and imaginary part, at frequencies that
make the product of transforms their negacyclic convolution. See ../../README.md.

    Z[k] = sum over n < F of (x[begin + n] + i x[begin + F + n]) e(n (k - 1/4) / F)
    y[t] = post[t] inverse(Z fft(taps))[t - begin + right]
    dk   = inverse(sum over windows of conj(Z) fft(g))
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genomeconv_kernels.fftconv.gpu import tables
from genomeconv_kernels.fftconv.gpu.operands import (
    OPERANDS,
    Input,
    Output,
    Spectrum,
    lined,
    options,
    read_arguments,
    strides,
)
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.gpu.signal import normalise_complex, power_of_two
from genomeconv_kernels.fftconv.gpu.transform import (
    forward,
    forward_rows,
    frequencies,
    inverse,
    positions,
)
from genomeconv_kernels.fftconv.gpu.windows import (
    arguments,
    block_of,
    halves_of,
    place,
    write_row,
)
from genomeconv_kernels.launch import launch

_PROGRAMS = 528
"""Programs that add up the filter's gradient: four on each of an H200's processors."""
_KEPT_POINTS = 4096
"""Points of a sum of spectra that a program has registers for."""
_SPECTRUM_POINTS = 1024
"""Points of a filter's spectrum that a program makes: in float32 more would spill."""


@triton.jit
def _convolve(
    u, pre, state, u_table, u_past, pre_table, pre_past,
    values, scale, table, back,
    out, post, out2, post2, post_table, post_past,
    u_b, u_h, pre_b, pre_h, state_b, state_h,
    out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
    B, H, L, S, windows, programs, halo, right, V,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, HAS_POST: tl.constexpr,
    TWO: tl.constexpr, T: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # Neighbouring programs take the windows of one channel: they share filter and halo.
    F: tl.constexpr = N1 * N2 * N3
    h = tl.program_id(0) // programs
    b, begin = place(tl.program_id(0) % programs, windows, B, halo, V)
    n = positions(N1, N2, N3)
    re, im = halves_of(
        u, pre, state, u_table, u_past, pre_table, pre_past,
        u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, begin + n, begin + F + n,
        H, L, S, HAS_PRE, HAS_STATE, T,
    )  # fmt: skip
    re, im, size = normalise_complex(re, im)
    re, im = forward(re, im, table, N1, N2, N3, PRECISION)

    # Or the compiler reads the filter before the transform and runs out of registers.
    tl.debug_barrier()
    f = frequencies(N1, N2, N3)
    at = values + h.to(tl.int64) * 2 * F
    kr = tl.load(at + f).to(tl.float32)
    ki = tl.load(at + F + f).to(tl.float32)
    re, im = re * kr - im * ki, re * ki + im * kr
    re, im = inverse(re, im, back, N1, N2, N3, PRECISION)

    size *= tl.load(scale + h)
    first = halo + right
    t = begin - right + n
    fresh = (n >= first) & (n < first + V) & (t < L)
    write_row(
        re * size, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b, h, t, fresh, H, L, HAS_POST, TWO, T,
    )  # fmt: skip
    fresh = (n >= first - F) & (n < first + V - F) & (t + F < L)
    write_row(
        im * size, out, post, out2, post2, post_table, post_past,
        out_b, out_h, post_b, post_h, out2_b, out2_h, post2_b, post2_h,
        b, h, t + F, fresh, H, L, HAS_POST, TWO, T,
    )  # fmt: skip


@triton.jit
def _spectra(
    taps, values, scale, table, K, R: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # A program makes R of the N1 rows of one channel: in float32 all would spill.
    F: tl.constexpr = N1 * N2 * N3
    M: tl.constexpr = F // N1
    h = (tl.program_id(0) // (N1 // R)).to(tl.int64)
    row = tl.program_id(0) % (N1 // R) * R
    n = positions(N1, N2, N3)
    re = tl.load(taps + h * K + n, mask=n < K, other=0.0)
    im = tl.load(taps + h * K + F + n, mask=F + n < K, other=0.0)
    re, im, size = normalise_complex(re, im)
    most = power_of_two(tl.sum(tl.ravel(tl.abs(re) + tl.abs(im)), 0))
    re, im = forward_rows(re, im, table, row, R, N1, N2, N3, PRECISION)
    # The transform is orthonormal, a filter's must not be.
    unit = tl.sqrt(F * 1.0) / most
    f = row * M + frequencies(R, N2, N3)
    kind: tl.constexpr = values.dtype.element_ty
    tl.store(values + h * 2 * F + f, (re * unit).to(kind))
    tl.store(values + h * 2 * F + F + f, (im * unit).to(kind))
    tl.store(scale + h, size * most)


@triton.jit
def _correlate(
    u, pre, state, u_table, u_past, pre_table, pre_past, g, g_pre,
    sums, table,
    u_b, u_h, pre_b, pre_h, state_b, state_h, g_b, g_h, g_pre_b, g_pre_h,
    B, H, L, S, windows, share, parts, halo, right, V,
    HAS_PRE: tl.constexpr, HAS_STATE: tl.constexpr, HAS_G_PRE: tl.constexpr,
    T: tl.constexpr, KEEP: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # A program adds up a share of the windows of one channel, always in the same order,
    # in registers (KEEP) or, where those do not suffice, in memory.
    F: tl.constexpr = N1 * N2 * N3
    PLANES: tl.constexpr = 2 if KEEP else 4
    h = tl.program_id(0) // parts
    begun = tl.program_id(0) % parts * share
    n = positions(N1, N2, N3)
    f = frequencies(N1, N2, N3)
    at = sums + tl.program_id(0).to(tl.int64) * PLANES * F + f
    sum_re = tl.zeros(f.shape, tl.float32)
    sum_im = tl.zeros(f.shape, tl.float32)
    for window in range(begun, tl.minimum(begun + share, B * windows)):
        b, begin = place(window, windows, B, halo, V)
        re, im = halves_of(
            u, pre, state, u_table, u_past, pre_table, pre_past,
            u_b, u_h, pre_b, pre_h, state_b, state_h, b, h, begin + n, begin + F + n,
            H, L, S, HAS_PRE, HAS_STATE, T,
        )  # fmt: skip
        re, im, size = normalise_complex(re, im)
        re, im = forward(re, im, table, N1, N2, N3, PRECISION)
        kind: tl.constexpr = table.dtype.element_ty
        xr, xi = re.to(kind), im.to(kind)
        if not KEEP:
            tl.store(at + 2 * F, re)
            tl.store(at + 3 * F, im)

        tl.debug_barrier()
        t = n - halo - right
        re = block_of(
            g, g_pre, g_b, g_h, g_pre_b, g_pre_h, b, h, begin + halo, t, L, V, HAS_G_PRE
        )
        im = block_of(
            g, g_pre, g_b, g_h, g_pre_b, g_pre_h, b, h, begin + halo, t + F, L, V,
            HAS_G_PRE,
        )  # fmt: skip
        re, im, more = normalise_complex(re, im)
        re, im = forward(re, im, table, N1, N2, N3, PRECISION)
        size *= more
        size = tl.where(size > 8.5e37, 8.5e37, size)
        if KEEP:
            wr, wi = xr.to(tl.float32), xi.to(tl.float32)
            sum_re += size * (wr * re + wi * im)
            sum_im += size * (wr * im - wi * re)
        else:
            # Who stored a value is not who loads it.
            tl.debug_barrier()
            wr, wi = tl.load(at + 2 * F), tl.load(at + 3 * F)
            re, im = size * (wr * re + wi * im), size * (wr * im - wi * re)
            later = tl.full(f.shape, window, tl.int32) > begun
            tl.store(at, re + tl.load(at, mask=later, other=0.0))
            tl.store(at + F, im + tl.load(at + F, mask=later, other=0.0))
    if KEEP:
        tl.store(at, sum_re)
        tl.store(at + F, sum_im)


@triton.jit
def _collect(
    sums, dk, back, K, parts, stride,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # Adds the shares of one channel in order and transforms back.
    F: tl.constexpr = N1 * N2 * N3
    h = tl.program_id(0).to(tl.int64)
    f = frequencies(N1, N2, N3)
    re = tl.zeros(f.shape, tl.float32)
    im = tl.zeros(f.shape, tl.float32)
    for part in range(parts):
        at = sums + (h * parts + part) * stride + f
        re += tl.load(at)
        im += tl.load(at + F)
    re, im, size = normalise_complex(re, im)
    re, im = inverse(re, im, back, N1, N2, N3, PRECISION)
    size *= tl.sqrt(F * 1.0)
    n = positions(N1, N2, N3)
    tl.store(dk + h * K + n, re * size, mask=n < K)
    tl.store(dk + h * K + F + n, im * size, mask=F + n < K)


def _factors(plan: GpuPlan) -> dict[str, int]:
    return dict(zip(("N1", "N2", "N3"), (*plan.factors, 1), strict=False))


def _tables(plan: GpuPlan, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the tables of the ways there and back."""
    there, back = (
        tables.transform(
            plan.factors, OPERANDS[plan.operand], device, shift=0.25, turned=turned
        )
        for turned in (False, True)
    )
    return there, back


def prepare(plan: GpuPlan, taps: Tensor) -> Spectrum:
    """Return the spectra of taps (H, K), scaled to below 2, computed in float32."""
    H, K = taps.shape
    kind = OPERANDS[plan.operand]
    values = torch.empty(H, 2, plan.inner, dtype=kind, device=taps.device)
    scale = torch.empty(H, dtype=torch.float32, device=taps.device)
    table = tables.transform(plan.factors, torch.float32, taps.device, shift=0.25)
    N1 = plan.factors[0]
    rows = max(min(N1, _SPECTRUM_POINTS * N1 // plan.inner), 1)
    launch(
        _spectra, H * N1 // rows, taps.contiguous(), values, scale, table, K, R=rows,
        **_factors(plan), PRECISION="ieee", num_warps=8 if plan.inner > 1024 else 4,
    )  # fmt: skip
    return Spectrum(values, scale)


def convolve(plan: GpuPlan, x: Input, k: Spectrum, y: Output) -> None:
    """Write the convolution into y, which may be uninitialised."""
    filter_ = k.values, k.scale, *_tables(plan, x.u.device)
    programs, given = arguments(plan, x, y, filter_)
    launch(
        _convolve, programs, *given, **options(x, y), **_factors(plan),
        PRECISION=plan.precision, num_warps=plan.warps,
    )  # fmt: skip


def filter_grad(plan: GpuPlan, x: Input, g: Input, out: Tensor) -> None:
    """Write dk[h, j] = sum_{b, t} g[b, h, t] x[b, h, t + right - j] into out (H, K).

    Deterministic: programs add shares of the windows in float32 spectra, a second
    kernel adds the shares in order. A NaN makes the taps of its channel NaN.
    """
    B, H, L = x.u.shape
    read, read_strides, S = read_arguments(x)
    grad, gate = lined(g.u), lined(g.pre)
    assert grad is not None
    windows = -(-L // plan.block)
    share = -(-B * windows // -(-_PROGRAMS // H))
    parts = -(-B * windows // share)
    keep = plan.operand == "float16" and plan.inner <= _KEPT_POINTS
    planes = 2 if keep else 4
    sums = grad.new_empty(H, parts, planes, plan.inner, dtype=torch.float32)
    table, back = _tables(plan, grad.device)
    how = {
        **_factors(plan), "PRECISION": plan.precision,
        "num_warps": max(plan.warps, min(plan.inner // 512, 8)),
    }  # fmt: skip
    launch(
        _correlate, H * parts, *read, grad, grad if gate is None else gate,
        sums, table, *read_strides, *strides(grad), *strides(gate),
        B, H, L, S, windows, share, parts, plan.halo, plan.right, plan.block,
        HAS_PRE=x.pre is not None, HAS_STATE=x.state is not None,
        HAS_G_PRE=gate is not None, T=x.short_taps, KEEP=keep, **how,
    )  # fmt: skip
    launch(
        _collect, H, sums, out, back, out.shape[1], parts, sums.stride(1), **how
    )  # fmt: skip
