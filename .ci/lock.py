"""Write the lock of the development environment: every package, version and sha256.

For Linux on x86-64 and Python 3.11, with the CPU build of torch, which comes from the
index or the folder that pip is configured to look into; the lock names no place.

Usage: python .ci/lock.py > .ci/requirements.lock
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = "genomeconv"
HEADER = """\
# Development environment: Linux x86-64, Python 3.11, CPU build of torch.
# Made by `make lock`; installed by `make locked`, which refuses any other file.
"""


def resolved() -> list[dict]:
    """Let pip decide what `pip install .[dev]` would install now, and tell."""
    words = ["-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    words += ["--only-binary", ":all:", "--report", "-", f"{ROOT}[dev]"]
    done = subprocess.run(
        [sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)["install"]


def pinned(package: dict) -> str:
    """Return the entry of one package, in pip's form."""
    metadata = package["metadata"]
    sha256 = package["download_info"]["archive_info"]["hashes"]["sha256"]
    name = metadata["name"].lower().replace("_", "-")
    return f"{name}=={metadata['version']} \\\n    --hash=sha256:{sha256}\n"


def main() -> None:
    """Write the lock to standard output."""
    here = (platform.system(), platform.machine(), *sys.version_info[:2])
    if here != ("Linux", "x86_64", 3, 11):
        sys.exit(f"the lock is made on Linux x86-64 with Python 3.11, not on {here}")
    packages = [p for p in resolved() if p["metadata"]["name"] != OURS]
    sys.stdout.write(HEADER + "".join(sorted(map(pinned, packages))))


if __name__ == "__main__":
    main()
