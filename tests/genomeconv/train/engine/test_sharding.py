"""Sharding costs nothing where nothing is shared out."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import genomeconv.train.run
sys.exit(sum(f"torch.distributed.{name}" in sys.modules for name in ("fsdp", "tensor")))
"""


def test_training_does_not_import_what_few_runs_need():
    """It takes half as long as torch itself."""
    done = subprocess.run([sys.executable, "-P", "-c", CODE], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
