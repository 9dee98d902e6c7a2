"""What tests of `evaluate` share."""

from __future__ import annotations

import json
from pathlib import Path


class Nothing:
    """A progress that shows nothing."""

    def start(self, total, description):
        """Nothing to show."""

    advance = start


def held_out(run: Path, bed: Path) -> Path:
    """Write the regions of a run's test split as a BED file."""
    record = json.loads((run / "run.json").read_text())
    lines = []
    for region in record["splits"]["test"]["regions"]:
        name, _, span = region.rpartition(":")
        first, last = span.split("-")
        lines.append(f"{name}\t{int(first) - 1}\t{last}\n")
    bed.write_text("".join(lines))
    return bed
