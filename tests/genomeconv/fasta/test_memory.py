"""Memory does not grow with a line or a record, also where gzip hides its size."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

LETTERS = 200_000_000
SCRIPT = """
import sys
from pathlib import Path
from genomeconv.fasta import read_genome
from genomeconv.peak import peak_bytes
hold = bytearray(int(sys.argv[3]))
hold[::4096] = b"x" * len(hold[::4096])
with read_genome(sys.argv[1], Path(sys.argv[2]), warn=lambda text: None) as genome:
    print(genome.records.bases, peak_bytes())
"""


def peak(path: Path, hold: int = 0) -> tuple[int, int]:
    """Return the bases read and the peak memory in bytes of a process of its own."""
    command = [sys.executable, "-c", SCRIPT, str(path), str(path.parent), str(hold)]
    bases, memory = subprocess.check_output(command, text=True).split()
    return int(bases), int(memory)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip-1000-to-1"])
def test_one_line_of_200_mb_takes_less_than_200_mb(
    packed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "one.fa"
    with gzip.open(path, "wb", 6) if packed else path.open("wb") as file:
        file.write(b">one\n")
        for _ in range(LETTERS // 1_000_000):
            file.write(b"A" * 1_000_000)
    bases, memory = peak(path)
    assert bases == LETTERS
    assert memory < 120_000_000


def test_memory_that_is_held_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "small.fa"
    path.write_text(">a\nACGT\n")
    assert peak(path, LETTERS)[1] > LETTERS
