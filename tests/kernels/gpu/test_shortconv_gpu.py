"""The short convolution on the Triton path: layouts, values, gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from bands import normal
from torch import Tensor

from genomeconv_kernels import backend, short_conv, short_conv_reference
from genomeconv_kernels.shortconv import gpu

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LENGTHS = (1, 2, 63, 64, 65, 131)
LAYOUTS = ("rows", "channels", "slice", "neither")


@pytest.fixture(autouse=True)
def _triton() -> Iterator[None]:
    with backend.forced("triton"):
        yield


def laid_out(t: Tensor, layout: str) -> Tensor:
    """The same numbers, positions or channels side by side, or neither."""
    B, H, L = t.shape
    if layout == "rows":
        return t.contiguous()
    if layout == "channels":
        return t.mT.contiguous().mT
    room = torch.full((B, L, 3 * H), torch.nan, dtype=t.dtype)
    one_of_three = slice(H, 2 * H) if layout == "slice" else slice(1, None, 3)
    view = room[..., one_of_three].mT
    view.copy_(t)
    return view


def call(B: int, H: int, L: int, K: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Arguments; the filter and the state in float32, whatever u is."""
    return {
        "u": normal(B, H, L, seed=0, dtype=dtype),
        "w": normal(H, K, seed=1),
        "bias": normal(H, seed=2),
        "state": normal(B, H, K - 1, seed=3),
    }


def direct(truth, u, w, bias=None, state=None) -> Tensor:
    y = truth(u, w.flip(-1), state=state)
    return y if bias is None else y + bias.double()[:, None]


def close(got: Tensor, wanted: Tensor, limit: float) -> bool:
    return float((got.double() - wanted).norm() / wanted.norm()) < limit


CASES = [
    (K, LENGTHS[(2 * i + j) % 6], dtype, LAYOUTS[(i + j) % 4])
    for i, K in enumerate((1, 2, 3, 4, 8))
    for j, dtype in enumerate(DTYPES)
]


@pytest.mark.parametrize(("K", "L", "dtype", "layout"), CASES, ids=str)
def test_is_the_direct_sum(K, L, dtype, layout, truth, tolerance):
    given = call(2, 5, L, K, dtype)
    given["u"] = laid_out(given["u"], layout)
    y, state = short_conv(**given, return_state=True)
    assert y.dtype == dtype
    assert y.is_contiguous()
    assert close(y, direct(truth, **given), tolerance[dtype])
    whole = torch.cat([given["state"], given["u"].float()], -1)
    assert torch.equal(state, whole[..., L:])
    bare = {name: given[name] for name in ("u", "w")}
    assert close(short_conv(**bare), direct(truth, **bare), tolerance[dtype])


@pytest.fixture(scope="module")
def many_channels() -> tuple[dict[str, Tensor], Tensor]:
    """More channels and positions than one tile holds, and what comes of their rows."""
    given = call(1, 66, 70, 3, torch.bfloat16)
    with backend.forced("triton"):
        return given, short_conv(**given)


@pytest.mark.parametrize(
    ("layout", "out_layout"),
    [(a, b) for a in LAYOUTS for b in LAYOUTS if (a, b) != ("rows", "rows")],
)
def test_every_layout_gives_the_same_bits(layout, out_layout, many_channels):
    given, expected = many_channels
    out = laid_out(torch.full_like(expected, torch.nan), out_layout)
    u = laid_out(given["u"], layout)
    assert short_conv(**given | {"u": u}, out=out) is out
    assert torch.equal(out, expected)


