"""Measure training on this machine beside the same model through full transforms.

    python benchmarks/train.py [--lengths 32768 131072] [--precision float32 bfloat16]

A step is forward, backward, clipping and AdamW on one window. Two processes hold the
two implementations and take their steps by turns, so that both meet the same machine;
peak memory is each process' own. The reference has the same weights and formulas,
written as the published code has them: linear layers one after the other, `conv1d` for
the short filter, one `torch.fft.rfft` of 2 L points for the long one, gates and skip
as tensor operations.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from run import ROOT, machine, table
from torch import Tensor
from torch.nn import functional as F

from genomeconv.peak import peak_bytes

OURS, RECOMPUTED, REFERENCE = "ours", "ours, recomputed", "reference"
PRODUCTS = "products"
WIDTH = 128


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained: a window of ``length`` bases."""

    length: int
    precision: Literal["float32", "bfloat16"]
    layers: int
    taps: int


class Step(NamedTuple):
    """What a step took."""

    seconds: float
    processor: float
    """Seconds of all threads, in the program and in the kernel."""
    loss: float
    peak: int
    """Bytes of memory the process has held at most."""


def short_by_conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Filter a few taps deep as the published code does, (B, C, L) -> (B, C, L)."""
    channels, taps = weight.shape
    y = F.conv1d(x, weight[:, None], bias, padding=taps - 1, groups=channels)
    return y[..., : x.shape[-1]]


def long_by_full_transform(v: Tensor, k: Tensor, skip: Tensor) -> Tensor:
    """Convolve as the published code does, (B, D, L) -> (B, D, L)."""
    points = 2 * v.shape[-1]
    product = torch.fft.rfft(v, n=points) * torch.fft.rfft(k, n=points)
    y = torch.fft.irfft(product, n=points)[..., : v.shape[-1]]
    return y + v * skip[:, None]


def published_block(block: Any, r: Tensor, inside: None = None) -> Tensor:
    """Run a block as the published code does, (B, L, D) -> (B, L, D)."""
    mixer, mlp = block.mixer, block.mlp
    z = mixer.in_proj(block.norm1(r)).transpose(1, 2)
    z = short_by_conv1d(z, mixer.short_weight, mixer.short_bias)
    x0, x1, v = z.chunk(3, dim=1)
    y = x0 * long_by_full_transform(v * x1, mixer.filter.taps(), mixer.skip)
    r = r + mixer.out_proj(y.transpose(1, 2))
    hidden = F.gelu(mlp.fc1(block.norm2(r)), approximate="tanh")
    out: Tensor = r + mlp.fc2(hidden)
    return out


def learner(kind: str, case: Case) -> Any:
    """Return the module that is trained."""
    from genomeconv.config import ImplicitFilter, ModelConfig
    from genomeconv.model import build_model
    from genomeconv.model.block import Block
    from genomeconv.train.bases.objective import NextBase
    from genomeconv.train.config import ComputeConfig
    from genomeconv.train.engine.learner import Learner

    if kind == REFERENCE:
        Block.forward = published_block
    filters = (ImplicitFilter(taps=case.taps),)
    config = ModelConfig(width=WIDTH, layers=case.layers, filters=filters)
    compute = ComputeConfig(recompute=kind == RECOMPUTED, precision=case.precision)
    return Learner(build_model(config, seed=0), NextBase(config), compute)


def serve(pipe: Connection, kind: str, case: Case) -> None:
    """Take a step whenever asked, and answer with what it took."""
    step = product_step(case) if kind == PRODUCTS else training_step(kind, case)
    while pipe.recv():
        before, begun = os.times(), time.perf_counter()
        loss = step()
        seconds, after = time.perf_counter() - begun, os.times()
        used = after.user + after.system - before.user - before.system
        pipe.send(Step(seconds, used, loss, peak_bytes()))


def training_step(kind: str, case: Case) -> Callable[[], float]:
    """Return forward, backward, clipping and AdamW on one window."""
    from genomeconv.train.config import OptimiserConfig
    from genomeconv.train.engine.memory import keep_freed_memory
    from genomeconv.train.engine.optimizers import Optimizers

    if kind == OURS:  # as `genomeconv train` does
        keep_freed_memory()
    module = learner(kind, case)
    optimizers = Optimizers(module.model, OptimiserConfig(kind="adamw"))
    torch.manual_seed(1)
    bases = torch.randint(0, 4, (1, case.length + 1))

    def step() -> float:
        loss = module(bases[:, :-1], bases[:, 1:]) / case.length
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(optimizers.parameters, 1.0)
        optimizers.step()
        optimizers.zero_grad()
        return float(loss.detach())

    return step


def product_step(case: Case) -> Callable[[], float]:
    """Return the bare matrix products of a step: thrice the forward's."""
    rows, dtype = 2048, getattr(torch, case.precision)
    sizes = ((3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))
    pairs = [
        (torch.randn(rows, i, dtype=dtype), torch.randn(i, o, dtype=dtype))
        for o, i in sizes
    ]
    outs = [torch.empty(rows, o, dtype=dtype) for o, _ in sizes]

    def step() -> float:
        for _ in range(3 * case.layers * case.length // rows):
            for (x, w), out in zip(pairs, outs, strict=True):
                torch.mm(x, w, out=out)
        return 0.0

    return step


def measure(case: Case, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row an implementation."""
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for kind in (OURS, RECOMPUTED, REFERENCE, PRODUCTS):
        ends[kind], there = context.Pipe()
        process = context.Process(target=serve, args=(there, kind, case), daemon=True)
        process.start()
        processes.append(process)
    taken: dict[str, list[Step]] = {kind: [] for kind in ends}
    for _ in range(rounds + 1):  # the first warms up
        for kind, end in ends.items():
            end.send(True)
            taken[kind].append(end.recv())
    for end in ends.values():
        end.send(False)
    for process in processes:
        process.join()
    floor = statistics.median(step.seconds for step in taken.pop(PRODUCTS)[1:])
    for kind, steps in taken.items():
        yield row(kind, case, steps, taken[REFERENCE], floor)


def row(
    kind: str, case: Case, steps: list[Step], reference: list[Step], floor: float
) -> dict[str, Any]:
    """Return the numbers of one implementation; ratios are of steps side by side."""
    pairs = list(zip(steps[1:], reference[1:], strict=True))
    seconds = statistics.median(step.seconds for step in steps[1:])
    peak = steps[-1].peak
    apart = max(abs(a.loss - b.loss) for a, b in zip(steps, reference, strict=True))
    return {
        "implementation": kind,
        "precision": case.precision,
        "length": case.length,
        "bases/s": case.length / seconds,
        "x reference": statistics.median(b.seconds / a.seconds for a, b in pairs),
        "x reference, processor time": statistics.median(
            b.processor / a.processor for a, b in pairs
        ),
        "share of the products' rate": floor / seconds,
        "peak MB": peak // 1_000_000,
        "share of the reference's memory": peak / reference[-1].peak,
        "largest difference of a loss": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1 << 15, 1 << 17])
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--taps", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/train.json"
    )
    given = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    found = []
    for length, precision in itertools.product(given.lengths, given.precision):
        print(f"measuring: {length:,} bases, {precision}", file=sys.stderr)
        case = Case(
            length=length, precision=precision, layers=given.layers, taps=given.taps
        )
        found += measure(case, given.rounds)
    model = {"width": WIDTH, "layers": given.layers, "taps": given.taps}
    results = {"machine": machine(), "model": model, "steps": found}
    given.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
