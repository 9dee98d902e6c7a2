"""Filter synthesis in Triton, interpreted: angles, taps, the operator; compiled."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from genomeconv.config import ImplicitFilter
from genomeconv.model.filters import Implicit
from genomeconv_kernels import ImplicitWeights, backend, implicit_taps
from genomeconv_kernels.implicit import gpu
from genomeconv_kernels.launch import launch, record_launches

ROUNDING = 2.5e-7
"""Of one sine in float32: its polynomial's error and an ulp of its argument."""

Make = Callable[..., tuple[ImplicitWeights, Tensor]]
Truth = Callable[..., Tensor]
Table = Mapping[torch.dtype, float]
Worst = Callable[[Tensor, Tensor], float]


@triton.jit
def _probe_encoding(
    out, positions, steps, E, P: tl.constexpr, EP: tl.constexpr
):  # fmt: skip
    t = tl.load(positions + tl.arange(0, P))
    z = gpu.encoding_at(t, steps, E, EP)
    e = tl.arange(0, EP)
    at = tl.arange(0, P)[:, None] * E + e[None, :]
    tl.store(out + at, z, mask=(e < E)[None, :])


@triton.jit
def _probe_sine(out, a, turns, P: tl.constexpr):
    p = tl.arange(0, P)
    y = gpu.sine_of(tl.load(a + p), tl.load(turns), tl.load(turns + 1))
    tl.store(out + p, y)


