"""Gradients of the long convolution, and the operator as torch sees it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import genomeconv_kernels  # noqa: F401 (registers the operators)
from genomeconv_kernels import fft_conv, fft_conv_reference
from genomeconv_kernels.fftconv.plan import METHODS

NAMES = ("u", "k", "pre", "post", "skip", "state")
CASES = {
    "longer than the filter": (2, 3, 70, 33, 0),
    "shorter than the filter": (1, 2, 9, 40, 0),
    "one position": (2, 1, 1, 5, 0),
    "one tap": (1, 2, 17, 1, 0),
    "prime": (1, 2, 61, 64, 0),
    "two-sided": (2, 2, 50, 21, 10),
    "two-sided, shorter than the filter": (1, 2, 7, 30, 20),
    "all in the future": (1, 1, 40, 12, 11),
}


def inputs(B: int, H: int, L: int, K: int, right: int) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(B + H + L + K)
    shapes = [(B, H, L), (H, K), (B, H, L), (B, H, L), (H,), (B, H, K - 1)]
    tensors: list[Tensor | None] = [
        torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True)
        for s in shapes
    ]
    if right:
        tensors[5] = None
    return tensors


def check(tensors: list[Tensor | None], right: int, method: str) -> None:
    given = [t for t in tensors if t is not None]
    y = fft_conv(*tensors, right=right, method=method)
    weight = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    got = torch.autograd.grad(y, given, weight)
    reference = fft_conv_reference(*tensors, right=right)
    expected = torch.autograd.grad(reference, given, weight, materialize_grads=True)
    for name, a, b in zip(NAMES, got, expected, strict=False):
        assert a.shape == b.shape, name
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize(
    ("method", "K"), [("direct", 9), ("overlap_save", 100), ("partitioned", 300)]
)
@pytest.mark.parametrize("right", [0, 5])
def test_many_rounds(method, K, right):
    check(inputs(3, 5, 700, K, right), right, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_reference(case, method):
    check(inputs(*CASES[case]), CASES[case][-1], method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "right"), [*((n, 0) for n in NAMES), *((n, 3) for n in NAMES[:-1])]
)
def test_gradcheck(name, right, method):
    tensors = inputs(2, 2, 11, 7, right)
    place = NAMES.index(name)

    def function(value: Tensor) -> Tensor:
        own = [t if t is None else t.detach() for t in tensors]
        own[place] = value
        return fft_conv(*own, right=right, method=method)

    assert torch.autograd.gradcheck(function, (tensors[place],))


def test_the_returned_state_carries_gradients():
    u, k, pre, _, _, state = inputs(1, 2, 5, 9, 0)
    _, last = fft_conv(u, k, pre=pre, state=state, return_state=True)
    x = torch.cat([state, u * pre], -1)[..., -8:]
    weight = torch.randn(last.shape, dtype=last.dtype)
    got = torch.autograd.grad(last, (u, pre, state), weight)
    expected = torch.autograd.grad(x, (u, pre, state), weight)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("L", "K", "method"), [(3001, 900, "overlap_save"), (3001, 2900, "partitioned")]
)
def test_float32_gradients_are_close_to_float64(L, K, method, error):
    generator = torch.Generator().manual_seed(1)
    u, g = torch.randn(2, 2, 2, L, generator=generator)
    k = torch.randn(2, K, generator=generator)
    grads = []
    for dtype in (torch.float32, torch.float64):
        own = [t.to(dtype).requires_grad_() for t in (u, k)]
        y = fft_conv(*own, method=method)
        grads.append(torch.autograd.grad(y, own, g.to(dtype)))
    for single, double in zip(*grads, strict=True):
        assert error(single, double) <= 1e-6


def test_half_precision_gradients_keep_their_dtype():
    u, k = torch.randn(1, 2, 50).bfloat16(), torch.randn(2, 9)
    u.requires_grad_()
    k.requires_grad_()
    fft_conv(u, k).sum().backward()
    assert (u.grad.dtype, k.grad.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("right", [0, 4])
def test_the_operator_keeps_the_rules_of_torch(right, method):
    tensors = inputs(1, 2, 9, 6, right)
    torch.library.opcheck(
        torch.ops.genomeconv.fft_conv.default,
        (*tensors, right, method),
        atol=1e-10, rtol=1e-10,
    )  # fmt: skip
    own = [None if t is None else t.detach() for t in tensors]
    needs = [t is not None for t in own]
    torch.library.opcheck(
        torch.ops.genomeconv.fft_conv_backward.default,
        (torch.randn_like(own[0]), *own, right, method, needs),
    )


def test_a_compiler_sees_one_operator():
    seen = []

    def backend(module, example):
        seen.extend(str(n.target) for n in module.graph.nodes if n.op != "placeholder")
        return module.forward

    u, k = torch.randn(1, 2, 30), torch.randn(2, 7)
    compiled = torch.compile(
        lambda u, k: fft_conv(u, k, pre=u), backend=backend, fullgraph=True
    )
    assert torch.equal(compiled(u, k), fft_conv(u, k, pre=u))
    assert sum("genomeconv.fft_conv" in target for target in seen) == 1
    torch.compiler.reset()
