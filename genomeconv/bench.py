"""Speed of the convolution and of whole models on this machine, beside the field's.

Every row is measured against its baseline in one run, by turns, so that ratios hold
on a busy machine too. Model rows run in processes of their own, whose peak memory is
that of the model alone.
"""

from __future__ import annotations

import collections
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genomeconv.config import ImplicitFilter, ModelConfig
from genomeconv.model import build_model
from genomeconv.peak import peak_bytes
from genomeconv.reference import HyenaDNAReference
from genomeconv.stream import TrunkStream
from genomeconv_kernels import fft_conv, plan_conv, prepare_filter
from genomeconv_kernels.fftconv.gpu import roofline
from genomeconv_kernels.fftconv.gpu.limits import DATA_CENTRE
from genomeconv_kernels.fftconv.gpu.plan import plan_gpu

Row = dict[str, Any]

_CHANNELS = 16
_SECONDS = 3.0
"""Time given to one measurement, beyond the first few rounds."""
_MILLION = 1_000_000
"""Length of HyenaDNA's longest model; its filter has two taps more."""


def convolution_rows(
    *, quick: bool = False, threads: int | None = None
) -> Iterator[Row]:
    """Measure the long convolution beside one full-length transform (torch.fft.rfft).

    Both include the transform of the filter; ours writes into memory that is there.
    ``prepared`` is the time without the filter's, as the streaming engine runs. The
    floor reads the input and writes the output once.

    Parameters
    ----------
    quick : bool
        131 kb instead of 1 Mb.
    threads : int, optional
        CPU threads; None: torch's own number.
    """
    _set_threads(threads)
    length = 1 << (17 if quick else 20)
    u = torch.randn(1, _CHANNELS, length)
    out = torch.empty_like(u)
    for taps in (4, 128, 1024, 4096, 16_384, 65_536, length):
        k = torch.randn(_CHANNELS, taps) / taps**0.5
        ready = prepare_filter(k, length=length)
        ours, full, prepared, floor = _by_turns(
            partial(fft_conv, u, k, out=out),
            partial(full_length_convolution, u, k),
            partial(fft_conv, u, ready, out=out),
            partial(out.copy_, u),
        )
        yield {
            "channels": _CHANNELS,
            "length": length,
            "taps": taps,
            "method": plan_conv(1, _CHANNELS, length, taps).method,
            "ms": 1e3 * ours,
            "ms prepared": 1e3 * prepared,
            "ms torch.fft": 1e3 * full,
            "speed-up": full / ours,
            "floors": prepared / floor,
            "ns per element": 1e9 * prepared / u.numel(),
        }


PLANNED_LENGTHS = tuple(1 << n for n in (8, 10, 12, 14, 16, 18, 20, 22))
PLANNED_TAPS = (4, 128, 1024, 4096, 16_384, 65_536)


def plan_rows(
    *,
    lengths: Sequence[int] = PLANNED_LENGTHS,
    taps: Sequence[int] | None = None,
    channels: int = 256,
    dtype: str = "bfloat16",
) -> Iterator[Row]:
    """Say how gated convolutions run on an H200, and their least times; needs no GPU.

    Bytes are an output's with both gates, FLOP those of its matrix products, filter
    prepared. The floors are what a forward and a backward pass cannot be faster than.

    Parameters
    ----------
    lengths, taps : Sequence[int]
        What to plan; taps None: a few numbers up to the length, and the length.
    channels : int
        Channels of one sequence.
    dtype : str
        "float32", "float16" or "bfloat16".
    """
    kind = getattr(torch, dtype)
    for length in lengths:
        few = [k for k in PLANNED_TAPS if k < length]
        for k in [*few, length] if taps is None else taps:
            plan = plan_gpu(1, channels, length, k, kind, limits=DATA_CENTRE)
            shape = roofline.Shape(1, channels, length, kind.itemsize)
            work = roofline.forward(plan, shape, pre=True, post=True)
            floor = roofline.floor(work, plan)
            back = roofline.backward(plan, shape, pre=True, post=True)
            yield {
                "length": length,
                "taps": k,
                "method": plan.method,
                "points": plan.fft_size,
                "factors": " x ".join(map(str, plan.factors)) or None,
                "outer": plan.outer,
                "parts": plan.parts,
                "block": plan.block,
                "B per element": work.bytes / shape.elements,
                "FLOP per element": work.flops / shape.elements,
                "floor ms": 1e3 * floor.seconds,
                "bound": floor.bound,
                "backward floor ms": 1e3 * roofline.floor(back, plan).seconds,
            }


def full_length_convolution(u: Tensor, k: Tensor) -> Tensor:
    """Convolve as most published code does: one real transform of 2 L points."""
    points = 2 * u.shape[-1]
    spectrum = torch.fft.rfft(u, n=points) * torch.fft.rfft(k, n=points)
    y: Tensor = torch.fft.irfft(spectrum, n=points)
    return y[..., : u.shape[-1]]