@pytest.mark.parametrize("bands", [1, 2, 15])
@pytest.mark.parametrize("l_max", [3, 1000, 1_000_002, 1 << 30])
def test_every_position_keeps_its_digits(bands: int, l_max: int) -> None:
    """Angles of the last position are as good as those of the first."""
    E = 1 + 2 * bands
    last = [l_max - 1 - i for i in range(8)]
    places = [p for p in (0, 1, 2, l_max // 3, l_max // 2, *last) if 0 <= p < l_max]
    positions = torch.tensor((places * 16)[:16])
    out = torch.empty(16, E)
    steps = gpu.fixed_point_steps(bands, l_max, positions.device)
    launch(_probe_encoding, 1, out, positions, steps, E, P=16, EP=32)
    expected = torch.tensor([encoding(int(p), bands, l_max) for p in positions])
    assert (out - expected).abs().max() < ROUNDING
    if l_max > 1000 and bands > 2:
        # What float32 angles would have given is far off: the test can fail.
        angles = torch.linspace(1e-4, bands - 1, bands) * positions[:, None].float()
        naive = torch.cos(angles * (2 * math.pi / l_max))
        assert (naive - expected[:, 1 : 1 + bands]).abs().max() > 4 * ROUNDING


def encoding(position: int, bands: int, l_max: int) -> list[float]:
    """Encode one position in exact fractions of a turn."""
    turns = [Fraction(f) for f in np.linspace(1e-4, bands - 1, bands).tolist()]
    angles = [float(f * position / l_max % 1) * 2 * math.pi for f in turns]
    t = position / max(l_max - 1, 1)
    return [t, *map(math.cos, angles), *(-math.sin(a) for a in angles)]


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply and add with one rounding, as GPUs do and not every interpreter."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def fma(self: object, x: Any, y: Any, z: Any) -> Any:
        exact = x.data.astype(np.float64) * y.data + z.data
        return TensorHandle(exact.astype(np.float32), z.dtype.scalar)

    monkeypatch.setattr(InterpreterBuilder, "create_fma", fma)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("reach", [1.0, 100.0, 10_000.0])
def test_sines_of_large_arguments(reach: float) -> None:
    """The argument is that of the float32 values given, however many turns it has."""
    a = torch.cat([torch.linspace(-reach, reach, 1021), torch.tensor([0.0, -0.0, 0.5])])
    freq = torch.tensor([9.7310295])
    out = torch.empty(1024)
    launch(_probe_sine, 1, out, a, gpu.half_turns(freq), P=1024)
    expected = torch.sin(freq.double() * a.double())
    assert (out - expected).abs().max() < ROUNDING


@pytest.mark.filterwarnings("ignore:invalid value")  # numpy's, of the interpreter
def test_sines_never_leave_their_bounds() -> None:
    a = torch.tensor([1e6, 3e6, -5e6, 1e7, 1e12, -1e37, math.inf, math.nan])
    out = torch.empty(8)
    launch(_probe_sine, 1, out, a, gpu.half_turns(torch.tensor([9.73])), P=8)
    assert (out[:6].abs() <= 1.001).all()
    assert out[6:].isnan().all()


CASES = [
    # H, W, E, K, l_max
    (3, 9, 7, 23, 50),
    (1, 1, 3, 1, 1),
    (65, 16, 5, 129, 129),
    (70, 64, 5, 200, 200),
    (2, 33, 31, 127, 128),
]


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("H", "W", "E", "K", "l_max"), CASES)
def test_formula(
    H: int, W: int, E: int, K: int, l_max: int, target: str,
    implicit_weights: Make, implicit_truth: Truth, error: Worst, tolerance: Table,
) -> None:  # fmt: skip
    weights, deltas = implicit_weights(H, W, E)
    assert gpu.fits(weights)
    found = gpu.taps(weights, deltas, K, l_max, 0.05, gpu.tile_for(target))
    expected = implicit_truth(weights, deltas, range(K), l_max, 0.05)
    assert found.shape == (H, K)
    assert found.is_contiguous()
    assert error(found, expected) < tolerance[torch.float32]


def test_wrong_taps_would_be_seen(
    implicit_weights: Make, implicit_truth: Truth, error: Worst, tolerance: Table
) -> None:
    weights, deltas = implicit_weights(3, 16, 5)
    found = gpu.taps(weights, deltas, 150, 150, 0.05)
    freq, w0, b0, *rest, last = weights
    back = torch.cat([w0[:, :3], -w0[:, 3:]], dim=1)
    mutants = {
        "sines the other way": (ImplicitWeights(freq, back, b0, *rest, last), 0.05),
        "no shift": (weights, 0.0),
        "frequency rounded": (weights._replace(freq=freq * (1 + 1e-3)), 0.05),
    }
    for name, (mutant, shift) in mutants.items():
        wrong = implicit_truth(mutant, deltas, range(150), 150, shift)
        assert error(found, wrong) > 20 * tolerance[torch.float32], name
    late = implicit_truth(weights, deltas, range(1, 151), 150, 0.05)
    assert error(found, late) > 20 * tolerance[torch.float32]
    assert error(found[:, 1:], late[:, :-1]) < tolerance[torch.float32]


def test_no_worse_than_torch_on_a_filter_as_it_is_made(
    error: Worst, tolerance: Table
) -> None:
    """Frequency 10 on fresh weights, where float32 itself is far from float64."""
    torch.manual_seed(0)
    filter_ = Implicit(64, ImplicitFilter(taps=300, l_max=1026, shift=0.05), 300)
    taps = {}
    with torch.no_grad():
        for choice in ("triton", "torch"):
            with backend.forced(choice):
                taps[choice] = filter_.taps()
        expected = filter_.double().taps()
    assert not torch.equal(taps["triton"], taps["torch"])
    assert error(taps["triton"], expected) < 2 * error(taps["torch"], expected)
    assert (
        error(taps["triton"].view(1, -1), expected.view(1, -1))
        < tolerance[torch.float32]
    )


@pytest.mark.slow
def test_the_end_of_a_million_taps(
    implicit_weights: Make, implicit_truth: Truth, error: Worst, tolerance: Table
) -> None:
    weights, deltas = implicit_weights(2, 8, 5)
    K = 1_000_002
    found = gpu.taps(weights, deltas, K, K, 0.05, gpu.Tile(1 << 16, 16, "ieee", 8))
    for start in (0, 65_530, 500_000, K - 40):
        part = range(start, start + 40)
        expected = implicit_truth(weights, deltas, part, K, 0.05)
        assert (
            error(found[:, start : start + 40], expected) < tolerance[torch.float32]
        ), start


def test_nan_stays_in_its_channel(implicit_weights: Make) -> None:
    weights, deltas = implicit_weights(5, 16, 5)
    last = weights.last.clone()
    last[2, 3] = math.nan
    found = gpu.taps(weights._replace(last=last), deltas, 70, 70, 0.05)
    assert found[2].isnan().all()
    assert found[[0, 1, 3, 4]].isfinite().all()


def test_gradients_through_the_kernel(
    implicit_weights: Make, error: Worst, tolerance: Table
) -> None:
    """The forward pass is the kernel's, the gradient torch's; they belong together."""
    weights, deltas = implicit_weights(4, 16, 5)
    grads = {}
    for choice in ("triton", "torch"):
        leaves = ImplicitWeights(*(w.clone().requires_grad_() for w in weights))
        with backend.forced(choice):
            found = implicit_taps(leaves, deltas, 90, l_max=90, shift=0.05)
            grads[choice] = torch.autograd.grad(found.square().sum(), leaves)
    for name, a, b in zip(
        ImplicitWeights._fields, grads["triton"], grads["torch"], strict=True
    ):
        assert error(a, b) < tolerance[torch.float32], name


@pytest.mark.parametrize(("W", "E"), [(65, 5), (8, 33)])
def test_too_wide_a_network_goes_through_torch(
    W: int, E: int, implicit_weights: Make
) -> None:
    weights, deltas = implicit_weights(2, W, E)
    assert not gpu.fits(weights)
    with backend.forced("triton"), record_launches() as launches:
        found = implicit_taps(weights, deltas, 20, l_max=20, shift=0.05)
    assert not launches
    assert torch.equal(found, implicit_taps(weights, deltas, 20, l_max=20, shift=0.05))


def test_one_launch_and_no_activations(implicit_weights: Make) -> None:
    weights, deltas = implicit_weights(2, 16, 5)
    with record_launches() as launches:
        gpu.taps(weights, deltas, 4096, 4096, 0.05)
    (one,) = launches
    tensors = [a for a in one.arguments if isinstance(a, Tensor)]
    assert sum(t.numel() for t in tensors[1:]) < 1000


COMPILE = """
import sys, torch
from genomeconv_kernels.compiled import Source, compile_source
from genomeconv_kernels.implicit import ImplicitWeights, gpu
from genomeconv_kernels.launch import record_launches
target, W, E, K = sys.argv[1], *map(int, sys.argv[2:])
shapes = [(1, W), (W, E), (W,), (W, W), (W,), (W, W), (W,), (256, W)]
weights = ImplicitWeights(*(torch.empty(s, device="meta") for s in shapes))
deltas = torch.empty(1, 256, device="meta")
with record_launches() as launches:
    gpu.taps(weights, deltas, K, K, 0.05, gpu.tile_for(target))
r = compile_source(Source.of(launches[0]), target)
print(r.stack, r.shared, r.wgmma, r.mfma)
"""


@pytest.mark.parametrize(
    ("target", "W", "E", "K"),
    [
        ("sm_90", 64, 5, 1_000_002),
        *(
            pytest.param(target, *sizes, marks=pytest.mark.slow)
            for target in ("sm_90", "sm_80", "sm_89", "sm_100", "gfx942")
            for sizes in ((64, 5, 1 << 20), (64, 31, 1 << 20), (16, 5, 4096))
        ),
    ],
)
def test_no_compiled_tile_spills(target: str, W: int, E: int, K: int) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    made = subprocess.run(
        [
            sys.executable,
            "-P",
            "-W",
            "ignore",
            "-c",
            COMPILE,
            *map(str, (target, W, E, K)),
        ],
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert made.returncode == 0, made.stderr
    stack, shared, wgmma, mfma = map(int, made.stdout.split())
    assert stack == 0
    assert shared <= (64 if target == "gfx942" else 99) * 1024
    if target == "sm_90":
        assert wgmma
    if target == "gfx942":
        assert mfma
