"""Compile every planned kernel without a GPU and check what the compilers say.

    python -m genomeconv_kernels.aot [--target sm_90] [--json FILE] [--check FILE]
                                     [--list]

A sweep of shapes through `plan_gpu` gives plans; carrying them out on tensors without
data gives launches; each is compiled as it would be at run time. FILE is a JSON table,
beside which a Markdown one is written.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genomeconv_kernels.compiled import Source, compile_source
from genomeconv_kernels.fftconv.gpu.limits import Limits
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan, plan_gpu, window
from genomeconv_kernels.fftconv.mask import FACTORS, FrequencyMask
from genomeconv_kernels.launch import record_launches

Row = dict[str, Any]

TARGETS = {
    "sm_90": Limits(target="sm_90", shared=227 << 10),
    "sm_100": Limits(target="sm_100", shared=227 << 10),
    "sm_80": Limits(target="sm_80", shared=99 << 10),  # as consumer cards have it
    "gfx942": Limits(target="gfx942", shared=64 << 10),
}
_PROCESSES = 2
_CHANNELS = 32
_TAPS = (4, 16, 128, 300, 1000, 2048, 4096, 16_384, 65_536, 1 << 20, 1 << 22)
_LENGTHS = (256, 400, 512, 2048, 4096, 1 << 16, 1 << 20, 1 << 22)
_FLOATS = (torch.bfloat16, torch.float16, torch.float32)


def planned(limits: Limits) -> list[tuple[torch.dtype, int, GpuPlan]]:
    """Return (dtype, L, plan), one for every tile that the sweep of shapes gives."""
    found: dict[object, tuple[torch.dtype, int, GpuPlan]] = {}
    for dtype in _FLOATS:
        for L in _LENGTHS:
            for K in _TAPS:
                if K <= L:
                    plan = plan_gpu(1, _CHANNELS, L, K, dtype, limits=limits)
                    found.setdefault((dtype, _tile(plan)), (dtype, L, plan))
    return list(found.values())


def _tile(plan: GpuPlan) -> GpuPlan:
    """Return the plan without what kernels take as run-time numbers."""
    taps = plan.taps if plan.method == "short" else 0
    block = plan.block if plan.method in ("short", "toeplitz") else 0
    return replace(plan, first_tap=0, taps=taps, right=0, block=block, halo=0, parts=1)


def sources(target: str) -> dict[str, Source]:
    """Return every kernel of the planned tiles by key, in the order found.

    On sm_90 forward with gates and a state and the gradient of the filter of every
    tile, and for one tile of each transform all else a call may bring; elsewhere the
    former for one tile of each transform, since what differs there is the compiler.
    """
    main = target == "sm_90"
    seen: set[object] = set()
    with record_launches() as launches:
        for dtype, L, plan in planned(TARGETS[target]):
            kind = (dtype, plan.method, plan.factors)
            if main or kind not in seen:
                _carry_out(plan, dtype, L, every=main and kind not in seen)
            seen.add(kind)
        _sparse(target)
        _others(target)
    return {source.key: source for source in map(Source.of, launches)}


def _carry_out(plan: GpuPlan, dtype: torch.dtype, L: int, *, every: bool) -> None:
    """Launch what forward, backward and preparation of a plan launch."""
    from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Short

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    if dtype == torch.float16 and not every:
        return  # the same programs as bfloat16's but for two conversions
    band = importlib.import_module(f"genomeconv_kernels.fftconv.gpu.{plan.method}")
    H = _CHANNELS
    u = empty(2, H, L, dtype=dtype)
    k = band.prepare(plan, empty(H, plan.taps))
    state = empty(2, H, plan.taps - 1) if plan.taps > 1 else None
    band.convolve(plan, Input(u, u, state), k, Output(u, u))
    if dtype == torch.float16:
        return
    band.filter_grad(plan, Input(u, u), Input(u, u), empty(H, plan.taps))
    if not every:
        return
    band.convolve(plan, Input(u), k, Output(u))
    band.convolve(plan, Input(u, u), k, Output(u, u, u, u))
    short = Short(empty(H, 4), empty(2, H, 2))
    x = Input(u, u, state, u_short=short, pre_short=short)
    band.convolve(plan, x, k, Output(u, u, post_short=short))
    odd = empty(2, H, L + 1, dtype=dtype)[..., :-1]
    band.convolve(plan, Input(odd, odd, state), k, Output(u, odd))


def _sparse(target: str) -> None:
    """Launch frequency-sparse convolutions of every tile, bare and with gates."""
    from genomeconv_kernels.fftconv.gpu import sparse
    from genomeconv_kernels.fftconv.gpu.operands import Input, Output

    H, L, K, main = _CHANNELS, 1 << 16, 64, target == "sm_90"
    for F, dtype in itertools.product(FACTORS, (torch.bfloat16, torch.float32)):
        mask = FrequencyMask.low_pass(F, 1)
        u = torch.empty(2, H, L, dtype=dtype, device="meta")
        where = window(K, 0, F)
        plan = sparse.plan(mask, K, 0, *where, u, TARGETS[target])
        if plan is not None:
            k = sparse.prepare(plan, u.new_empty(H, K, dtype=torch.float32), mask)
            sparse.convolve(plan, Input(u, u), k, Output(u, u))
            if main:
                sparse.convolve(plan, Input(u), k, Output(u))


def _others(target: str) -> None:
    """Launch short convolutions and the synthesis of a filter, in HyenaDNA's sizes."""
    from genomeconv_kernels.implicit import gpu as implicit
    from genomeconv_kernels.implicit.reference import ImplicitWeights
    from genomeconv_kernels.shortconv import gpu as shortconv

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    H, L, T, W, E = 256, 1 << 16, 3, 64, 5
    for dtype in (torch.bfloat16, torch.float32):
        rows, columns = empty(2, H, L, dtype=dtype), empty(2, L, H, dtype=dtype).mT
        for u in (rows, columns):
            shortconv.convolve(u, empty(H, T), empty(H), empty(2, H, T - 1), u)
            shortconv.input_grad(u, empty(H, T), u)
            shortconv.weight_grad(u, u, None, T)
    shapes = ((1, W), (W, E), (W,), (W, W), (W,), (W, W), (W,), (H, W))
    weights = ImplicitWeights(*(empty(*shape) for shape in shapes))
    tile = implicit.tile_for(target)
    implicit.taps(weights, empty(H), 1 << 20, 1 << 20, 0.0, tile)


