"""Measure training on this machine beside the same model through full transforms.

    python benchmarks/train.py [--lengths 32768 131072] [--out FILE]

A step is forward, backward, clipping and AdamW on one window. Two processes hold the
two implementations and take their steps by turns, so that both meet the same machine;
peak memory is each process' own. The reference has the same weights and formulas, its
convolutions written as the published code has them: `conv1d` for the short filter, one
`torch.fft.rfft` of 2 L points for the long one, gates and skip as tensor operations.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from run import ROOT, machine, table
from torch import Tensor
from torch.nn import functional as F

OURS, RECOMPUTED, REFERENCE = "ours", "ours, recomputed", "reference"
WIDTH, LAYERS, TAPS = 128, 4, 4096


def short_by_conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Filter a few taps deep as the published code does, (B, C, L) -> (B, C, L)."""
    channels, taps = weight.shape
    y = F.conv1d(x, weight[:, None], bias, padding=taps - 1, groups=channels)
    return y[..., : x.shape[-1]]


def long_by_full_transform(
    u: Tensor, k: Tensor, *, pre: Tensor, post: Tensor, skip: Tensor, right: int
) -> Tensor:
    """Convolve as the published code does, (B, D, L) -> (B, D, L)."""
    assert right == 0
    points = 2 * u.shape[-1]
    v = u * pre
    product = torch.fft.rfft(v, n=points) * torch.fft.rfft(k, n=points)
    y = torch.fft.irfft(product, n=points)[..., : u.shape[-1]]
    return (y + v * skip[:, None]) * post


def learner(kind: str, layers: int, taps: int) -> Any:
    """Return the module that is trained."""
    from genomeconv.config import ImplicitFilter, ModelConfig
    from genomeconv.model import build_model, mixer
    from genomeconv.train.config import ComputeConfig
    from genomeconv.train.learner import Learner
    from genomeconv.train.objectives import NextBase

    if kind == REFERENCE:
        mixer.short_conv = short_by_conv1d
        mixer.fft_conv = long_by_full_transform
    filters = (ImplicitFilter(taps=taps),)
    config = ModelConfig(width=WIDTH, layers=layers, filters=filters)
    compute = ComputeConfig(recompute=kind == RECOMPUTED)
    return Learner(build_model(config, seed=0), NextBase(config), compute)


def serve(pipe: Connection, kind: str, length: int, layers: int, taps: int) -> None:
    """Take a step whenever asked, and answer with seconds, loss and peak memory."""
    from genomeconv.peak import peak_bytes
    from genomeconv.train.config import OptimiserConfig
    from genomeconv.train.optimizers import Optimizers

    module = learner(kind, layers, taps)
    optimizers = Optimizers(module.model, OptimiserConfig(kind="adamw"))
    torch.manual_seed(1)
    bases = torch.randint(0, 4, (1, length + 1))
    while pipe.recv():
        begun = time.perf_counter()
        loss = module(bases[:, :-1], bases[:, 1:]) / length
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(optimizers.parameters, 1.0)
        optimizers.step()
        optimizers.zero_grad()
        pipe.send((time.perf_counter() - begun, float(loss.detach()), peak_bytes()))


def products(pipe: Connection, length: int, layers: int) -> None:
    """Run the bare matrix products of a step whenever asked: thrice the forward's."""
    rows = 2048
    sizes = ((3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))
    pairs = [(torch.randn(rows, i), torch.randn(i, o)) for o, i in sizes]
    outs = [torch.empty(rows, o) for o, _ in sizes]
    while pipe.recv():
        begun = time.perf_counter()
        for _ in range(3 * layers * length // rows):
            for (x, w), out in zip(pairs, outs, strict=True):
                torch.mm(x, w, out=out)
        pipe.send((time.perf_counter() - begun, 0.0, 0))


def measure(length: int, layers: int, taps: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row an implementation."""
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for kind in (OURS, RECOMPUTED, REFERENCE, "products"):
        here, there = context.Pipe()
        given = (there, length, layers) if kind == "products" else (
            there, kind, length, layers, taps
        )  # fmt: skip
        target = products if kind == "products" else serve
        processes.append(context.Process(target=target, args=given, daemon=True))
        processes[-1].start()
        ends[kind] = here
    taken: dict[str, list[tuple[float, float, int]]] = {kind: [] for kind in ends}
    for _ in range(rounds + 1):
        for kind, end in ends.items():
            end.send(True)
            taken[kind].append(end.recv())
    for end in ends.values():
        end.send(False)
    for process in processes:
        process.join()
    return list(rows(length, taken))


def rows(length: int, taken: dict[str, list[tuple[float, float, int]]]) -> Any:
    """Yield the rows of one length; the first step of each warms up."""
    seconds = {kind: [t for t, _, _ in steps[1:]] for kind, steps in taken.items()}
    floor = statistics.median(seconds.pop("products"))
    losses = {kind: [x for _, x, _ in taken[kind]] for kind in seconds}
    slow, peak = seconds[REFERENCE], taken[REFERENCE][-1][2]
    for kind, times in seconds.items():
        faster = statistics.median(b / a for a, b in zip(times, slow, strict=True))
        memory = taken[kind][-1][2]
        far = max(
            abs(a - b) for a, b in zip(losses[kind], losses[REFERENCE], strict=True)
        )
        yield {
            "implementation": kind,
            "length": length,
            "bases/s": length / statistics.median(times),
            "x reference": faster,
            "share of the products' rate": floor / statistics.median(times),
            "peak MB": memory // 1_000_000,
            "share of the reference's memory": memory / peak,
            "largest difference of a loss": far,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1 << 15, 1 << 17])
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--taps", type=int, default=TAPS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/train.json"
    )
    given = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    found = []
    for length in given.lengths:
        print(f"measuring: {length:,} bases", file=sys.stderr)
        found += measure(length, given.layers, given.taps, given.rounds)
    model = {"width": WIDTH, "layers": given.layers, "taps": given.taps}
    results = {"machine": machine(), "model": model, "steps": found}
    given.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
