"""Fixtures that tests of every storey use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

# Kernels run in Triton's interpreter, which has to be chosen before they are imported.
os.environ["TRITON_INTERPRET"] = "1"

# No test has a bound in seconds: machines are shared and slow ones are right too.
settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command line gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def genomeconv(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `genomeconv ARG...` in this process, as the console script does."""
    from genomeconv_cli.main import run

    def call(*args: object) -> Outcome:
        capfd.readouterr()
        code = run([str(arg) for arg in args])
        captured = capfd.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return call