def model_rows(*, quick: bool = False, threads: int | None = None) -> Iterator[Row]:
    """Measure whole forwards beside bare products and the published forward.

    ``products`` is the time of the model's matrix products alone, in the same type;
    ``reference`` the published HyenaDNA forward at that length (full-length
    transforms, float32). Peak memory is of a whole process, in MB.
    """
    shapes = [(128, 2, 4096, 1 << 17, "float32"), (128, 2, 4096, 1 << 17, "bfloat16")]
    if not quick:
        shapes += [
            (128, 2, 4096, _MILLION, "float32"),
            (128, 2, _MILLION + 2, _MILLION, "float32"),
            (256, 8, 4096, 1 << 17, "float32"),
            (256, 8, 4096, 1 << 17, "bfloat16"),
        ]
    for width, layers, taps, length, precision in shapes:
        ours = _apart(_measure_engine, width, layers, taps, length, precision, threads)
        theirs = _apart(_measure_reference, width, layers, length, threads)
        yield {
            "model": f"{width} x {layers}",
            "taps": taps,
            "length": length,
            "precision": precision,
            "bases/s": ours["rate"],
            "products bases/s": ours["products"],
            "x products": ours["ratio"],
            "error": ours["error"],
            "reference bases/s": theirs["rate"],
            "speed-up": ours["rate"] / theirs["rate"],
            "peak MB": ours["peak"],
            "reference peak MB": theirs["peak"],
        }


def _measure_engine(
    width: int, layers: int, taps: int, length: int, precision: str, threads: int | None
) -> Row:
    _set_threads(threads)
    config = ModelConfig(
        width=width, layers=layers, filters=(ImplicitFilter(taps=taps),)
    )
    trunk = build_model(config, seed=0).trunk
    dtype = getattr(torch, precision)
    engine = TrunkStream(trunk, precision=dtype)
    products = _products(engine, dtype)
    codes = np.random.default_rng(0).integers(0, 4, length, dtype=np.uint8)
    tile, times, bare = engine.plan.tile, [], []
    if length > 2 * tile:
        run = engine.run(lambda a, b: codes[a:b], length)
        next(run)  # lays out weights and spectra
        for _ in range(length // tile - 1):
            times.append(_time(lambda: next(run)))
            bare.append(_time(products) * tile / engine.plan.rows)
        positions = tile
    else:
        engine.run_together([codes[:64]])
        for _ in range(2):
            run = engine.run(lambda a, b: codes[a:b], length)
            times.append(_time(partial(collections.deque, run, maxlen=0)))
            once = statistics.median(_time(products) for _ in range(20))
            bare.append(once * length / engine.plan.rows)
        positions = length
    peak = peak_bytes() // 1_000_000
    return {
        "rate": positions / statistics.median(times),
        "products": positions / statistics.median(bare),
        "ratio": statistics.median(a / b for a, b in zip(times, bare, strict=True)),
        "error": _error(trunk, engine, codes[: 1 << 13]),
        "peak": peak,
    }


def _products(engine: TrunkStream, dtype: torch.dtype) -> Callable[[], None]:
    """Return a function that runs the trunk's matrix products on one lot of rows."""
    rows, width = engine.plan.rows, engine.width
    inner = engine.trunk.config.expand * width
    sizes = ((3 * width, width), (width, width), (inner, width), (width, inner))
    weights = [torch.randn(o, i, dtype=dtype) for o, i in sizes]
    inputs = {i: torch.randn(rows, i, dtype=dtype) for _, i in sizes}
    outputs = [torch.empty(rows, o, dtype=dtype) for o, _ in sizes]

    def run() -> None:
        for _ in range(engine.depth):
            for weight, out in zip(weights, outputs, strict=True):
                torch.mm(inputs[weight.shape[1]], weight.T, out=out)

    with torch.no_grad():
        run()
    return run


def _error(trunk: torch.nn.Module, engine: TrunkStream, codes: Any) -> float:
    """Return the relative error of the engine against the forward in float64."""
    parts = engine.run(lambda a, b: codes[a:b], len(codes))
    got = torch.cat([x.clone() for _, x in parts])
    with torch.no_grad():
        wanted = trunk.double()(torch.from_numpy(codes)[None].long())[0]
    return float((got - wanted).norm() / wanted.norm())


def _measure_reference(
    width: int, layers: int, length: int, threads: int | None
) -> Row:
    _set_threads(threads)
    model = HyenaDNAReference(width=width, layers=layers, l_max=length + 2)
    tokens = torch.randint(7, 11, (1, length))
    times = []
    with torch.no_grad():
        model.backbone(tokens[:, :1024])
        for _ in range(1 if length > 1 << 18 else 2):
            times.append(_time(lambda: model.backbone(tokens)))
    return {"rate": length / min(times), "peak": peak_bytes() // 1_000_000}


def _by_turns(*calls: Callable[[], object]) -> list[float]:
    """Return the median seconds of each call, measured one after the other."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    begun = time.perf_counter()
    while len(times[0]) < 3 or time.perf_counter() - begun < _SECONDS:
        for call, seconds in zip(calls, times, strict=True):
            seconds.append(_time(call))
    return [statistics.median(seconds) for seconds in times]


def _time(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _apart(measure: Callable[..., Row], *arguments: Any) -> Row:
    """Call a function in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(measure, arguments)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
