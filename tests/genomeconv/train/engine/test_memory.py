"""Freed memory is kept where glibc is what gives it out."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import torch
from genomeconv.train.engine.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

# The aligned block wants a little more than the one before it has: some rounds pass
# until there is a fit.
print([faults() for _ in range(32)][-1])
"""
PAGES = (64 << 20) // 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
@pytest.mark.parametrize(("how", "few"), [("kept", True), ("untaught", False)])
def test_a_block_is_used_again(how, few):
    run = [sys.executable, "-c", COUNT, how]
    found = int(subprocess.run(run, capture_output=True, check=True).stdout)
    assert (found < PAGES // 16) is few
