"""Write constraints for pip: each direct dependency at the lowest version we declare.

Usage: python .ci/minimum.py [NAME ...] > constraints.txt; NAMEs are left free.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write the constraints to standard output."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in extras)]
    for requirement in sorted({text for each in lists for text in each}):
        if bound := re.match(r"([\w.-]+)>=([\w.]+)", requirement):
            name, version = bound.groups()
            if name not in sys.argv[1:]:
                sys.stdout.write(f"{name}=={version}\n")


if __name__ == "__main__":
    main()
