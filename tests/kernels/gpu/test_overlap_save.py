"""The one-pass overlap-save band, in Triton's interpreter."""

from __future__ import annotations

import math
from functools import partial

import bands
import pytest
import torch
from bands import apart, draw, true_grad

from genomeconv_kernels.fftconv.gpu import overlap_save
from genomeconv_kernels.fftconv.gpu.operands import Input, Output, Short
from genomeconv_kernels.fftconv.gpu.plan import GpuPlan, window

FLOATS = [torch.float32, torch.float16, torch.bfloat16]
# B, H, L, K, right, state; windows of 512: 432 new outputs at 70 taps, 0 to 512 taps.
CASES = [
    (1, 1, 1, 1, 0, False),
    (1, 2, 2, 70, 0, True),
    (2, 3, 63, 17, 0, False),
    (1, 1, 64, 16, 15, False),
    (3, 1, 65, 70, 0, True),
    (1, 3, 863, 70, 0, True),
    (2, 1, 865, 70, 31, False),
    (1, 1, 511, 400, 399, False),
    (3, 2, 175, 300, 5, False),
    (1, 2, 97, 480, 0, True),
]


def plan_of(K: int, right: int, dtype: torch.dtype, factors=(16, 16)) -> GpuPlan:
    halo, block = window(K, right, 2 * math.prod(factors))
    return GpuPlan(
        method="overlap_save", first_tap=0, taps=K, right=right, factors=factors,
        block=block, halo=halo, warps=4,
        operand="float32" if dtype == torch.float32 else "float16",
    )  # fmt: skip


run = partial(bands.convolved, overlap_save)
grad = partial(bands.filter_grad, overlap_save)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, dtype) for dtype in FLOATS[:2] for case in CASES]
    + [(case, torch.bfloat16) for case in CASES[5:8]],
    ids=str,
)
def test_convolution(case, dtype, truth, error, tolerance):
    K, right = case[3:5]
    u, pre, post, _, k, state = draw(case, dtype)
    got = run(plan_of(K, right, dtype), Input(u, pre, state), k, post)
    wanted = truth(u, k, pre, post, None, state, right=right)
    assert error(got, wanted) < tolerance[dtype]


