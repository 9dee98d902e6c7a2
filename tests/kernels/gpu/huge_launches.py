"""Record launches over 2^31 elements and print each kernel's IR and its arguments.

    python huge_launches.py [narrow]

Tensors have shapes and no memory. "narrow" puts a mutant in the place of what widens
the offsets of rows. Runs in a process that does not interpret kernels.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator

import torch
import triton
from torch import Tensor
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.compiler import make_backend

from genomeconv_kernels import FrequencyMask
from genomeconv_kernels.compiled import Source
from genomeconv_kernels.fftconv.gpu import (
    outer,
    short,
    sparse,
    toeplitz,
    windows,
)
from genomeconv_kernels.fftconv.gpu.limits import DATA_CENTRE
from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Short
from genomeconv_kernels.fftconv.gpu.plan import MAX_LENGTH, plan_gpu, window
from genomeconv_kernels.implicit import gpu as implicit
from genomeconv_kernels.implicit.op import LONGEST
from genomeconv_kernels.implicit.reference import ImplicitWeights
from genomeconv_kernels.launch import Launch, record_launches
from genomeconv_kernels.shortconv import gpu as shortconv

# Long rows, many rows, and as many as a grid takes: 2^32 elements and more each.
SHAPES = ((2, 3, MAX_LENGTH), (1 << 13, 1 << 9, 1000), (1 << 20, 1 << 10, 4))
TAPS = {"short": 4, "toeplitz": 300, "overlap_save": 300, "partitioned": 9000}
STRIDE = 1 << 33
"""Elements from one row to the next where rows are far apart."""


@triton.jit
def narrow_row_of(base, b, h, stride_b, stride_h):
    """The mutant: offsets of rows in the type of their arguments."""
    return base + b * stride_b + h * stride_h


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def apart(B: int, H: int, L: int) -> Tensor:
    whole = empty(1, dtype=torch.bfloat16)
    return whole.as_strided((B, H, L), (STRIDE * H, STRIDE, 1))


def bands() -> None:
    """Every band, both outputs, short filters on the way, and the filter's gradient."""
    for shape in SHAPES:
        B, H, L = shape
        u = empty(*shape, dtype=torch.bfloat16)
        for method, K in (*TAPS.items(), ("long", min(L, 1 << 20))):
            if L < 100 and method != "short":
                continue  # more programs, or launches, than there can be
            band = importlib.import_module(f"genomeconv_kernels.fftconv.gpu.{method}")
            plan = plan_gpu(
                B, H, L, K, torch.bfloat16,
                method=method, history=True, limits=DATA_CENTRE,
            )  # fmt: skip
            k = band.prepare(plan, empty(H, K))
            filter_ = Short(empty(H, 9), empty(B, H, 7))
            x = Input(u, u, empty(B, H, K - 1), u_short=filter_, pre_short=filter_)
            band.convolve(plan, x, k, Output(u, u, post_short=filter_))
            band.convolve(plan, Input(u, u), k, Output(u, u, u, u))
            band.filter_grad(plan, Input(u, u), Input(u, u), empty(H, K))
            if L == MAX_LENGTH:
                far = apart(*shape)
                band.convolve(plan, Input(far, far), k, Output(far, far))


def others() -> None:
    mask = FrequencyMask.low_pass(1024, 1)
    for B, H, L in SHAPES:
        u = empty(B, H, L, dtype=torch.bfloat16)
        plan = sparse.plan(mask, 64, 0, *window(64, 0, 1024), u, DATA_CENTRE)
        k = sparse.prepare(plan, empty(H, 64), mask)
        sparse.convolve(plan, Input(u, u), k, Output(u, u))
        columns = empty(B, L, H, dtype=torch.bfloat16).mT
        for z in (u, columns):
            past = empty(B, H, 2)
            shortconv.convolve(z, empty(H, 3), empty(H), past, z)
            shortconv.weight_grad(z, z, past, 3)
    W, E = 64, 5
    shapes = ((1, W), (W, E), (W,), (W, W), (W,), (W, W), (W,), (256, W))
    weights = ImplicitWeights(*(empty(*shape) for shape in shapes))
    implicit.taps(weights, empty(256), LONGEST, LONGEST, 0.0)


def ttir(source: Source) -> str:
    """Return the kernel's IR: inlined, before anything of a GPU."""
    fn = getattr(importlib.import_module(source.module), source.kernel)
    names = [name for name, _ in source.arguments]
    made = ASTSource(
        fn,
        {name: kind.removesuffix("/16") for name, kind in source.arguments},
        {(names.index(n),): v for n, v in source.constants},
    )
    target = GPUTarget("cuda", 90, 32)
    backend = make_backend(target)
    options = backend.parse_options(dict(source.options) | {"enable_fp_fusion": True})
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    helpers = backend.get_codegen_implementation(options), backend.get_module_map()
    module = made.make_ir(target, options, *helpers, context)
    text: str = backend.make_ttir(module, {}, options, 90).str_nodebug()
    return text


def arguments(launch: Launch, source: Source) -> dict[str, object]:
    """Return numbers, and names of tensors, by the place they have in the IR."""
    names = launch.kernel.arg_names
    given = dict(zip(names, launch.arguments, strict=False)) | launch.options
    left = [name for name, kind in source.arguments if kind != "constexpr"]
    return {
        f"%arg{i}": name if isinstance(given[name], Tensor) else given[name]
        for i, name in enumerate(left)
    }


def rows(launches: list[Launch]) -> Iterator[dict[str, object]]:
    """Yield each kernel once, with all launches of it that differ."""
    found: dict[str, tuple[Source, dict[str, object]]] = {}
    for launch in launches:
        source = Source.of(launch)
        _, runs = found.setdefault(source.key, (source, {}))
        run = {"arguments": arguments(launch, source), "programs": launch.programs}
        runs[json.dumps(run)] = run
    for source, runs in found.values():
        name = f"{source.module.removeprefix('genomeconv_kernels.')}.{source.kernel}"
        yield {
            "kernel": name, "key": source.key,
            "runs": list(runs.values()), "ttir": ttir(source),
        }  # fmt: skip


def main() -> None:
    if "narrow" in sys.argv:
        for module in (windows, short, toeplitz, outer):
            module.row_of = narrow_row_of
    with record_launches() as launches:
        bands()
        if "narrow" not in sys.argv:
            others()
    json.dump(list(rows(launches)), sys.stdout)


if __name__ == "__main__":
    main()
