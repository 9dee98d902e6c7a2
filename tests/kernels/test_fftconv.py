"""The long convolution: values, laws, and that the tests can fail."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genomeconv_kernels import fft_conv, fft_conv_reference, prepare_filter
from genomeconv_kernels.fftconv.plan import METHODS

LENGTHS = (1, 2, 63, 64, 65, 127, 255, 257, 509, 1021)
TAPS = (1, 2, 3, 7, 64, 129, 500)
laws = settings(deadline=None, max_examples=40, derandomize=True)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1000 * sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def call(B: int, H: int, L: int, K: int, dtype: torch.dtype = torch.float32) -> dict:
    """Every argument of one call; filters keep their energy at long lags."""
    signals = {n: normal(B, H, L, seed=i) for i, n in enumerate(("u", "pre", "post"))}
    return {
        name: t.to(dtype)
        for name, t in {
            **signals,
            "k": normal(H, K, seed=3),
            "skip": normal(H, seed=4),
            "state": normal(B, H, K - 1, seed=5),
        }.items()
    }


def plain(u: Tensor, k: Tensor, **_: object) -> Tensor:
    """What most people run: one transform of twice the length."""
    n = u.shape[-1] + k.shape[-1]
    product = torch.fft.rfft(u, n=n) * torch.fft.rfft(k, n=n)
    return torch.fft.irfft(product, n=n)[..., : u.shape[-1]]


@pytest.mark.parametrize("method", [None, *METHODS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("L", LENGTHS)
def test_is_the_direct_sum(method, dtype, L, truth, error, tolerance):
    for K in TAPS:
        arguments = call(2, 3, L, K, dtype)
        y = fft_conv(**arguments, method=method)
        assert y.dtype == dtype
        assert y.is_contiguous()
        expected = truth(**arguments)
        if L > 2:
            assert error(y, expected) <= tolerance[dtype], K
        else:  # a channel of one or two values may be small by chance
            scale = arguments["k"].double().norm(dim=-1).max()
            assert (y - expected).abs().max() <= 10 * tolerance[dtype] * scale, K


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("right", [1, 5, 63, 64, 199])
def test_taps_that_reach_to_the_future(method, right, truth, error, tolerance):
    for L in (63, 130, 500):
        arguments = call(2, 2, L, 200)
        del arguments["state"]
        y = fft_conv(**arguments, right=right, method=method)
        expected = truth(**arguments, right=right)
        assert error(y, expected) <= tolerance[y.dtype], L


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize(
    ("method", "K"), [("direct", 9), ("overlap_save", 100), ("partitioned", 700)]
)
@pytest.mark.parametrize(("B", "H", "L"), [(1, 1, 1021), (3, 5, 1024), (7, 2, 409)])
def test_many_rounds(B, H, L, method, K, truth, error, tolerance):
    arguments = call(B, H, L, K)
    y = fft_conv(**arguments, method=method)
    assert error(y, truth(**arguments)) <= tolerance[y.dtype]
    del arguments["state"]
    y = fft_conv(**arguments, method=method, right=K // 3)
    assert error(y, truth(**arguments, right=K // 3)) <= tolerance[y.dtype]


@pytest.mark.parametrize("left_out", ["pre", "post", "skip", "state"])
def test_every_companion_may_be_left_out(left_out, truth, error, tolerance):
    arguments = call(2, 3, 300, 70)
    del arguments[left_out]
    y = fft_conv(**arguments)
    assert error(y, truth(**arguments)) <= tolerance[y.dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_rounds_once(dtype, truth, error):
    arguments = call(1, 4, 3000, 700, dtype)
    y, state = fft_conv(**arguments, return_state=True)
    assert y.dtype == dtype
    assert state.dtype == torch.float32
    expected = truth(**arguments)
    rounding = error(expected.to(dtype), expected)
    assert error(y, expected) <= 1.5 * rounding
    wide = {n: t.float() if n != "u" else t for n, t in arguments.items()}
    assert torch.equal(fft_conv(**wide), y)


@pytest.mark.parametrize(
    ("method", "L", "K"),
    [
        ("direct", 8192, 256),  # the most taps a plan gives to it
        ("overlap_save", 8192, 256),
        ("overlap_save", 6001, 4096),
        ("overlap_save", 4099, 6000),
        ("partitioned", 6001, 4096),
        ("partitioned", 4099, 6000),
    ],
)
def test_is_no_worse_than_plain_torch(method, L, K, truth, error, tolerance):
    u, k = normal(1, 2, L), normal(2, K, seed=1)
    expected = truth(u, k)
    y = fft_conv(u, k, method=method)
    eager = plain(u, k)
    assert error(y, expected) <= min(4 * error(eager, expected), tolerance[y.dtype])
    worst = 2 * (eager - expected).abs().max() + 1e-6 * expected.abs().max()
    assert (y - expected).abs().max() <= worst


def mutants(arguments: dict, truth) -> dict[str, Tensor]:
    """Results of programs with one usual mistake each."""
    y = truth(**arguments)
    short = arguments["k"].clone()
    short[:, -1] = 0
    stale, ragged = y.clone(), y.clone()
    tile = y.shape[-1] // 4
    stale[..., tile : 2 * tile] = y[..., :tile]
    ragged[..., -(tile // 10) :] = 0
    no_halo = truth(**{n: t for n, t in arguments.items() if n != "state"})
    return {
        "zeros": torch.zeros_like(y),
        "last tap dropped": truth(**{**arguments, "k": short}),
        "shifted by one": y.roll(1, -1),
        "strand swapped": y.flip(-1),
        "halo missing": no_halo,
        "one tile stale": stale,
        "wrong at the ragged end": ragged,
        "skip forgotten": truth(**{n: t for n, t in arguments.items() if n != "skip"}),
        "gates exchanged": truth(
            **{**arguments, "pre": arguments["post"], "post": arguments["pre"]}
        ),
    }


@pytest.mark.parametrize(
    ("dtype", "L", "K"),
    [(torch.float32, 1021, 300), (torch.float16, 509, 200), (torch.bfloat16, 150, 30)],
)
def test_the_tolerance_tells_every_mistake(dtype, L, K, truth, tolerance):
    arguments = call(1, 2, L, K, dtype)
    expected = truth(**arguments)
    for name, y in mutants(arguments, truth).items():
        wrong = (y - expected).norm(dim=-1) / expected.norm(dim=-1)
        assert wrong.min() >= 20 * tolerance[dtype], name
    y = fft_conv(**arguments).double()
    right = (y - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert right.max() <= tolerance[dtype]


def test_the_reference_is_the_direct_sum_too(truth, error):
    arguments = call(2, 2, 130, 70, torch.float64)
    assert error(fft_conv_reference(**arguments), truth(**arguments)) < 1e-13
    del arguments["state"]
    y = fft_conv_reference(**arguments, right=33)
    assert error(y, truth(**arguments, right=33)) < 1e-13


def test_small_integers_are_exact():
    generator = torch.Generator().manual_seed(0)
    u = torch.nn.functional.one_hot(torch.randint(0, 4, (2, 999), generator=generator))
    u = u.transpose(1, 2).float()
    k = torch.randint(-8, 9, (4, 40), generator=generator).float()
    exact = fft_conv_reference(u.long(), k.long())
    assert torch.equal(fft_conv(u, k, method="direct").long(), exact)


@pytest.mark.parametrize("method", METHODS)
def test_same_call_same_bits(method):
    arguments = call(2, 5, 700, 150)
    first = fft_conv(**arguments, method=method)
    prepared = prepare_filter(
        arguments.pop("k"), length=700, skip=arguments.pop("skip"), method=method
    )
    again = fft_conv(k=prepared, **arguments)
    for _ in range(20):
        assert torch.equal(fft_conv(k=prepared, **arguments), again)
    assert (first - again).abs().max() < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_memory_order_does_not_matter(method):
    arguments = call(2, 4, 300, 90)
    expected = fft_conv(**arguments, method=method)
    swapped = {
        n: t.mT.contiguous().mT if t.dim() > 1 else t for n, t in arguments.items()
    }
    strided = {n: torch.stack([t, t], -1)[..., 0] for n, t in arguments.items()}
    assert torch.equal(fft_conv(**swapped, method=method), expected)
    assert torch.equal(fft_conv(**strided, method=method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_result_goes_where_it_is_wanted(method):
    arguments = call(2, 4, 300, 90)
    expected = fft_conv(**arguments, method=method)
    out = torch.full((2, 300, 4), torch.nan).mT
    assert fft_conv(**arguments, method=method, out=out) is out
    assert torch.equal(out, expected)


@pytest.mark.parametrize("method", METHODS)
def test_nan_stays_in_its_row_and_never_reaches_back_over_a_block(method):
    u, k = normal(2, 3, 5000), normal(3, 50, seed=1)
    clean = fft_conv(u, k, method=method)
    u[1, 2, 2500] = torch.nan
    y = fft_conv(u, k, method=method)
    touched = y.isnan()
    assert touched[1, 2, 2500:2550].all()
    assert touched.sum() == touched[1, 2].sum()
    assert (y == clean)[~touched].all()
    if method == "direct":
        assert touched.sum() == 50


# Laws


shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 400))
taps = st.integers(1, 300)
methods = st.sampled_from([None, *METHODS])
seeds = st.integers(0, 1000)


def close(a: Tensor, b: Tensor, scale: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-11 * (1 + scale.abs().max()))


def wide(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=seed, dtype=torch.float64)


@laws
@given(shapes, taps, methods, seeds)
def test_linear_in_signal_and_taps(shape, K, method, seed):
    u, v = wide(*shape, seed=seed), wide(*shape, seed=seed + 1)
    k, m = wide(shape[1], K, seed=seed), wide(shape[1], K, seed=seed + 1)
    y = fft_conv(u, k, method=method)
    both = fft_conv(2 * u - v, k, method=method)
    assert close(both, 2 * y - fft_conv(v, k, method=method), y)
    both = fft_conv(u, 3 * k + m, method=method)
    assert close(both, 3 * y + fft_conv(u, m, method=method), y)


@laws
@given(shapes, taps, methods, seeds, st.data())
def test_delta_shifts(shape, K, method, seed, data):
    u = wide(*shape, seed=seed)
    _B, H, L = shape
    j = data.draw(st.integers(0, K - 1))
    right = data.draw(st.integers(0, K - 1))
    k = torch.zeros(H, K, dtype=u.dtype)
    k[:, j] = 1
    y = fft_conv(u, k, right=right, method=method)
    expected = torch.zeros_like(u)
    for t in range(max(0, j - right), min(L, L + j - right)):
        expected[..., t] = u[..., t + right - j]
    assert close(y, expected, u)


@laws
@given(shapes, taps, seeds, st.data())
def test_the_past_does_not_see_the_future(shape, K, seed, data):
    u, k = wide(*shape, seed=seed), wide(shape[1], K, seed=seed)
    t = data.draw(st.integers(0, shape[2] - 1))
    other = u.clone()
    other[..., t:] += 1
    method = data.draw(methods)
    y, z = fft_conv(u, k, method=method), fft_conv(other, k, method=method)
    assert close(y[..., :t], z[..., :t], y) if t else True
    if method == "direct":
        assert torch.equal(y[..., :t], z[..., :t])


@laws
@given(shapes, taps, methods, seeds, st.data())
def test_pieces_are_the_whole(shape, K, method, seed, data):
    B, H, L = shape
    u, pre, post = (wide(*shape, seed=seed + i) for i in range(3))
    k, skip = wide(H, K, seed=seed), wide(H, seed=seed)
    whole, last = fft_conv(u, k, pre, post, skip, return_state=True, method=method)
    cuts = sorted(data.draw(st.lists(st.integers(1, L), max_size=4)))
    use = k
    if data.draw(st.booleans()):
        use = prepare_filter(k, length=data.draw(st.integers(1, L)), skip=skip)
        skip, method = None, None
    state, pieces = None, []
    for a, b in zip([0, *cuts], [*cuts, L], strict=True):
        if a == b:
            continue
        u_, pre_, post_ = (t[..., a:b] for t in (u, pre, post))
        y, state = fft_conv(
            u_, use, pre_, post_, skip, state, return_state=True, method=method
        )
        pieces.append(y)
    assert close(torch.cat(pieces, -1), whole, whole)
    assert state.shape == (B, H, K - 1)
    assert torch.equal(state, last)


@laws
@given(shapes, st.integers(1, 40), seeds, st.data())
def test_direct_pieces_are_the_whole_to_the_bit(shape, K, seed, data):
    u, k = normal(*shape, seed=seed), normal(shape[1], K, seed=seed)
    cut = data.draw(st.integers(1, shape[2]))
    whole = fft_conv(u, k, method="direct")
    y, state = fft_conv(u[..., :cut], k, method="direct", return_state=True)
    pieces = [y]
    if cut < shape[2]:
        pieces.append(fft_conv(u[..., cut:], k, state=state, method="direct"))
    assert torch.equal(torch.cat(pieces, -1), whole)


@laws
@given(shapes, taps, seeds, st.data())
def test_every_method_gives_the_same(shape, K, seed, data):
    u, k = wide(*shape, seed=seed), wide(shape[1], K, seed=seed)
    right = data.draw(st.integers(0, K - 1))
    results = [fft_conv(u, k, right=right, method=m) for m in (None, *METHODS)]
    for y in results:
        assert close(y, results[0], results[0])


@laws
@given(shapes, taps, methods, seeds, st.data())
def test_a_two_sided_filter_reads_the_same_backwards(shape, K, method, seed, data):
    u, k = wide(*shape, seed=seed), wide(shape[1], K, seed=seed)
    right = data.draw(st.integers(0, K - 1))
    y = fft_conv(u, k, right=right, method=method)
    mirror = fft_conv(u.flip(-1), k.flip(-1), right=K - 1 - right, method=method)
    assert close(y, mirror.flip(-1), y)


@laws
@given(shapes, taps, methods, seeds)
def test_batch_rows_do_not_meet(shape, K, method, seed):
    u, k = wide(*shape, seed=seed), wide(shape[1], K, seed=seed)
    y = fft_conv(u, k, method=method)
    for b in range(shape[0]):
        alone = fft_conv(u[b : b + 1], k, method=method)
        assert close(y[b : b + 1], alone, y)