@pytest.mark.parametrize("factors", [(32, 16), (4, 8, 16), (16, 8, 4)], ids=str)
def test_other_factors(factors, truth, error, tolerance):
    case = (2, 2, 533, 70, 0, True)
    u, pre, _, dy, k, state = draw(case)
    plan, x = plan_of(70, 0, u.dtype, factors), Input(u, pre, state)
    assert error(run(plan, x, k), truth(u, k, pre, state=state)) < tolerance[u.dtype]
    got = grad(plan, x, Input(dy))
    assert error(got, true_grad(x, Input(dy), 70, 0)) < tolerance[u.dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_filter_gradient(case, dtype, error, tolerance):
    K, right = case[3:5]
    u, pre, post, dy, _, state = draw(case, dtype)
    x, g = Input(u, pre, state), Input(dy, post)
    got = grad(plan_of(K, right, dtype), x, g)
    wanted = true_grad(x, g, K, right)
    # A tap that meets no input has gradient 0: its error counts against its channel.
    assert error(got, wanted) < tolerance[dtype]


@pytest.mark.parametrize("programs", [1, 3, 1000])
def test_filter_gradient_in_shares(programs, error, monkeypatch):
    monkeypatch.setattr(overlap_save, "_PROGRAMS", programs)
    u, pre, _, dy, _, _ = draw((2, 1, 1301, 100, 0, False))
    x, g = Input(u, pre), Input(dy)
    for kept in (0, 4096):
        monkeypatch.setattr(overlap_save, "_KEPT_POINTS", kept)
        got = grad(plan_of(100, 0, torch.float16), x, g)
        assert error(got, true_grad(x, g, 100, 0)) < 2e-3
        assert got.equal(grad(plan_of(100, 0, torch.float16), x, g))


def test_filter_gradient_of_rows_of_unlike_size(error):
    """Rows a million apart whose gradients make up for it: neither may drown."""
    u, _, _, dy, _, _ = draw((2, 1, 150, 70, 0, False))
    u[0] *= 1e6
    dy[0] *= 1e-6
    dy[1] *= 1e-3
    u[1] *= 1e3
    x, g = Input(u), Input(dy)
    for dtype, bound in ((torch.float32, 1e-5), (torch.float16, 2e-3)):
        got = grad(plan_of(70, 0, dtype), x, g)
        assert error(got, true_grad(x, g, 70, 0)) < bound


def test_second_output_and_short_filters(error, truth):
    B, H, L, K, T = 2, 2, 333, 70, 3
    u, pre, post, other, k, _ = draw((B, H, L, K, 0, False))
    g = torch.Generator().manual_seed(9)
    shorts = [
        Short(torch.randn(H, T + 1, generator=g), torch.randn(B, H, T - 1, generator=g))
        for _ in range(3)
    ]
    filtered = [
        truth(t, s.table[:, :T].flip(-1), state=s.past) + s.table[:, T, None].double()
        for t, s in zip((u, pre, post), shorts, strict=True)
    ]
    plan = plan_of(K, 0, u.dtype)
    spectrum = overlap_save.prepare(plan, k)
    x = Input(u, pre, u_short=shorts[0], pre_short=shorts[1])
    first, second = torch.full_like(u, torch.nan), torch.full_like(u, torch.nan)
    overlap_save.convolve(plan, x, spectrum, Output(first, post, post_short=shorts[2]))
    assert error(first, truth(filtered[0], k, filtered[1], filtered[2])) < 1e-5
    overlap_save.convolve(
        plan, Input(u, pre), spectrum, Output(first, post, second, other)
    )
    assert error(first, truth(u, k, pre, post)) < 1e-5
    assert error(second, truth(u, k, pre, other)) < 1e-5


def test_rows_apart_and_positions_apart(truth, error):
    u, pre, post, _, k, _ = draw((2, 2, 333, 70, 0, False))
    crossed = post.transpose(0, 1).contiguous().transpose(0, 1)
    got = run(plan_of(70, 0, u.dtype), apart(u, pre), k, crossed)
    assert error(got, truth(u, k, pre, post)) < 1e-5


def test_output_rows_may_lie_apart():
    u, _, _, _, k, _ = draw((2, 2, 333, 70, 0, False))
    plan = plan_of(70, 0, u.dtype)
    wide = torch.full((2, 2, 400), torch.nan)
    overlap_save.convolve(
        plan, Input(u), overlap_save.prepare(plan, k), Output(wide[..., 16:349])
    )
    assert wide[..., 16:349].equal(run(plan, Input(u), k))
    assert wide[..., :16].isnan().all()
    assert wide[..., 349:].isnan().all()


@pytest.mark.parametrize("what", [math.nan, math.inf])
def test_a_value_that_is_not_finite_reaches_the_outputs_of_its_window(what):
    """Every output of the blocks whose windows, 80 positions longer, hold it."""
    u, pre, _, dy, k, _ = draw((2, 2, 1500, 81, 0, False))
    plan = plan_of(81, 0, u.dtype)
    assert (plan.halo, plan.block) == (80, 432)
    clean, u = run(plan, Input(u, pre), k), u.clone()
    u[1, 0, 800] = what
    u[1, 0, 900] = what
    got = run(plan, Input(u, pre), k)
    touched = torch.zeros_like(got, dtype=torch.bool)
    touched[1, 0, 432:1296] = True  # windows begin at -80, 352, 784 and 1216
    assert got[touched].isnan().all()
    assert got[~touched].equal(clean[~touched])
    taps = grad(plan, Input(u, pre), Input(dy))
    assert taps[0].isnan().all()
    assert taps[1].isfinite().all()


def test_a_tap_that_is_not_finite_stays_in_its_channel():
    u, _, _, _, k, _ = draw((1, 3, 200, 70, 0, False))
    plan = plan_of(70, 0, u.dtype)
    clean, k = run(plan, Input(u), k), k.clone()
    k[1, 69] = math.inf
    got = run(plan, Input(u), k)
    assert got[:, 1].isnan().all()
    assert got[:, ::2].equal(clean[:, ::2])


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (torch.bfloat16, 1e30),
        (torch.bfloat16, 1e-30),
        (torch.float16, 60000.0),
        (torch.float16, 1e-4),
        (torch.float32, 1e34),
        (torch.float32, 1e-30),
    ],
    ids=str,
)
def test_sizes_at_the_ends_of_the_range(dtype, size, truth, error, tolerance):
    """Inputs so large or small that unscaled products would be Inf or 0."""
    u, _, _, _, k, _ = draw((1, 2, 333, 70, 0, False))
    u = (u / u.abs().max() * size).to(dtype)
    if (dtype, size) == (torch.float16, 60000.0):
        k = k / k.abs().sum(1, keepdim=True)  # or the outputs would not fit
    got = run(plan_of(70, 0, dtype), Input(u), k)
    assert error(got, truth(u, k)) < tolerance[dtype]


