"""The checks of `genomeconv doctor`: each looks at one thing of this machine."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from genomeconv import __version__
from genomeconv.errors import GenomeconvError
from genomeconv_cli.console import bytes_text

Status = Literal["ok", "warn", "fail"]

PACKAGES = ("torch", "triton", "numpy", "h5py", "pyfaidx", "safetensors")
LITTLE_DISK_BYTES = 5 * 10**9
LARGEST_ERROR = 1e-5
TAPS = (7, 4_096, 1_000_000)
VECTOR_UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at, how it stands, and what was seen (or what to do)."""

    check: str
    status: Status
    detail: str


def examine(folder: Path, fasta: str | None) -> Iterator[Check]:
    """Run all checks.

    Parameters
    ----------
    folder
        Where outputs will be written.
    fasta
        A FASTA whose index is to be looked at, or None.

    Yields
    ------
    Check
        One for each thing looked at; a check that raises is a failed one.
    """
    looks: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("versions", versions),
        ("processor", processor),
        ("GPU", gpus),
        ("convolution", convolution),
        ("HDF5 filters", filters),
        ("disk", lambda: disk(folder)),
        ("self-test", self_test),
    ]
    if fasta is not None:
        looks.insert(-1, ("FASTA index", lambda: index(fasta)))
    for name, look in looks:
        try:
            yield from look()
        except GenomeconvError as error:
            yield Check(check=name, status="fail", detail=str(error))
        except OSError as error:
            detail = f"{error.filename}: {error.strerror}"
            yield Check(check=name, status="fail", detail=detail)
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            yield Check(check=name, status="fail", detail=detail)


def versions() -> Iterator[Check]:
    """Tell the versions of this tool, Python and the libraries under it."""
    yield Check(check="genomeconv", status="ok", detail=__version__)
    yield Check(check="python", status="ok", detail=platform.python_version())
    for package in PACKAGES:
        try:
            found = version(package)
        except PackageNotFoundError:
            optional = package == "triton"
            yield Check(
                check=package,
                status="warn" if optional else "fail",
                detail="not installed (needed on an NVIDIA GPU only)"
                if optional
                else "not installed",
            )
            continue
        if package == "h5py":
            import h5py

            found = f"{found}, HDF5 {h5py.version.hdf5_version}"
        yield Check(check=package, status="ok", detail=found)


def processor() -> Iterator[Check]:
    """Look at the CPU: name, cores of this job, vector units, threads of torch."""
    import torch

    name, flags = _cpu_facts()
    units = [unit for unit in VECTOR_UNITS if unit in flags]
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    yield Check(
        check="processor",
        status="ok",
        detail=f"{name}, {cores} cores, {' '.join(units) or 'no known vector units'}",
    )
    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    yield Check(
        check="torch on CPU", status="ok", detail=f"{threads} threads, {capability}"
    )


def _cpu_facts() -> tuple[str, frozenset[str]]:
    """Name and feature flags of the first core, as Linux tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = fields.get("flags") or fields.get("features") or ""
    return fields.get("model name") or platform.machine(), frozenset(flags.split())


def gpus() -> Iterator[Check]:
    """List the CUDA devices that torch sees."""
    import torch

    if not torch.cuda.is_available():
        yield Check(check="GPU", status="ok", detail="none; everything runs on the CPU")
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        detail = (
            f"{facts.name}, {bytes_text(facts.total_memory)}, "
            f"compute capability {facts.major}.{facts.minor}"
        )
        yield Check(check=f"cuda:{number}", status="ok", detail=detail)


def convolution() -> Iterator[Check]:
    """Tell the path the long convolution takes here, and that it is right."""
    import torch

    from genomeconv_kernels import fft_conv, plan_conv

    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(1, 2, 3000, generator=generator)
    taps = torch.randn(2, 300, generator=generator)
    expected = torch.nn.functional.conv1d(
        torch.nn.functional.pad(signal.double(), (299, 0)),
        taps.double().flip(-1)[:, None],
        groups=2,
    )
    result = fft_conv(signal, taps)
    error = float((result.double() - expected).abs().max() / expected.abs().max())
    paths = ", ".join(
        f"{taps:,} taps {plan_conv(1, 128, 8192, taps, history=True).method}"
        for taps in TAPS
    )
    yield Check(
        check="convolution",
        status="ok" if error < LARGEST_ERROR else "fail",
        detail=f"{paths}; relative error {error:.1e} of float64",
    )


def filters() -> Iterator[Check]:
    """Look for the HDF5 filters that --compress can use."""
    import h5py

    yield Check(
        check="HDF5 gzip",
        status="ok" if h5py.h5z.filter_avail(h5py.h5z.FILTER_DEFLATE) else "fail",
        detail="for --compress gzip",
    )
    try:
        import hdf5plugin
    except ImportError:
        detail = 'not installed; pip install "genomeconv[compression]"'
        yield Check(check="HDF5 zstd", status="warn", detail=detail)
        return
    there = h5py.h5z.filter_avail(hdf5plugin.Zstd.filter_id)
    yield Check(
        check="HDF5 zstd",
        status="ok" if there else "fail",
        detail="for --compress zstd",
    )


def disk(folder: Path) -> Iterator[Check]:
    """Look at the output folder: free space, locks, sync and rename."""
    free = shutil.disk_usage(folder).free
    yield Check(
        check="free disk",
        status="ok" if free > LITTLE_DISK_BYTES else "warn",
        detail=f"{bytes_text(free)} in {folder.resolve()}",
    )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".genomeconv-doctor-") as name:
        yield _lock(Path(name) / "lock")
        yield _sync(Path(name))


def _lock(path: Path) -> Check:
    try:
        with path.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        detail = f"{error.strerror}: one run at a time is up to you in this folder"
        return Check(check="file locks", status="warn", detail=detail)
    return Check(check="file locks", status="ok", detail="work")


def _sync(folder: Path) -> Check:
    source, target = folder / "written", folder / "renamed"
    with source.open("xb") as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())
    source.replace(target)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Check(check="sync and rename", status="ok", detail="work")


def index(fasta: str) -> Iterator[Check]:
    """Look whether regions of a FASTA can be read by its index."""
    from genomeconv.fasta import open_indexed

    oddities: list[str] = []
    with open_indexed(fasta, warn=oddities.append) as genome:
        count = len(genome.lengths)
    yield Check(
        check="FASTA index",
        status="warn" if oddities else "ok",
        detail="; ".join([f"{count:,} sequences in {fasta}", *oddities]),
    )


def self_test() -> Iterator[Check]:
    """Make a small real run: two piece sizes must give the same bytes."""
    from random import Random

    import genomeconv
    from genomeconv.embed import EmbedOptions, run_embedding
    from genomeconv_cli.progress import Progress

    bases = "".join(Random(0).choices("ACGT", k=20_000))
    results = []
    with tempfile.TemporaryDirectory(prefix="genomeconv-doctor-") as name:
        fasta = Path(name) / "made.fa"
        fasta.write_text(f">made\n{bases}\n")
        for chunk in (4096, 8192):
            output = Path(name) / f"{chunk}.h5"
            options = EmbedOptions(
                fasta=str(fasta), output=output, chunk=chunk, device="cpu"
            )
            run_embedding(options, Progress(), lambda level, text: None)
            with genomeconv.open(output) as reader:
                results.append(reader.X[:].tobytes())
    same = results[0] == results[1]
    yield Check(
        check="self-test",
        status="ok" if same else "fail",
        detail="20,000 bases embedded; pieces of 4,096 and 8,192 give "
        + ("the same bytes" if same else "different numbers: please report this"),
    )
