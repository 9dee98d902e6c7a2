"""A launch compiled without a GPU, and what the compilers say of it.

A recorded launch becomes what Triton would make of it at run time: a type for every
argument, and what it assumes of its value (divisible by 16, equal to 1).
"""

from __future__ import annotations

import importlib
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from genomeconv_kernels.launch import Launch

_TYPES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "i1",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is compiled; plain values, so that it can go to another process.

    Attributes
    ----------
    module, kernel
        Where the jit function is.
    arguments
        (name, type) in order; a type ends in "/16" where Triton may assume the address
        or value to be a multiple of 16, and is "constexpr" for a constant.
    constants
        Values of the constants.
    options
        As num_warps.
    """

    module: str
    kernel: str
    arguments: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, launch: Launch) -> Source:
        """Return the source of a recorded launch."""
        names = launch.kernel.arg_names
        fixed = {names[i] for i in launch.kernel.constexprs}
        values = dict(zip(names, launch.arguments, strict=False))
        values |= {n: v for n, v in launch.options.items() if n in names}
        types = {n: "constexpr" if n in fixed else _type_of(values[n]) for n in names}
        return cls(
            module=launch.kernel.module,
            kernel=launch.kernel.__name__,
            arguments=tuple(types.items()),
            constants=tuple((n, values[n]) for n in names if types[n] == "constexpr"),
            options=tuple((n, v) for n, v in launch.options.items() if n not in names),
        )

    @property
    def key(self) -> str:
        """The whole of it as a line."""
        types = ",".join(kind for _, kind in self.arguments if kind != "constexpr")
        return f"{self.name}({types})"

    @property
    def name(self) -> str:
        """Module, kernel, constants and options, for people."""
        module = self.module.removeprefix("genomeconv_kernels.")
        values = " ".join(f"{n}={v}" for n, v in (*self.constants, *self.options))
        return f"{module}.{self.kernel} {values}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the compilers say of a kernel; 0 for what a target does not have.

    Attributes
    ----------
    registers
        Per thread.
    stack
        Bytes per thread in memory: spills (NVIDIA), or spilled registers times 4 (AMD).
    shared
        Bytes of shared memory per block.
    wgmma, mma, mfma
        Matrix instructions in the text: of warp groups (Hopper; tcgen05 on Blackwell),
        of warps, of AMD.
    wide
        Products of float16 in the program with 64 rows or more: wgmma takes those.
    flops
        Of one program's matrix products, a loop's body counted once.
    """

    registers: int
    stack: int
    shared: int
    wgmma: int = 0
    mma: int = 0
    mfma: int = 0
    wide: int = 0
    flops: int = 0

    def row(self) -> dict[str, int]:
        """Return the fields by name."""
        return asdict(self)


def compile_source(source: Source, target: str) -> Report:
    """Compile for a target, "sm_90" or "gfx942", and read the compilers' reports."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    amd = target.startswith("gfx")
    arch = target if amd else int(target.removeprefix("sm_"))
    fn = getattr(importlib.import_module(source.module), source.kernel)
    names = [name for name, _ in source.arguments]
    constants = {(names.index(n),): v for n, v in source.constants}
    attributes = {
        (i,): [["tt.divisibility", 16]]
        for i, (_, kind) in enumerate(source.arguments)
        if kind.endswith("/16")
    }
    signature = {name: kind.removesuffix("/16") for name, kind in source.arguments}
    made = triton.compile(
        ASTSource(fn, signature, constants, attributes),
        target=GPUTarget("hip" if amd else "cuda", arch, 64 if amd else 32),
        options=dict(source.options) | {"enable_fp_fusion": True},
    )
    counts = _read_amd(made.asm) if amd else _read_nvidia(made.asm)
    products = _products(made.asm["ttir"])
    return Report(
        shared=made.metadata.shared,
        wide=sum(kind == "f16" and m >= 64 for kind, m, _, _ in products),
        flops=sum(2 * m * n * k for _, m, n, k in products),
        **counts,
    )


def _type_of(value: Any) -> str:
    """Return the type Triton gives an argument, and what it assumes of it."""
    if isinstance(value, torch.Tensor):
        at = value.storage_offset() * value.itemsize
        return f"*{_TYPES[value.dtype]}" + ("/16" if at % 16 == 0 else "")
    if value is None or (type(value) is int and value == 1):
        return "constexpr"
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, int):
        kind = "i32" if -(2**31) <= value < 2**31 else "i64"
        return kind + ("/16" if value % 16 == 0 else "")
    if isinstance(value, float):
        return "fp32"
    raise TypeError(f"a kernel takes no {type(value).__name__}")


_DOT = re.compile(
    r"tt\.dot .*: tensor<(?:(\d+)x)?(\d+)x(\d+)x(\w+)>.* -> tensor<.*?(\d+)xf32>"
)


def _products(ttir: str) -> list[tuple[str, int, int, int]]:
    """Return type of operands and sizes M, N, K of every product; a batch widens N."""
    return [
        (kind, int(m), int(n) * int(batch or 1), int(k))
        for batch, m, k, kind, n in _DOT.findall(ttir)
    ]


def _read_nvidia(asm: Mapping[str, Any]) -> dict[str, int]:
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", said.stdout)
    if found is None:
        raise RuntimeError(f"cuobjdump names no registers: {said.stdout!r}")
    text = asm["ptx"]
    return {
        "registers": int(found[1]),
        "stack": int(found[2]),
        "wgmma": len(re.findall(r"wgmma\.mma_async|tcgen05\.mma", text)),
        "mma": text.count("mma.sync"),
    }


def _read_amd(asm: Mapping[str, Any]) -> dict[str, int]:
    text = asm["amdgcn"]
    count = {n: int(v) for n, v in re.findall(r"\.(\w+_count): +(\d+)", text)}
    return {
        "registers": count["vgpr_count"],
        "stack": 4 * count["vgpr_spill_count"],
        "mfma": len(re.findall(r"^\s*v_mfma", text, re.MULTILINE)),
    }
