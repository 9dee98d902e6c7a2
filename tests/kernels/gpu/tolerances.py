"""The one table: largest relative L2 error of any row against float64."""

from __future__ import annotations

from types import MappingProxyType

import torch

TOLERANCE = MappingProxyType(
    {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
)
