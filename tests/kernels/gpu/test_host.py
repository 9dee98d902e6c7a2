"""What the host does around launches: it never waits for the device.

Carried out on tensors without data, where whatever reads a value raises, and watched
for tensors made on the host: what a CUDA graph cannot capture. Tables are made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genomeconv_kernels import (
    FrequencyMask,
    ImplicitWeights,
    MixerPast,
    backend,
    prepare_filter,
)
from genomeconv_kernels import mixer as mixer_module
from genomeconv_kernels.fftconv import sparse_op
from genomeconv_kernels.fftconv.gpu import run
from genomeconv_kernels.fftconv.gpu.plan import METHODS
from genomeconv_kernels.fftconv.sparse import Windows
from genomeconv_kernels.implicit import gpu as implicit
from genomeconv_kernels.launch import record_launches
from genomeconv_kernels.shortconv import gpu as shortconv

B, H, L = 2, 3, 20_000
TAPS = {"short": 4, "toeplitz": 90, "overlap_save": 900, "partitioned": 9000, "long": 9}
TAPS["long"] = 15_000


class OnHost(TorchDispatchMode):
    """Notes every operator that leaves a tensor on the host or copies between both."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        found = result if isinstance(result, (tuple, list)) else [result]
        given = [a for a in args if isinstance(a, Tensor)]
        if any(
            t.device.type == "cpu" for t in (*found, *given) if isinstance(t, Tensor)
        ):
            self.seen.append(str(func))
        return result


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.fixture(autouse=True)
def _triton() -> Iterator[None]:
    with backend.forced("triton"):
        yield


def forward(method: str) -> None:
    u = empty(B, H, L, dtype=torch.bfloat16)
    K = TAPS[method]
    state = empty(B, H, K - 1) if K > 1 else None
    run.fft_conv(u, empty(H, K), u, u, empty(H), state, 0, method, torch.empty_like(u))


def backward(method: str) -> None:
    u, K = empty(B, H, L, dtype=torch.bfloat16), TAPS[method]
    k, skip, state = empty(H, K), empty(H), empty(B, H, K - 1)
    given = (u, k, u, u, skip, state)
    grads = [torch.empty_like(t) for t in given]
    run.fft_conv_backward(u, *given, 0, method, [True] * 6, grads)


def prepared_mixer(method: str) -> None:
    z, K = empty(B, 3 * H, L, dtype=torch.bfloat16), TAPS[method]
    how = {"length": L, "batch": B, "dtype": z.dtype, "method": method}
    k = prepare_filter(empty(H, K), **how)
    past = MixerPast(empty(B, 3 * H, 2), empty(B, H, K - 1))
    out = empty(B, H, L, dtype=z.dtype)
    mixer_module._write(z, empty(3 * H, 3), empty(3 * H), k, past, out)


def sparse() -> None:
    mask = FrequencyMask.low_pass(1024, 1)
    u = empty(B, H, L, dtype=torch.bfloat16)
    where = Windows.of(mask, 100, 0)
    sparse_op._write(where, u, empty(H, 100), u, u, torch.empty_like(u))


def short() -> None:
    u, w = empty(B, H, L), empty(H, 3)
    for z in (u, empty(B, L, H).mT):
        shortconv.convolve(z, w, empty(H), empty(B, H, 2), torch.empty_like(z))
        shortconv.input_grad(z, w, torch.empty_like(z))
        shortconv.state_grad(z, w, empty(B, H, 2))
        shortconv.weight_grad(z, z, empty(B, H, 2), 3)


def synthesis() -> None:
    W, E = 64, 5
    shapes = ((1, W), (W, E), (W,), (W, W), (W,), (W, W), (W,), (H, W))
    weights = ImplicitWeights(*(empty(*shape) for shape in shapes))
    implicit.taps(weights, empty(H), 1 << 20, 1 << 20, 0.0)


CALLS: dict[str, Callable[[], None]] = {
    f"{call.__name__} {method}": (lambda call=call, method=method: call(method))
    for call in (forward, backward, prepared_mixer)
    for method in METHODS
} | {call.__name__: call for call in (sparse, short, synthesis)}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_read_back_and_nothing_made_on_the_host(name: str) -> None:
    with record_launches() as launches:
        CALLS[name]()  # the tables are made here
        before = len(launches)
        with OnHost() as host, pytest.MonkeyPatch.context() as patch:
            for values in ("tensor", "as_tensor", "from_numpy"):
                patch.delattr(torch, values)  # these the operators do not show
            CALLS[name]()
    assert before > 0
    assert len(launches) == 2 * before
    assert host.seen == []
    assert {
        t.device.type
        for launch in launches
        for t in launch.arguments
        if isinstance(t, Tensor)
    } == {"meta"}


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operator makes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for t in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(t, Tensor) and t._base is None:
                self.bytes = max(self.bytes, t.numel() * t.itemsize)
        return result


@pytest.mark.parametrize(
    ("method", "K"),
    [
        ("short", 4), ("toeplitz", 300), ("overlap_save", 1024), ("overlap_save", 4096),
        ("partitioned", 20_000), ("long", 20_000), ("long", 1 << 22),
    ],
)  # fmt: skip
def test_backward_of_four_million_positions_stays_within_its_workspace(
    method: str, K: int
) -> None:
    """No tensor of all windows' spectra: most is a gradient, or a bounded room."""
    H, L = 64, 1 << 22
    u = empty(1, H, L, dtype=torch.bfloat16)
    k, skip, state = empty(H, K), empty(H), empty(1, H, K - 1)
    given = (u, k, u, u, skip, state)
    with record_launches() as launches, Largest() as largest:
        grads = [torch.empty_like(t) for t in given]
        run.fft_conv_backward(u, *given, 0, method, [True] * 6, grads)
    assert launches
    spectra = 4 * H * L  # one float16 complex number a position
    largest_gradient = max(t.numel() * t.itemsize for t in given)
    assert largest_gradient <= largest.bytes
    assert largest.bytes <= max(1.01 * largest_gradient, 256 << 20)
    assert method != "overlap_save" or largest.bytes < spectra


def test_synthesis_of_a_million_taps_stores_the_taps_alone() -> None:
    W, E = 64, 5
    shapes = ((1, W), (W, E), (W,), (W, W), (W,), (W, W), (W,), (H, W))
    weights = ImplicitWeights(*(empty(*shape) for shape in shapes))
    with record_launches(), Largest() as largest:
        implicit.taps(weights, empty(H), 1 << 20, 1 << 20, 0.0)
    assert largest.bytes == 4 * H << 20


@pytest.mark.parametrize(
    "read",
    [
        lambda t: t.item(),
        lambda t: bool(t > 0),
        lambda t: t.tolist(),
        lambda t: t.nonzero(),
    ],
    ids=["item", "bool", "tolist", "nonzero"],
)
def test_a_value_that_is_read_would_be_noticed(read: Callable[[Tensor], Any]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(empty())


def test_a_copy_from_the_host_would_be_noticed() -> None:
    with OnHost() as host:
        torch.arange(3).to("meta")
    assert host.seen == ["aten.arange.default", "aten._to_copy.default"]
