"""What times a call: a GPU by its events, or a CPU that rehearses the script."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from genomeconv_kernels import backend
from genomeconv_kernels.fftconv.gpu.limits import Limits
from genomeconv_kernels.fftconv.gpu.roofline import H200, Device

Call = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds of one call: median, tenth and ninetieth percentile, repeats."""

    ms: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Summarise."""
        ordered = sorted(1e3 * s for s in seconds)
        last = len(ordered) - 1
        return cls(
            ms=statistics.median(ordered),
            low=ordered[round(0.1 * last)],
            high=ordered[round(0.9 * last)],
            repeats=len(ordered),
        )


class Gpu:
    """The current CUDA device."""

    rehearsal = False
    cache = 256 << 20
    """Bytes beyond which one input set leaves no trace in the cache."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise SystemExit("no CUDA device here; --rehearse runs on a CPU")
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.limits = Limits.of(self.device)
        self.memory = torch.cuda.mem_get_info()[1]

    def describe(self) -> dict[str, Any]:
        """Name the device and its driver, and measure its two ceilings."""
        found = torch.cuda.get_device_properties(self.device)
        ceilings = self.ceilings()
        return {
            "gpu": found.name,
            "memory": found.total_memory,
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "bytes/s": ceilings.bytes_per_s,
            "flop/s": ceilings.flops_per_s,
        }

    def ceilings(self) -> Device:
        """Measure a large copy and a large bfloat16 product."""
        big = torch.randint(256, (1 << 30,), dtype=torch.uint8, device=self.device)
        to = torch.empty_like(big)
        copy = self.times([lambda: to.copy_(big)], 0.1)
        a = torch.randn(8192, 8192, device=self.device, dtype=torch.bfloat16)
        product = self.times([lambda: a @ a], 0.1)
        return Device(
            name=torch.cuda.get_device_name(self.device),
            bytes_per_s=2e3 * big.nbytes / copy.ms,
            flops_per_s=2e3 * 8192**3 / product.ms,
        )

    def times(self, calls: Sequence[Call], seconds: float) -> Times:
        """Time calls one after another, over and over, for about so many seconds.

        Each is the same work on other memory, so that none finds its input in cache.
        """
        for call in calls:
            call()
        (first,) = self._events(calls[:1])
        rounds = min(max(int(seconds / max(first, 1e-6)), 5), 300)
        turn = [calls[i % len(calls)] for i in range(rounds)]
        return Times.of(self._events(turn))

    def _events(self, calls: Sequence[Call]) -> list[float]:
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(calls) + 1)]
        torch.cuda.synchronize()
        marks[0].record()
        for call, mark in zip(calls, marks[1:], strict=True):
            call()
            mark.record()
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(marks)]

    def peak(self, call: Call) -> int:
        """Return the bytes a call takes beyond what is there when it begins."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        kept = call()
        torch.cuda.synchronize()
        del kept
        return torch.cuda.max_memory_allocated() - before

    def wait(self) -> None:
        """Let the device finish, and free what nobody holds."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()

    @contextmanager
    def captured(self, call: Call) -> Iterator[Call]:
        """Capture a call in a graph; inside, what is given replays it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        yield graph.replay

    compiler = "inductor"


class Rehearsal:
    """A CPU that runs the kernels in Triton's interpreter; its figures mean nothing."""

    rehearsal = True
    cache = 1
    memory = 1 << 30
    compiler = "aot_eager"

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.limits = Limits.of(self.device)
        backend.select("triton")

    def describe(self) -> dict[str, Any]:
        """Say that it is none."""
        return {"gpu": "none: a rehearsal"}

    def ceilings(self) -> Device:
        """Return those of an H200."""
        return H200

    def times(self, calls: Sequence[Call], seconds: float) -> Times:
        """Time each call once."""
        spent = []
        for call in calls:
            begun = time.perf_counter()
            call()
            spent.append(time.perf_counter() - begun)
        return Times.of(spent)

    def peak(self, call: Call) -> int:
        """Make the call."""
        call()
        return 1

    def wait(self) -> None:
        """Do nothing."""

    @contextmanager
    def captured(self, call: Call) -> Iterator[Call]:
        """Give the call itself."""
        yield call


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.splitlines()[0].strip()
