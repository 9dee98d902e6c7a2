"""Inputs made to be too much: a million records, a thousand bases in a byte."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

MILLION = 1_000_000
LINE = b"ACGTTGCAAC" * 6
PROGRAM = """
import json, sys
from genomeconv_cli.main import run
from genomeconv.peak import peak_bytes
code = run(sys.argv[1:])
print(json.dumps([code, peak_bytes()]), file=sys.stderr)
"""


def measured(*args: object) -> tuple[int, int, str]:
    """Run a command line in a process of its own; code, peak memory, stdout."""
    command = [sys.executable, "-P", "-c", PROGRAM, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    *_, last = done.stderr.splitlines()
    code, peak = json.loads(last)
    return code, peak, done.stdout


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("many") / "x.fa"
    with path.open("wb") as file:
        for start in range(0, MILLION, 10_000):
            numbers = range(start, start + 10_000)
            file.write(b"".join(b">r%d\n%s\n" % (i, LINE) for i in numbers))
    return path


@pytest.fixture(scope="module")
def bomb(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bomb") / "x.fa.gz"
    with gzip.open(path, "wb", 9) as file:
        file.write(b">one\n")
        for _ in range(300):
            file.write(b"A" * MILLION)
    assert path.stat().st_size < 300_000
    return path


def test_a_million_records_are_read_under_1_gb(many):
    code, peak, out = measured("info", many, "--json")
    assert (code, json.loads(out)["records"]) == (0, MILLION)
    assert peak < 10**9


@pytest.mark.slow
def test_a_million_records_are_embedded_under_1_gb(many, tmp_path):
    import genomeconv
    from genomeconv.config import ImplicitFilter, ModelConfig
    from genomeconv.model import build_model
    from genomeconv.weights import save_model

    config = ModelConfig(width=4, layers=1, filters=(ImplicitFilter(taps=16),))
    save_model(build_model(config), tmp_path / "tiny", name="tiny", card={})
    model, output = tmp_path / "tiny", tmp_path / "o.h5"
    code, peak, _ = measured("embed", many, "-q", "-m", model, "-o", output)
    assert code == 0
    assert peak < 10**9
    with genomeconv.open(output) as reader:
        assert reader.n_rows == MILLION
        assert reader.fetch("r999999").n_bases.tolist() == [60]


def test_a_bomb_is_read_in_little_memory(bomb):
    code, peak, out = measured("info", bomb, "--json")
    assert (code, json.loads(out)["bases"]) == (0, 300 * MILLION)
    assert peak < 100_000_000


def test_a_bomb_stops_at_the_length_allowed(bomb, tmp_path):
    """Most of the memory of an embed run is that of torch, whatever is read."""
    code, idle, _ = measured("embed", tmp_path / "none.fa", "-o", tmp_path / "o.h5")
    assert code == 66
    words = ["embed", bomb, "-o", tmp_path / "o.h5", "--max-length", "100M"]
    code, peak, _ = measured(*words)
    assert code == 65
    assert peak < idle + 50_000_000
    assert list(tmp_path.iterdir()) == []
