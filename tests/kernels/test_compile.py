"""Every public operation under torch's compiler, and what its operators promise it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from genomeconv_kernels import (
    FrequencyMask,
    ImplicitWeights,
    MixerPast,
    backend,
    fft_conv,
    implicit_taps,
    mixer_conv,
    prepare_filter,
    short_conv,
    sparse_fft_conv,
)
from genomeconv_kernels.fftconv.prepared import written

B, H, T, K = 2, 3, 3, 40
MASK = FrequencyMask.low_pass(512, 1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


TAPS, SHORT, BIAS = random(H, K), random(H, T, seed=1), random(H, seed=2)
STATE, SHORT_STATE = random(B, H, K - 1, seed=3), random(B, H, T - 1, seed=4)
WIDE, WIDE_BIAS = random(3 * H, T, seed=5), random(3 * H, seed=6)


@pytest.fixture(params=["torch", pytest.param("triton", marks=pytest.mark.slow)])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    torch.compiler.reset()
    with backend.forced(request.param):
        yield request.param
    torch.compiler.reset()


def long_into(u: Tensor) -> Tensor:
    return fft_conv(u, TAPS, u, out=torch.empty_like(u))


def long_with_state(u: Tensor) -> tuple[Tensor, Tensor]:
    return fft_conv(u, TAPS, u, u, BIAS, STATE, return_state=True)


def circular(u: Tensor) -> Tensor:
    return fft_conv(u, TAPS, u, u, right=3, circular=True)


def short(u: Tensor) -> tuple[Tensor, Tensor]:
    return short_conv(u, SHORT, BIAS, SHORT_STATE, return_state=True)


def frequency_sparse(u: Tensor) -> Tensor:
    return sparse_fft_conv(u, TAPS, MASK, u, u, right=2)


def prepared() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    k = prepare_filter(TAPS, length=131, batch=B)
    return lambda u: fft_conv(u, k, u, u, state=STATE, return_state=True)


def mixer() -> Callable[[Tensor], Tensor]:
    k = prepare_filter(TAPS, length=131, batch=B)
    past = MixerPast(random(B, 3 * H, T - 1, seed=7), STATE)

    def run(u: Tensor) -> Tensor:
        z = torch.cat([u, u.flip(1), u * u], dim=1)
        y, after = mixer_conv(z, WIDE, WIDE_BIAS, k, past)
        assert after.long is not None
        return y + after.long.sum()

    return run


CALLS: dict[str, tuple[Callable[..., object], str]] = {
    "fft_conv with state": (lambda: long_with_state, "fft_conv"),
    "fft_conv into memory": (lambda: long_into, "fft_conv"),
    "fft_conv circular": (lambda: circular, "fft_conv"),
    "fft_conv prepared": (prepared, "prepared_conv"),
    "short_conv": (lambda: short, "short_conv"),
    "sparse_fft_conv": (lambda: frequency_sparse, "sparse_fft_conv"),
    "mixer_conv": (mixer, "mixer_conv"),
}


def recorder(seen: list[str]) -> Callable[..., object]:
    """A backend that runs the graph through autograd's tracing, and notes its calls."""
    from torch._dynamo.backends.debugging import aot_eager

    def compile_(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        seen.extend(str(n.target) for n in graph.graph.nodes if n.op == "call_function")
        return aot_eager(graph, inputs)

    return compile_


@pytest.mark.parametrize("name", CALLS)
def test_one_graph_for_every_length(name: str, path: str) -> None:
    """fullgraph: nothing falls out; dynamic: the second length compiles nothing."""
    make, operator = CALLS[name]
    call, seen = make(), []
    compiled = torch.compile(call, backend=recorder(seen), fullgraph=True, dynamic=True)
    for L in (90, 131):
        u = random(B, H, L, seed=L)
        torch.testing.assert_close(compiled(u), call(u), rtol=0, atol=0)
    assert sum(f"genomeconv.{operator}.default" in t for t in seen) == 1


@pytest.mark.parametrize("operation", ["long", "short", "sparse"])
def test_gradients_of_a_compiled_call_are_those_of_the_call(
    operation: str, path: str
) -> None:
    calls = {
        "long": lambda u, k: fft_conv(u, k, u, u),
        "short": lambda u, k: short_conv(u, k[:, :4]),
        "sparse": lambda u, k: sparse_fft_conv(u, k, MASK, u, u),
    }
    call = calls[operation]
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    given = [random(B, H, 90), TAPS.clone()]
    found = []
    for run in (compiled, call):
        leaves = [t.clone().requires_grad_() for t in given]
        y = run(*leaves)
        found.append([y.detach(), *torch.autograd.grad(y.square().sum(), leaves)])
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_synthesis_in_one_graph(implicit_weights, path: str) -> None:
    weights, deltas = implicit_weights(H, 4, 5)
    call = torch.compile(
        lambda *w: implicit_taps(ImplicitWeights(*w), deltas, 50, l_max=60, shift=0.1),
        backend="aot_eager", fullgraph=True,
    )  # fmt: skip
    wanted = implicit_taps(weights, deltas, 50, l_max=60, shift=0.1)
    assert torch.equal(call(*weights), wanted)


# torch's own check looks at .grad of tensors that have none.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("circular", [False, True])
def test_the_sparse_operator_keeps_the_rules_of_torch(circular: bool) -> None:
    L = 512 if circular else 300
    u, pre, post = (random(1, 2, L, seed=i).double().requires_grad_() for i in range(3))
    k = random(2, 9).double().requires_grad_()
    how = 512, [True, False], 3, circular
    torch.library.opcheck(
        torch.ops.genomeconv.sparse_fft_conv.default, (u, k, pre, post, *how),
        atol=1e-10, rtol=1e-10,
    )  # fmt: skip
    given = [t.detach() for t in (u, u, k, pre, post)]
    torch.library.opcheck(
        torch.ops.genomeconv.sparse_fft_conv_backward.default,
        (*given, *how, [True, False, True, True]),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operators_of_prepared_filters_keep_the_rules_of_torch(
    dtype: torch.dtype, path: str
) -> None:
    k = prepare_filter(TAPS, length=100, batch=B, dtype=dtype)
    filter_, plan = written(k)
    u = random(B, H, 100).to(dtype)
    torch.library.opcheck(
        torch.ops.genomeconv.prepared_conv.default, (u, u, u, STATE, filter_, plan)
    )
    z, past = random(B, 3 * H, 100).to(dtype), random(B, 3 * H, T - 1)
    torch.library.opcheck(
        torch.ops.genomeconv.mixer_conv.default,
        (z, WIDE, WIDE_BIAS, past, STATE, filter_, plan),
    )