def compiled(jobs: Sequence[tuple[str, Source]]) -> Iterator[Row]:
    """Compile (target, source) pairs in processes of their own; yield table rows."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_PROCESSES, mp_context=context) as pool:
        yield from pool.map(_row, jobs)


def _row(job: tuple[str, Source]) -> Row:
    target, source = job
    row = _named(job)
    try:
        return row | compile_source(source, target).row()
    except Exception as error:  # the table says which kernel, whatever the compiler did
        return row | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def faults(rows: Iterable[Row]) -> list[str]:
    """Return what is wrong with compiled kernels, a line each; none: all is well."""
    found = []
    for row in rows:
        where = f"{row['target']} {row['kernel']}"
        if "error" in row:
            found.append(f"{where}: does not compile: {row['error']}")
            continue
        most = TARGETS[row["target"]].shared
        if row["shared"] > most:
            found.append(f"{where}: {row['shared']:,} bytes shared, at most {most:,}")
        if row["target"] == "sm_90":
            if row["stack"]:
                found.append(f"{where}: {row['stack']:,} bytes of stack, none allowed")
            if row["wide"] and not row["wgmma"]:
                found.append(f"{where}: products of 64 rows and more without wgmma")
    return found


def stale(rows: Iterable[Row], committed: Iterable[Row]) -> list[str]:
    """Return how the kernels of a committed table differ from those compiled."""
    new, old = ({(r["target"], r["key"]) for r in t} for t in (rows, committed))
    lines = [f"{target} {key}: not in the table" for target, key in sorted(new - old)]
    return lines + [f"{t} {key}: no longer planned" for t, key in sorted(old - new)]


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for people: a line a kernel and type, a column a target."""
    lines = [
        "Every planned kernel, compiled without a GPU: registers, bytes of stack "
        "(spills), bytes of shared memory, matrix instructions (wgmma or tcgen05, "
        "mma.sync, mfma).",
        "",
        "| kernel | types | " + " | ".join(TARGETS) + " |",
        "| --- | --- |" + " --- |" * len(TARGETS),
    ]
    table: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        types = row["key"].removeprefix(row["kernel"])
        short = " ".join(dict.fromkeys(t for t in types[1:-1].split(",") if "*" in t))
        aligned = "" if types.count("i32/16") > 4 else " (odd rows)"
        cells = table.setdefault((row["kernel"], short + aligned), {})
        cells.setdefault(row["target"], _cell(row))
    for (kernel, types), cells in table.items():
        texts = [cells.get(target, "") for target in TARGETS]
        lines.append(f"| {kernel} | {types} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    if "error" in row:
        return "does not compile"
    matrix = [f"{row[n]} {n}" for n in ("wgmma", "mma", "mfma") if row[n]]
    return f"{row['registers']} / {row['stack']} / {row['shared']:,} {' '.join(matrix)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, check, write; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m genomeconv_kernels.aot",
        description="Compile every planned kernel without a GPU and check it.",
    )
    add = parser.add_argument
    add("--target", action="append", choices=list(TARGETS), help="[default: all]")
    add("--json", type=Path, metavar="FILE", help="write the table, and FILE.md")
    add("--check", type=Path, metavar="FILE", help="fail if FILE has other kernels")
    add("--list", action="store_true", help="name the kernels, compile none")
    given = parser.parse_args(arguments)
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("unset TRITON_INTERPRET: interpreted kernels cannot be compiled")
    targets = given.target or list(TARGETS)
    jobs = [(t, source) for t in targets for source in sources(t).values()]
    rows = []
    for row in map(_named, jobs) if given.list else compiled(jobs):
        rows.append(row)
        say = sys.stdout if given.list else sys.stderr
        say.write(f"{len(rows)}/{len(jobs)} {row['target']} {row['key']}\n")
    wrong = [] if given.list else faults(rows)
    if given.check:
        table = json.loads(given.check.read_text())["kernels"]
        wrong += stale(rows, [row for row in table if row["target"] in targets])
    if given.json:
        write(given.json, rows)
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    done = "named" if given.list else "compiled"
    sys.stdout.write(f"{len(rows)} kernels {done}, {len(wrong) or 'no'} faults\n")
    return 1 if wrong else 0


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as JSON with versions, and as Markdown beside it."""
    import triton

    table = {"triton": triton.__version__, "kernels": list(rows)}
    path.write_text(json.dumps(table, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(rows))


def _named(job: tuple[str, Source]) -> Row:
    target, source = job
    return {"target": target, "kernel": source.name, "key": source.key}


if __name__ == "__main__":
    sys.exit(main())
