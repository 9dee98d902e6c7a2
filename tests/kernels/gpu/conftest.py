"""Fixtures for the kernels in Triton."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import MappingProxyType

import pytest
import torch


@pytest.fixture(scope="session")
def tolerance() -> MappingProxyType[torch.dtype, float]:
    """Return the one table, that of tolerances.py beside this file."""
    table: MappingProxyType[torch.dtype, float]
    table = runpy.run_path(str(Path(__file__).with_name("tolerances.py")))["TOLERANCE"]
    return table
