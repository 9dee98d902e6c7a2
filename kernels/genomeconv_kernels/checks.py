"""Argument checks, in one message form.

Every refusal reads ``operation: argument must be what was wanted, got what came``
and is raised before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def describe(value: object) -> str:
    """Say what came: a tensor by dtype, shape and device, the rest by type."""
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, Tensor):
        return (
            f"{describe(value.dtype)} of shape {tuple(value.shape)} on {value.device}"
        )
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return type(value).__name__


def refuse(
    op: str, argument: str, wanted: str, came: object, error: type[Exception]
) -> NoReturn:
    """Raise `error` in the one message form."""
    raise error(f"{op}: {argument} must be {wanted}, got {describe(came)}")


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype the work is done in: half precisions compute in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_signal(op: str, argument: str, value: object) -> Tensor:
    """Check the (B, H, L) input that sets the shape, dtype and device of a call.

    Raises
    ------
    TypeError
        If it is no tensor or not of a floating-point dtype.
    ValueError
        If it has not three axes, each at least 1.
    """
    wanted = "a floating-point tensor of shape (B, H, L), every axis at least 1"
    if not isinstance(value, Tensor) or value.dtype not in FLOATS:
        refuse(op, argument, wanted, value, TypeError)
    if value.dim() != 3 or 0 in value.shape:
        refuse(op, argument, wanted, value, ValueError)
    return value


def check_taps(op: str, argument: str, value: object) -> Tensor:
    """Check filter taps (H, K); raises as `check_signal` does."""
    wanted = "a floating-point tensor of shape (H, K), every axis at least 1"
    if not isinstance(value, Tensor) or value.dtype not in FLOATS:
        refuse(op, argument, wanted, value, TypeError)
    if value.dim() != 2 or 0 in value.shape:
        refuse(op, argument, wanted, value, ValueError)
    return value


def check_companion(
    op: str,
    argument: str,
    value: object,
    shape: Sequence[int],
    axes: str,
    like: Tensor,
) -> None:
    """Check an argument whose shape, dtype and device follow from `like`.

    Its dtype may be that of `like` or the one the work is done in.

    Raises
    ------
    TypeError
        If it is no tensor, or of a dtype that does not go with `like`.
    ValueError
        If its shape or device differs.
    """
    computed = compute_dtype(like.dtype)
    dtypes = " or ".join(dict.fromkeys(map(describe, (like.dtype, computed))))
    wanted = f"{dtypes} of shape {axes} = {tuple(shape)} on {like.device}"
    if not isinstance(value, Tensor) or value.dtype not in (like.dtype, computed):
        refuse(op, argument, wanted, value, TypeError)
    if tuple(value.shape) != tuple(shape) or value.device != like.device:
        refuse(op, argument, wanted, value, ValueError)


def check_count(
    op: str, argument: str, value: object, low: int, high: int | None = None
) -> int:
    """Check a whole number in low..high (inclusive).

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it lies outside.
    """
    span = f"at least {low}" if high is None else f"in {low}..{high}"
    wanted = f"an integer {span}"
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(op, argument, wanted, value, TypeError)
    if value < low or (high is not None and value > high):
        refuse(op, argument, wanted, value, ValueError)
    return value


def check_out(
    op: str,
    out: object,
    u: Tensor,
    others: Iterable[object],
    *,
    read: Iterable[Tensor | None],
    wanted: str = "a tensor of the shape, dtype and device of u",
) -> None:
    """Refuse a tensor that y (B, H, L) cannot be written into.

    Raises
    ------
    TypeError, ValueError
        If its shape, dtype or device is not that of `u`, if it shares memory with one
        of `read`, or if gradients of `u` or `others` are wanted.
    """
    if not isinstance(out, Tensor) or out.dtype != u.dtype:
        refuse(op, "out", wanted, out, TypeError)
    if out.shape != u.shape or out.device != u.device:
        refuse(op, "out", wanted, out, ValueError)
    graded = any(isinstance(t, Tensor) and t.requires_grad for t in (u, *others))
    if graded and torch.is_grad_enabled():
        refuse(op, "out", "None where gradients are wanted", out, ValueError)
    if torch.compiler.is_compiling():
        return  # no memory yet; results are copied into it
    mine = out.untyped_storage().data_ptr()
    if mine and any(
        t is not None and t.untyped_storage().data_ptr() == mine for t in read
    ):
        refuse(op, "out", "in memory of its own, not the input's", out, ValueError)
