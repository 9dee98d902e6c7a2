"""Whole models on this device: forward, training step, a chromosome end to end."""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genomeconv.config import ImplicitFilter, ModelConfig
from genomeconv.embed import EmbedOptions, run_embedding
from genomeconv.model import build_model
from genomeconv.reference import HyenaDNAReference
from genomeconv.stream import TrunkStream
from genomeconv_kernels import backend

Row = dict[str, Any]

WIDTHS = ((256, 8), (128, 2), (256, 4))
LENGTHS = (1_000_000, 32_000, 160_000, 4_000_000)
CHROMOSOME = 63_000_000


def model_rows(machine: Any) -> Iterator[Row]:
    """Measure forwards with filters as long as the sequence, and training steps."""
    shapes = [(w, d, n, n) for n in LENGTHS for w, d in WIDTHS]
    steps = [(128, 2, 32_000), (128, 2, 1_000_000), (256, 8, 32_000)]
    steps += [(256, 8, 1_000_000)]
    # As published, then with the filter cut to 4,096 taps.
    shapes = [*shapes[:1], (256, 8, 1_000_000, 4096), *shapes[1:]]
    if machine.rehearsal:
        shapes, steps = [(16, 1, 60, 60)], [(16, 1, 60)]
    for width, layers, length, taps in shapes:
        yield _guarded(machine, forward_row, width, layers, length, taps)
    for width, layers, length in steps:
        yield _guarded(machine, training_row, width, layers, length)


def _guarded(machine: Any, row: Callable[..., Row], *shape: int) -> Row:
    """Return a row, or that memory does not hold it."""
    try:
        return row(machine, *shape)
    except torch.OutOfMemoryError as why:
        return {"shape": shape, "error": str(why).splitlines()[0][:200]}
    finally:
        machine.wait()


def forward_row(machine: Any, width: int, layers: int, length: int, taps: int) -> Row:
    """Stream one sequence through a trunk; beside it, the published forward."""
    config = ModelConfig(
        width=width, layers=layers, filters=(ImplicitFilter(taps=taps),)
    )
    trunk = build_model(config, seed=0).trunk.to(machine.device)
    codes = np.random.default_rng(0).integers(0, 4, length, dtype=np.uint8)

    def stream(engine: TrunkStream) -> None:
        run = engine.run(lambda a, b: codes[a:b], length)
        collections.deque(run, maxlen=0)

    def fresh() -> TrunkStream:
        return TrunkStream(trunk, precision=torch.bfloat16)

    timed = machine.times([partial(stream, fresh())], 1.0)
    machine.wait()
    peak = machine.peak(lambda: stream(fresh()))
    machine.wait()
    full, full_peak = _published(machine, width, layers, length)
    return {
        "pass": "forward", "model": f"{width} x {layers}", "length": length,
        "taps": taps, "ms": timed.ms, "ms low": timed.low, "ms high": timed.high,
        "sequences/s": 1e3 / timed.ms, "bases/s": 1e3 * length / timed.ms,
        "peak MB": peak / 1e6, "torch.fft ms": full,
        "speed-up": full and full / timed.ms,
        "memory ratio": full_peak and full_peak / peak,
    }  # fmt: skip


def _published(
    machine: Any, width: int, layers: int, length: int
) -> tuple[float | None, int | None]:
    """Return (ms, peak bytes) of the published forward; None where memory ends."""
    try:
        with torch.no_grad():
            model = HyenaDNAReference(width=width, layers=layers, l_max=length + 2)
            model = model.to(machine.device)
            tokens = torch.randint(7, 11, (1, length), device=machine.device)
            call = partial(model.backbone, tokens)
            peak = machine.peak(call)
            return machine.times([call], 0.5).ms, peak
    except torch.OutOfMemoryError:
        return None, None
    finally:
        machine.wait()


def training_row(machine: Any, width: int, layers: int, length: int) -> Row:
    """Time loss, gradients and one step of AdamW on one sequence."""
    config = ModelConfig(
        width=width, layers=layers, filters=(ImplicitFilter(taps=length),)
    )
    model = build_model(config, seed=0).to(machine.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(0, 4, (1, length + 1), device=machine.device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(machine.device.type, dtype=torch.bfloat16):
            logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits[0].float(), tokens[0, 1:])
        loss.backward()
        optimizer.step()

    step()
    timed = machine.times([step], 1.0)
    return {
        "pass": "training step", "model": f"{width} x {layers}", "length": length,
        "taps": length, "ms": timed.ms, "ms low": timed.low, "ms high": timed.high,
        "sequences/s": 1e3 / timed.ms, "bases/s": 1e3 * length / timed.ms,
        "peak MB": machine.peak(step) / 1e6,
    }  # fmt: skip


class _Quiet:
    def start(self, total: int, description: str) -> None: ...
    def advance(self, bases: int) -> None: ...
    def finish(self) -> None: ...


def embed_rows(machine: Any, fasta: Path | None) -> Iterator[Row]:
    """Embed a chromosome with the bundled model, reading and writing included."""
    with tempfile.TemporaryDirectory() as folder:
        genome = fasta or _random_genome(machine, Path(folder))
        # The interpreter would take hours for the bundled model.
        choice = "torch" if machine.rehearsal else "auto"
        for precision in ("bfloat16", "float32"):
            options = EmbedOptions(
                fasta=str(genome),
                output=Path(folder, f"{precision}.h5"),
                device=machine.device.type,
                precision=precision,
            )
            with backend.forced(choice):
                done = run_embedding(options, _Quiet(), lambda level, text: None)
            yield {
                "input": genome.name, "precision": precision, "bases": done.bases,
                "rows": done.rows, "seconds": done.seconds,
                "bases/s": done.bases / done.seconds,
            }  # fmt: skip


def _random_genome(machine: Any, folder: Path) -> Path:
    bases = 2000 if machine.rehearsal else CHROMOSOME
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    codes = np.random.default_rng(0).integers(0, 4, (bases // 100, 100), dtype=np.uint8)
    lines = np.full((len(codes), 101), ord("\n"), dtype=np.uint8)
    lines[:, :100] = letters[codes]
    path = folder / "random.fa"
    path.write_bytes(b">random\n" + lines.tobytes())
    return path
