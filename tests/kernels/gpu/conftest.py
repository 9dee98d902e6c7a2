"""Fixtures for the kernels in Triton."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from tolerances import TOLERANCE

pytest.register_assert_rewrite("bands")


@pytest.fixture(scope="session")
def tolerance() -> Mapping[torch.dtype, float]:
    """Return the one table, that of tolerances.py beside this file."""
    return TOLERANCE