def test_writes_nothing_beside_its_output():
    given = call(2, 5, 131, 3, torch.float32)
    room = torch.full((2, 131, 15), 7.0)
    out = room[..., 5:10].mT
    short_conv(**given, out=out)
    assert (room[..., :5] == 7).all()
    assert (room[..., 10:] == 7).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_are_the_whole_to_the_bit(layout):
    given = call(2, 5, 200, 4, torch.float16)
    u = laid_out(given.pop("u"), layout)
    state = given.pop("state")
    whole = short_conv(u, **given, state=state)
    pieces = []
    for first, last in ((0, 2), (2, 65), (65, 200)):
        y, state = short_conv(
            u[..., first:last], **given, state=state, return_state=True
        )
        pieces.append(y)
    assert torch.equal(torch.cat(pieces, -1), whole)


def expected_gradients(given: dict[str, Tensor], grad: Tensor) -> dict[str, Tensor]:
    wide = {n: t.detach().double().requires_grad_() for n, t in given.items()}
    short_conv_reference(**wide).backward(grad.double())
    return {n: t.grad for n, t in wide.items() if t.grad is not None}


@pytest.mark.parametrize(("K", "L", "dtype", "layout"), CASES, ids=str)
def test_every_gradient(K, L, dtype, layout, tolerance):
    given = call(2, 5, L, K, dtype)
    grad = laid_out(normal(2, 5, L, seed=9, dtype=dtype), LAYOUTS[(L + K) % 4])
    expected = expected_gradients(given, grad)
    given["u"] = laid_out(given["u"], layout).detach()
    for t in given.values():
        t.requires_grad_()
    short_conv(**given).backward(grad)
    for name, t in given.items():
        assert t.grad.dtype == t.dtype
        limit = tolerance[dtype] if name == "u" else 1e-5
        assert t.numel() == 0 or close(t.grad, expected[name], limit), name


def test_gradients_that_nobody_wants_are_not_made():
    given = call(1, 3, 65, 3, torch.float32)
    for name in given:
        for t in given.values():
            t.requires_grad_(False).grad = None
        given[name].requires_grad_()
        short_conv(**given).sum().backward()
        assert [n for n, t in given.items() if t.grad is not None] == [name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_not_finite_stays_where_its_taps_reach(layout):
    given = call(2, 5, 131, 3, torch.float32)
    given["u"][1, 2, 63] = torch.nan
    given["u"] = laid_out(given["u"], layout)
    reached = torch.zeros(2, 5, 131, dtype=torch.bool)
    reached[1, 2, 63:66] = True
    assert torch.equal(short_conv(**given).isnan(), reached)


def test_float64_is_torchs(truth):
    given = {n: t.double() for n, t in call(2, 3, 65, 3, torch.float32).items()}
    assert close(short_conv(**given), direct(truth, **given), 1e-14)


def test_both_kernels_run(monkeypatch):
    """Rows take the short band, everything else the tiles."""
    taken = []
    monkeypatch.setattr(gpu, "launch", lambda kernel, *_, **__: taken.append("tiles"))
    monkeypatch.setattr(gpu.short, "launch", lambda *_, **__: taken.append("rows"))
    given = call(1, 3, 65, 3, torch.float32)
    for layout in LAYOUTS:
        short_conv(laid_out(given["u"], layout), given["w"])
    assert taken == ["rows", "tiles", "tiles", "tiles"]


def test_the_tolerance_tells_every_mistake(truth, tolerance):
    given = call(2, 5, 131, 3, torch.float32)
    expected = direct(truth, **given)
    stale = expected.clone()
    stale[:, :, 64:128] = stale[:, :, :64]
    w = given["w"]
    dropped = torch.cat([torch.zeros(5, 1), w[:, 1:]], 1)
    wrong = {
        "shifted": expected.roll(1, -1),
        "last tap dropped": direct(truth, **given | {"w": dropped}),
        "taps reversed": direct(truth, **given | {"w": w.flip(-1)}),
        "state missing": direct(truth, **given | {"state": None}),
        "no bias": direct(truth, **given | {"bias": None}),
        "stale tile": stale,
        "channels swapped": expected.roll(1, 1),
    }
    for name, y in wrong.items():
        assert not close(y, expected, 3 * tolerance[torch.bfloat16]), name