def test_rows_keep_their_own_scales(truth, error):
    """A quiet row beside one a million times louder, each as exact as alone."""
    u, _, _, _, k, _ = draw((2, 1, 150, 70, 0, False))
    u[0] *= 1e6
    for dtype, bound in ((torch.float32, 1e-5), (torch.float16, 2e-3)):
        plan = plan_of(70, 0, dtype)
        loud, quiet = run(plan, Input(u), k)
        wanted = truth(u, k)
        assert error(loud, wanted[0]) < bound
        assert error(quiet, wanted[1]) < bound


def test_zeros_give_zeros():
    u = torch.zeros(2, 2, 333)
    k = draw((1, 2, 1, 70, 0, False))[4]
    plan = plan_of(70, 0, u.dtype)
    assert not run(plan, Input(u), k).any()
    assert not run(plan, Input(u + 1), torch.zeros(2, 70)).any()
    assert not grad(plan, Input(u), Input(u + 1)).any()


@pytest.mark.parametrize("operand", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("factors", [(16, 16), (32, 16), (8, 16, 4)], ids=str)
def test_spectra_of_filters(factors, operand, error):
    F = math.prod(factors)
    K = F + 100  # beyond the half that is real
    k = draw((1, 3, 1, K, 0, False))[4] * torch.tensor([[1.0], [1e-20], [1e20]])
    plan = plan_of(K, 0, operand, factors)
    values, scale = overlap_save.prepare(plan, k)
    assert values.abs().max() < 2
    # At frequencies k - 1/4: turned by a quarter of a turn over the F positions.
    taps = torch.nn.functional.pad(k.double(), (0, F - 100)).view(3, 2, F)
    angle = torch.arange(F).double() * (math.pi / 2 / F)
    turned = torch.polar(torch.ones(F).double(), angle)
    X = torch.fft.fft(torch.complex(taps[:, 0], taps[:, 1]) * turned)
    axes = (0, *reversed(range(1, len(factors) + 1)))
    X = X.view(-1, *reversed(factors)).permute(axes).reshape(3, -1)
    wanted = torch.view_as_real(X).movedim(-1, 1).reshape(3, -1)
    got = values.double().view(3, -1) * (scale.double()[:, None] * plan.inner**-0.5)
    rounding = 3e-4 if operand == torch.float16 else 1e-6
    assert error(got, wanted * plan.inner**-0.5) < rounding


def _mutants():
    """(name, tensors -> tensors) that a test of this strictness must tell apart."""

    def dropped(u, k):
        k = k.clone()
        k[:, -1] = 0
        return u, k

    def shifted(u, k):
        return u.roll(1, -1), k

    def stale(u, k):
        u = u.clone()
        u[..., 432:448] = u[..., :16]
        return u, k

    return [dropped, shifted, stale]


@pytest.mark.parametrize("mutate", _mutants(), ids=lambda m: m.__name__)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_mutants_fail(mutate, dtype, truth, error, tolerance):
    u, _, _, _, k, _ = draw((1, 1, 500, 70, 0, False), dtype)
    got = run(plan_of(70, 0, dtype), Input(u), k)
    assert error(got, truth(*mutate(u, k))) > 5 * tolerance[dtype]
