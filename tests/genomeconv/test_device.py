"""Where a job runs, and what is said when it cannot."""

from __future__ import annotations

import pytest
import torch

from genomeconv.config import ImplicitFilter, ModelConfig
from genomeconv.device import device_errors, fit_tile, kernels, resolve_device
from genomeconv.errors import DeviceError
from genomeconv.stream import TilePlan
from genomeconv_kernels import backend

CONFIG = ModelConfig(width=8, layers=2, filters=(ImplicitFilter(taps=64),))
CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Notes(list):
    def __call__(self, level: str, text: str) -> None:
        self.append((level, text))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Model T")


def test_auto_takes_what_is_there(no_gpu, monkeypatch):
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == GPU


def test_a_gpu_that_is_not_there(no_gpu):
    with pytest.raises(DeviceError) as caught:
        resolve_device("cuda:1")
    assert str(caught.value) == (
        "--device cuda:1: this machine has no CUDA devices; use --device cpu or auto"
    )


@pytest.mark.parametrize("choice", ["auto", "torch"])
def test_on_a_cpu_convolutions_are_torch(choice):
    notes = Notes()
    with kernels(choice, CPU, notes) as path:
        assert path == "torch"
        assert backend.path(torch.ones(1)) == "torch"
    assert notes == []


def test_a_gpu_that_cannot_run_them(monkeypatch):
    monkeypatch.setattr(backend, "why_not", lambda device: "triton is not installed")
    notes = Notes()
    with kernels("auto", GPU, notes) as path:
        assert path == "torch (triton is not installed)"
        assert backend.path(torch.ones(1)) == "torch"
    assert notes == [
        ("warning", "convolutions run through torch, slower: triton is not installed")
    ]
    with (
        pytest.raises(DeviceError) as caught,
        kernels("triton", GPU, notes),
    ):
        pass
    assert str(caught.value) == (
        "--kernels triton: they cannot run on cuda: triton is not installed; use "
        "--kernels auto"
    )


def test_the_choice_ends_with_the_job(monkeypatch):
    monkeypatch.setattr(backend, "why_not", lambda device: None)
    with kernels("auto", GPU, Notes()) as path:
        assert path == "triton"
        assert backend.path(torch.ones(1)) == "triton"
    assert backend.path(torch.ones(1)) == "torch"


class Engine:
    """Fits a memory of so many positions."""

    def __init__(self, plan: TilePlan, room: int) -> None:
        self.plan, self.room = plan, room

    def memory(self) -> int:
        return 1000 * self.plan.tile

    def rehearse(self) -> None:
        if self.plan.tile > self.room:
            raise torch.cuda.OutOfMemoryError


def test_the_tile_is_halved_until_it_fits(named):
    notes = Notes()
    engine = fit_tile(CONFIG, None, GPU, lambda plan: Engine(plan, 1 << 21), notes)
    assert engine.plan.tile == 1 << 21
    assert notes == [
        (
            "warning",
            "tiles of 2,097,152 bases; longer ones do not fit the GPU's memory",
        )
    ]


def test_a_tile_that_fits_is_not_spoken_of(named):
    notes = Notes()
    fit_tile(CONFIG, None, GPU, lambda plan: Engine(plan, 1 << 30), notes)
    assert notes == []


def test_nothing_fits(named):
    with pytest.raises(DeviceError) as caught:
        fit_tile(CONFIG, None, GPU, lambda plan: Engine(plan, 0), Notes())
    assert str(caught.value) == (
        "cuda (Model T): even a tile of 262,144 bases, about 262,144,000 bytes, does "
        "not fit its memory; use --device cpu"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory"),
            "cuda (Model T) ran out of memory, which another job may hold: what was "
            "committed is kept; run the same command again",
        ),
        (
            RuntimeError("CUDA error: uncorrectable ECC error encountered\nmore"),
            "cuda failed (CUDA error: uncorrectable ECC error encountered): what was "
            "committed is kept; run the same command again",
        ),
    ],
    ids=["memory", "ecc"],
)
def test_what_a_gpu_can_do_to_a_run(error, message, named):
    with pytest.raises(DeviceError) as caught, device_errors(GPU):
        raise error
    assert str(caught.value) == message


def test_bugs_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"), device_errors(CPU):
        raise RuntimeError("shapes differ")
