"""Look for inputs that break a promise, led by coverage (atheris, which is libFuzzer).

Usage: fuzz.py --seconds 60 [TARGET ...]

Each target starts from its corpus. An input that breaks a promise is written into
tests/fuzz/corpus/TARGET, where `make test` plays it again: keep it, and mend the code.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MEMORY_MB = 1024
"""Of a whole process; a run needs a quarter of it."""
LONGEST_S = 20
"""For one input; a usual one takes milliseconds."""
LONGEST_INPUT = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    names = sorted(path.name for path in CORPUS.iterdir())
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names))
    options = parser.parse_args()
    if options.only:
        fuzz(options.only, options.seconds)
    failed = []
    for name in options.targets or names:
        print(f"== {name}, {options.seconds} s", flush=True)
        words = [__file__, "--only", name, "--seconds", str(options.seconds)]
        if subprocess.run([sys.executable, *words]).returncode:
            failed.append(name)
    sys.exit(f"findings in {', '.join(failed)}: see {CORPUS}" if failed else None)


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target until its time is over or a promise is broken."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is missing; `make fuzz` installs it")
    with atheris.instrument_imports(include=["genomeconv"]):
        from targets import TARGETS
    if Path("/dev/shm").is_dir():
        tempfile.tempdir = "/dev/shm"  # files there cost no disk
    with tempfile.TemporaryDirectory() as found:
        arguments = [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-timeout={LONGEST_S}",
            f"-max_len={LONGEST_INPUT}",
            f"-artifact_prefix={CORPUS / name}/",
            "-print_final_stats=1",
            "-verbosity=0",
            found,
            str(CORPUS / name),
        ]
        atheris.Setup(arguments, TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
