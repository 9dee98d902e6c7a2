"""What the tests of the bands share: inputs, references in float64, checks.

Axes: B batch, H channels, L positions, K taps, T taps of a short filter. A case is
(B, H, L, K, right, whether there is a state). A band is one of the modules
`fftconv.gpu.{short, toeplitz, overlap_save, partitioned, long}`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from genomeconv_kernels import fft_conv_reference, short_conv_reference
from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Short
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan

Case = tuple[int, int, int, int, int, bool]


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def signals(B: int, H: int, L: int, dtype: torch.dtype) -> dict[str, Tensor]:
    names = ("u", "pre", "post", "post2", "grad")
    return {n: normal(B, H, L, seed=i, dtype=dtype) for i, n in enumerate(names)}


def draw(case: Case, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    """u, pre, post, dy, taps, state of unit variance; the last tap as large as any."""
    B, H, L, K, _, state = case
    g = torch.Generator().manual_seed(0)
    u, pre, post, dy = (torch.randn(B, H, L, generator=g).to(dtype) for _ in range(4))
    k = torch.randn(H, K, generator=g)
    past = torch.randn(B, H, K - 1, generator=g) if state else None
    return u, pre, post, dy, k, past


def blank(like: Tensor) -> Tensor:
    return torch.full(like.shape, torch.nan, dtype=like.dtype)


def apart(u: Tensor, pre: Tensor) -> Input:
    """The same signals with the rows of u apart and the positions of pre."""
    B, H, L = u.shape
    wide = torch.full((B, H, 700), torch.nan)
    wide[..., 100 : 100 + L] = u
    columns = torch.full((B, L, H), torch.nan)
    columns.copy_(pre.mT)
    return Input(wide[..., 100 : 100 + L], columns.mT)


def convolve(
    band: ModuleType, plan: GpuPlan, x: Input, k: Tensor, y: Output, **how: int
) -> None:
    band.convolve(plan, x, band.prepare(plan, k), y, **how)


def convolved(
    band: ModuleType,
    plan: GpuPlan,
    x: Input,
    k: Tensor,
    post: Tensor | None = None,
    **how: int,
) -> Tensor:
    out = blank(x.u)
    convolve(band, plan, x, k, Output(out, post), **how)
    return out


def filter_grad(
    band: ModuleType, plan: GpuPlan, x: Input, g: Input, **how: int
) -> Tensor:
    out = torch.full((x.u.shape[1], plan.taps), torch.nan)
    band.filter_grad(plan, x, g, out, **how)
    return out


def reference(x: Input, k: Tensor, post: Tensor | None, right: int) -> Tensor:
    u, pre, post, state = (
        None if t is None else t.double() for t in (x.u, x.pre, post, x.state)
    )
    return fft_conv_reference(u, k.double(), pre, post, None, state, right=right)


def true_grad(x: Input, g: Input, K: int, right: int) -> Tensor:
    """dk[j] = sum over rows and positions of g[t] x[t + right - j], in float64."""
    u, pre, state = (None if t is None else t.double() for t in x[:3])
    gated = u if pre is None else pre * u
    B, H, L = gated.shape
    past = torch.zeros(B, H, K - 1).double() if state is None else state
    signal = torch.cat([past, gated, torch.zeros(B, H, right).double()], dim=-1)
    dy = g.u.double() if g.pre is None else g.pre.double() * g.u.double()
    taps = [
        (dy * signal[..., K - 1 + right - j :][..., :L]).sum((0, 2)) for j in range(K)
    ]
    return torch.stack(taps, dim=1)


def check_any_strides(
    band: ModuleType, plan: GpuPlan, truth: Callable, error: Callable
) -> None:
    """Inputs are parts of wider tensors, one turned; nothing else is written."""
    B, H, L, K = 2, 3, 131, plan.taps
    wide = normal(B, 3 * H, L + 7, seed=0)
    u, pre, post = wide[:, :H, 3 : 3 + L], wide[:, H : 2 * H, :L], wide[:, 2::3, 7:]
    pre = pre.mT.contiguous().mT
    k, state = normal(H, K, seed=1), normal(H, B, K - 1, seed=2).transpose(0, 1)
    room = torch.full((B, 2 * H, L), torch.nan)
    out = room[:, ::2]
    convolve(band, plan, Input(u, pre, state), k, Output(out, post))
    assert error(out, truth(u, k, pre, post, state=state)) < 1e-5
    assert room[:, 1::2].isnan().all()


def check_short_filters(
    band: ModuleType, plan: GpuPlan, truth: Callable, error: Callable
) -> None:
    """Input and both gates each go through a short filter with a past."""
    B, H, L, K, T = 2, 3, 150, plan.taps, 3
    raw = [normal(B, H, L, seed=i) for i in range(3)]
    shorts = [
        Short(normal(H, T + 1, seed=5 + i), normal(B, H, T - 1, seed=8 + i))
        for i in range(3)
    ]
    u, pre, post = (
        short_conv_reference(
            z.double(), s.table[:, :T].double(), s.table[:, T].double(), s.past.double()
        )
        for z, s in zip(raw, shorts, strict=True)
    )
    k, state = normal(H, K, seed=20), normal(B, H, K - 1, seed=21)
    out = blank(raw[0])
    x = Input(raw[0], raw[1], state, shorts[0], shorts[1])
    convolve(band, plan, x, k, Output(out, raw[2], post_short=shorts[2]))
    assert error(out, truth(u, k, pre, post, state=state)) < 1e-5


def check_second_output(band: ModuleType, plan: GpuPlan, error: Callable) -> None:
    """The second output takes its own gate, which no short filter goes over."""
    B, H, L, K = 2, 2, 333, plan.taps
    u, pre, post, other, k, _ = draw((B, H, L, K, 0, False))
    g = torch.Generator().manual_seed(7)
    shorts = [
        Short(torch.randn(H, 4, generator=g), torch.randn(B, H, 2, generator=g))
        for _ in range(3)
    ]

    def short(z: Tensor, s: Short) -> Tensor:
        w, bias = s.table[:, :3].double(), s.table[:, 3, None].double()
        whole = torch.cat([s.past, z], -1).double()
        return bias + sum(w[:, j, None] * whole[..., j : j + L] for j in range(3))

    out, out2 = blank(u), blank(u)
    x = Input(u, pre, None, shorts[0], shorts[1])
    y = Output(out, post, out2, other, shorts[2])
    convolve(band, plan, x, k, y, workspace=0)
    whole = Input(short(u, shorts[0]), short(pre, shorts[1]))
    wanted = reference(whole, k, None, 0)
    assert error(out, wanted * short(post, shorts[2])) < 1e-5
    assert error(out2, wanted * other.double()) < 1e-5


def check_powers_of_two(band: ModuleType, plan: GpuPlan, power: int) -> None:
    u, _, _, _, k, state = draw((1, 1, 333, plan.taps, 0, True))
    scale = 2.0**power
    x, scaled = Input(u, None, state), Input(u * scale, None, state * scale)
    once = convolved(band, plan, x, k)
    assert convolved(band, plan, scaled, k).equal(once * scale)
    assert convolved(band, plan, x, k * scale).equal(once * scale)


def check_stale_tile(
    band: ModuleType,
    plan: GpuPlan,
    launches: ModuleType,
    kernel: str,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable,
) -> None:
    """Without the last program of a kernel that module `launches` launches: wrong."""
    launch = launches.launch

    def stale(function, programs, *arguments, **options):
        launch(
            function, programs - (function.__name__ == kernel), *arguments, **options
        )

    monkeypatch.setattr(launches, "launch", stale)
    u, pre, post, _, k, state = draw((1, 2, 333, plan.taps, 0, True))
    x = Input(u, pre, state)
    got = convolved(band, plan, x, k, post)
    assert not error(got, reference(x, k, post, 0)) < 0.05
