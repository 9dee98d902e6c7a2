"""Everything about a filter that does not depend on the input, made once.

Axes: H channels, K taps, L positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genomeconv_kernels.checks import (
    FLOATS,
    check_companion,
    check_count,
    check_taps,
    compute_dtype,
    refuse,
)
from genomeconv_kernels.fftconv import direct, overlap_save, partitioned
from genomeconv_kernels.fftconv.plan import ConvPlan, check_method, plan_conv
from genomeconv_kernels.fftconv.source import Source

_KEPT_BYTES = 64 << 20  # spectra beyond this are made anew, a few channels at a time


@dataclass(frozen=True, kw_only=True)
class PreparedFilter:
    """A filter made ready by `prepare_filter`; carries no gradient.

    Attributes
    ----------
    K
        Taps of the filter as given; a state holds K - 1 positions.
    length
        New outputs per call that it was planned for; others work too, unless
        `history` is False, when it is the most.
    right
        Taps that reach to the future.
    history
        Whether a state may come with it.
    plan
        How the convolution is carried out.
    taps
        (H, plan.taps), the skip added to the tap of lag 0.
    spectrum
        Spectra of the taps, or None where they would take too much memory.
    """

    K: int
    length: int
    right: int
    history: bool
    plan: ConvPlan
    taps: Tensor
    spectrum: Tensor | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        kept = 0 if self.spectrum is None else self.spectrum.nbytes
        return self.taps.nbytes + kept


def prepare_filter(
    k: Tensor,
    *,
    length: int,
    skip: Tensor | None = None,
    right: int = 0,
    history: bool = True,
    batch: int = 1,
    dtype: torch.dtype | None = None,
    method: str | None = None,
) -> PreparedFilter:
    """Prepare taps for many calls of `fft_conv` of `length` outputs each.

    Parameters
    ----------
    k
        Taps (H, K).
    length
        New outputs per call, at least 1.
    skip
        (H,), added to the tap of lag 0.
    right
        Taps that reach to the future, 0..K-1.
    history
        Whether calls may bring a state; if not, taps beyond `length` are left out.
    batch
        Batch rows per call, for the plan.
    dtype
        Of the inputs to come; None for that of k.
    method
        One of `METHODS` to have it so; None to take the cheapest.

    Raises
    ------
    TypeError, ValueError
        In the one message form.
    """
    op = "prepare_filter"
    check_taps(op, "k", k)
    if skip is not None:
        check_companion(op, "skip", skip, k.shape[:1], "(H,)", k)
    check_count(op, "length", length, 1)
    check_count(op, "batch", batch, 1)
    check_count(op, "right", right, 0, k.shape[1] - 1)
    check_method(op, method)
    dtype = k.dtype if dtype is None else dtype
    if dtype not in FLOATS:
        refuse(op, "dtype", "a floating-point dtype", dtype, TypeError)
    H, K = k.shape
    plan = plan_conv(
        batch, H, length, K, dtype,
        right=right, history=history and not right, prepared=True, method=method,
    )  # fmt: skip
    with torch.no_grad():
        computed = compute_dtype(dtype)
        taps = fold_taps(plan, k.to(computed), None if skip is None else skip)
        taps = taps.clone() if taps.data_ptr() == k.data_ptr() else taps.contiguous()
        points = H * plan.parts * plan.fft_size * taps.itemsize
        keep = 0 < points <= _KEPT_BYTES
        return PreparedFilter(
            K=K,
            length=length,
            right=right,
            history=history and not right,
            plan=plan,
            taps=taps,
            spectrum=_spectrum(plan, taps) if keep else None,
        )


def fold_taps(plan: ConvPlan, k: Tensor, skip: Tensor | None) -> Tensor:
    """Cut taps (H, K) as the plan says and add skip (H,) to the tap of lag 0."""
    taps = k[:, plan.first_tap : plan.first_tap + plan.taps]
    if skip is None:
        return taps
    taps = taps.clone()
    taps[:, plan.right] += skip
    return taps


def _spectrum(plan: ConvPlan, taps: Tensor) -> Tensor:
    if plan.method == "partitioned":
        return partitioned.spectra(plan, taps)
    return overlap_save.spectra(plan, taps)


def run_plan(
    plan: ConvPlan,
    source: Source,
    taps: Tensor,
    post: Tensor | None,
    out: Tensor,
    spectrum: Tensor | None = None,
) -> None:
    """Write the convolution into out (B, H, L), which may be uninitialised."""
    if plan.method == "direct":
        direct.convolve(plan, source, taps, post, out)
    elif plan.method == "overlap_save":
        overlap_save.convolve(plan, source, taps, post, out, spectrum)
    else:
        partitioned.convolve(plan, source, taps, post, out, spectrum)


def run_filter_grad(plan: ConvPlan, source: Source, grad: Source, out: Tensor) -> None:
    """Write the gradient of the plan's taps into out (H, plan.taps)."""
    rooms = {
        "direct": direct.filter_grad,
        "overlap_save": overlap_save.filter_grad,
        "partitioned": partitioned.filter_grad,
    }
    rooms[plan.method](plan, source, grad, out)
