"""Everything about a filter that does not depend on the input, made once.

Axes: H channels, K taps, L positions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from genomeconv_kernels import backend
from genomeconv_kernels.checks import (
    FLOATS,
    check_companion,
    check_count,
    check_taps,
    compute_dtype,
    refuse,
)
from genomeconv_kernels.fftconv import direct, overlap_save, partitioned
from genomeconv_kernels.fftconv.gpu import plan as gpu_plan
from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Spectrum
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan
from genomeconv_kernels.fftconv.plan import METHODS, ConvPlan, check_method, plan_conv
from genomeconv_kernels.fftconv.source import Source, in_dtype

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
        How the convolution is carried out, and on which path.
    taps
        (H, plan.taps), the skip added to the tap of lag 0.
    spectrum
        What is made of the taps ahead of time: their spectra (in Triton, whatever the
        band wants), or None where they would take too much memory.
    """

    K: int
    length: int
    right: int
    history: bool
    plan: ConvPlan | GpuPlan
    taps: Tensor
    spectrum: Tensor | Spectrum | None
    plan_text: str = field(init=False, repr=False)
    """The plan as an operator takes it: a graph holds tensors and plain values."""

    def __post_init__(self) -> None:
        """Write the plan down once: a compiler cannot follow how."""
        object.__setattr__(self, "plan_text", json.dumps(asdict(self.plan)))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        kept = self.spectrum
        parts = () if kept is None else (kept,) if isinstance(kept, Tensor) else kept
        return self.taps.nbytes + sum(part.nbytes for part in parts)


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
    check_method(op, method, methods_for(k))
    dtype = k.dtype if dtype is None else dtype
    if dtype not in FLOATS:
        refuse(op, "dtype", "a floating-point dtype", dtype, TypeError)
    history = history and not right
    shape = (batch, k.shape[0], length)
    k = k.to(compute_dtype(dtype))
    with torch.no_grad():
        made = _triton if backend.path(k) == "triton" else _torch
        plan, taps, spectrum = made(k, shape, skip, right, history, method, dtype)
    return PreparedFilter(
        K=k.shape[1],
        length=length,
        right=right,
        history=history,
        plan=plan,
        taps=taps,
        spectrum=spectrum,
    )


_Made = tuple[ConvPlan | GpuPlan, Tensor, Tensor | Spectrum | None]


def _torch(
    k: Tensor,
    shape: tuple[int, int, int],
    skip: Tensor | None,
    right: int,
    history: bool,
    method: str | None,
    dtype: torch.dtype,
) -> _Made:
    plan = plan_conv(
        *shape, k.shape[1], dtype,
        right=right, history=history, prepared=True, method=method,
    )  # fmt: skip
    taps = fold_taps(plan, k, skip).clone().contiguous()
    points = len(taps) * plan.parts * plan.fft_size * taps.itemsize
    keep = 0 < points <= _KEPT_BYTES
    return plan, taps, _spectrum(plan, taps) if keep else None


def _triton(
    k: Tensor,
    shape: tuple[int, int, int],
    skip: Tensor | None,
    right: int,
    history: bool,
    method: str | None,
    dtype: torch.dtype,
) -> _Made:
    from genomeconv_kernels.fftconv.gpu import run

    B, H, L = shape
    like = k.new_empty(0, dtype=dtype).expand(B, H, 0)
    plan = run.plan_for(like, L, k.shape[1], right, history, method)
    taps = run.cut_taps(plan, k, skip).clone()
    return plan, taps, run.prepare(plan, taps)


def methods_for(tensor: Tensor) -> Sequence[str]:
    """Return the methods of the path that work on this tensor takes."""
    return gpu_plan.METHODS if backend.path(tensor) == "triton" else METHODS


def run_prepared(
    k: PreparedFilter,
    u: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    state: Tensor | None,
    out: Tensor,
) -> None:
    """Write y into out (B, H, L), of u's dtype."""
    if isinstance(k.plan, GpuPlan):
        from genomeconv_kernels.fftconv.gpu import run

        assert k.spectrum is not None
        run.convolve(k.plan, Input(u, pre, state), k.spectrum, Output(out, post))
        return
    assert not isinstance(k.spectrum, tuple)
    x, a, b, s = in_dtype(k.taps.dtype, u, pre, post, state)
    y = out if out.dtype == x.dtype else torch.empty_like(out, dtype=x.dtype)
    run_plan(k.plan, Source(x, a, s), k.taps, b, y, k.spectrum)
    if y is not out:
        out.copy_(y)


@torch.library.custom_op("genomeconv::prepared_conv", mutates_args=())
def prepared_conv_op(
    u: Tensor,
    pre: Tensor | None,
    post: Tensor | None,
    state: Tensor | None,
    filter_: list[Tensor],
    plan: str,
) -> Tensor:
    """Return y (B, H, L); filter and plan as `written` writes them."""
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    run_prepared(read(filter_, plan), u, pre, post, state, out)
    return out


@prepared_conv_op.register_fake
def _(u, pre, post, state, filter_, plan):
    return torch.empty(u.shape, dtype=u.dtype, device=u.device)


def written(k: PreparedFilter) -> tuple[list[Tensor], str]:
    """Return a filter's tensors and its plan as operators take them."""
    spectrum = k.spectrum
    if spectrum is None:
        return [k.taps], k.plan_text
    parts = [spectrum] if isinstance(spectrum, Tensor) else list(spectrum)
    return [k.taps, *parts], k.plan_text


def read(filter_: list[Tensor], plan: str) -> PreparedFilter:
    """Return the filter `written` wrote, as far as it takes part in a convolution."""
    taps, *parts = filter_
    spectrum = Spectrum(*parts) if len(parts) == 2 else parts[0] if parts else None
    known = _plan_of(plan)
    return PreparedFilter(
        K=known.taps, length=0, right=known.right, history=True,
        plan=known, taps=taps, spectrum=spectrum,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _plan_of(text: str) -> ConvPlan | GpuPlan:
    values = json.loads(text)
    if "factors" not in values:
        return ConvPlan(**values)
    return GpuPlan(**values | {"factors": tuple(values["factors"])})


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
