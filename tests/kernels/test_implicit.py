"""The implicit filter: formula, slices, gradients, refusals, in torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genomeconv_kernels import ImplicitWeights, implicit_taps
from genomeconv_kernels.implicit import op

# Three sines in a row, each multiplying what came before: as the families of filters.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
Make = Callable[..., tuple[ImplicitWeights, Tensor]]
Truth = Callable[..., Tensor]
Worst = Callable[[Tensor, Tensor], float]

CASES = [
    # H, W, E, K, l_max
    (3, 9, 7, 23, 50),
    (1, 1, 3, 1, 1),
    (2, 16, 5, 40, 40),
    (5, 8, 5, 12, 1_000_002),
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("H", "W", "E", "K", "l_max"), CASES)
def test_formula(
    H: int, W: int, E: int, K: int, l_max: int, dtype: torch.dtype,
    implicit_weights: Make, implicit_truth: Truth, error: Worst,
) -> None:  # fmt: skip
    weights, deltas = implicit_weights(H, W, E, dtype)
    found = implicit_taps(weights, deltas, K, l_max=l_max, shift=0.05)
    expected = implicit_truth(weights, deltas, range(K), l_max, 0.05)
    assert found.shape == (H, K)
    assert found.dtype == dtype
    assert error(found, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(
    dtype: torch.dtype, implicit_weights: Make
) -> None:
    weights, deltas = implicit_weights(4, 8, 5, dtype)
    wide = ImplicitWeights(*(w.float() for w in weights))
    expected = implicit_taps(wide, deltas.float(), 30, l_max=30, shift=0.0)
    found = implicit_taps(weights, deltas, 30, l_max=30, shift=0.0)
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))


def test_slices_change_nothing(
    implicit_weights: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, deltas = implicit_weights(4, 8, 5, torch.float64)
    grad = torch.randn(4, 60, dtype=torch.float64)

    def run() -> list[Tensor]:
        leaves = ImplicitWeights(*(w.clone().requires_grad_() for w in weights))
        found = implicit_taps(leaves, deltas, 60, l_max=90, shift=0.1)
        return [found.detach(), *torch.autograd.grad(found, leaves, grad)]

    whole = run()
    monkeypatch.setattr(op, "_POSITIONS_AT_ONCE", 7)
    for a, b in zip(run(), whole, strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("positions", [4, 100])
def test_gradients_of_every_weight(
    positions: int, implicit_weights: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(op, "_POSITIONS_AT_ONCE", positions)
    weights, deltas = implicit_weights(3, 4, 5, torch.float64)
    leaves = [w.requires_grad_() for w in weights]

    def taps(*leaves: Tensor) -> Tensor:
        weights = ImplicitWeights(*leaves)
        return implicit_taps(weights, deltas, 9, l_max=11, shift=0.05)

    assert torch.autograd.gradcheck(taps, leaves)


def test_gradients_in_float32(implicit_weights: Make, error: Worst) -> None:
    weights, deltas = implicit_weights(6, 16, 5, torch.float32)
    grad = torch.randn(6, 500)

    def run(dtype: torch.dtype) -> tuple[Tensor, ...]:
        leaves = ImplicitWeights(*(w.to(dtype).requires_grad_() for w in weights))
        found = implicit_taps(leaves, deltas.to(dtype), 500, l_max=500, shift=0.05)
        return torch.autograd.grad(found, leaves, grad.to(dtype))

    for name, a, b in zip(
        ImplicitWeights._fields, run(torch.float32), run(torch.float64), strict=True
    ):
        assert error(a, b) < TOLERANCE[torch.float32], name


def test_only_the_weights_are_kept_for_the_gradient(implicit_weights: Make) -> None:
    weights, deltas = implicit_weights(4, 8, 5, torch.float32)
    leaves = ImplicitWeights(*(w.requires_grad_() for w in weights))
    kept: list[int] = []

    def keep(t: Tensor) -> Tensor:
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        implicit_taps(leaves, deltas, 5000, l_max=5000, shift=0.05)
    assert kept
    assert max(kept) < 100


def test_autocast_changes_no_bit(implicit_weights: Make) -> None:
    weights, deltas = implicit_weights(4, 16, 5, torch.float32)

    def run() -> list[Tensor]:
        leaves = ImplicitWeights(*(w.clone().requires_grad_() for w in weights))
        found = implicit_taps(leaves, deltas, 50, l_max=50, shift=0.05)
        return [found.detach(), *torch.autograd.grad(found.sum(), leaves)]

    plain = run()
    with torch.autocast("cpu", torch.bfloat16):
        cast = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


# torch's own check looks at .grad of tensors that have none.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_the_operator_keeps_the_rules_of_torch(implicit_weights: Make) -> None:
    weights, deltas = implicit_weights(3, 4, 5, torch.float64)
    leaves = [w.clone().requires_grad_() for w in weights]
    torch.library.opcheck(
        torch.ops.genomeconv.implicit_taps.default, (leaves, deltas, 9, 11, 0.05)
    )
    grad = torch.randn(3, 9, dtype=torch.float64)
    torch.library.opcheck(
        torch.ops.genomeconv.implicit_taps_backward.default,
        (grad, list(weights), deltas, 11, 0.05),
    )


def test_a_compiler_sees_one_operator(implicit_weights: Make) -> None:
    weights, deltas = implicit_weights(3, 4, 5, torch.float32)
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        calls = [n for n in graph.graph.nodes if n.op == "call_function"]
        seen.extend(str(n.target) for n in calls if "genomeconv" in str(n.target))
        return graph.forward

    def taps(*leaves: Tensor) -> Tensor:
        weights = ImplicitWeights(*leaves)
        return implicit_taps(weights, deltas, 9, l_max=11, shift=0.05)

    found = torch.compile(taps, backend=backend, fullgraph=True)(*weights)
    assert torch.equal(found, taps(*weights))
    assert seen == ["genomeconv.implicit_taps.default"]


ONE = "a floating-point tensor of shape (1, W), W at least 1"
REFUSED = [
    ({"freq": None}, TypeError, f"freq must be {ONE}, got None"),
    (
        {"freq": torch.zeros(4)},
        ValueError,
        f"freq must be {ONE}, got float32 of shape (4,) on cpu",
    ),
    (
        {"w0": torch.zeros(4, 4)},
        ValueError,
        "w0 must be of shape (W, E) = (4, E), E odd and at least 3, "
        "got float32 of shape (4, 4) on cpu",
    ),
    (
        {"w0": torch.zeros(3, 5)},
        ValueError,
        "w0 must be float32 of shape (W, E) = (4, 5) on cpu, "
        "got float32 of shape (3, 5) on cpu",
    ),
    (
        {"b1": torch.zeros(5)},
        ValueError,
        "b1 must be float32 of shape (W,) = (4,) on cpu, "
        "got float32 of shape (5,) on cpu",
    ),
    (
        {"last": torch.zeros(3, 4).double()},
        TypeError,
        "last must be float32 of shape (H, W) = (3, 4) on cpu, "
        "got float64 of shape (3, 4) on cpu",
    ),
    (
        {"deltas": torch.zeros(3)},
        ValueError,
        "deltas must be float32 of shape (1, H) = (1, 3) on cpu, "
        "got float32 of shape (3,) on cpu",
    ),
    (
        {"deltas": torch.zeros(1, 3, requires_grad=True)},
        ValueError,
        "deltas must be free of gradients, got 'requires_grad=True'",
    ),
    ({"l_max": 0}, ValueError, f"l_max must be an integer in 1..{1 << 30}, got 0"),
    ({"l_max": 9.0}, TypeError, f"l_max must be an integer in 1..{1 << 30}, got 9.0"),
    ({"taps": 0}, ValueError, "taps must be an integer in 1..11, got 0"),
    ({"taps": 12}, ValueError, "taps must be an integer in 1..11, got 12"),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED)
def test_refusals(
    change: dict[str, object],
    kind: type[Exception],
    message: str,
    implicit_weights: Make,
) -> None:
    weights, deltas = implicit_weights(3, 4, 5, torch.float32)
    call = weights._asdict() | {"deltas": deltas, "taps": 9, "l_max": 11} | change
    given = ImplicitWeights(*(call[name] for name in ImplicitWeights._fields))
    with pytest.raises(kind) as caught:
        implicit_taps(
            given, call["deltas"], call["taps"], l_max=call["l_max"], shift=0.0
        )
    assert str(caught.value) == f"implicit_taps: {message}"
