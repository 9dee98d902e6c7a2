"""Which path a call takes, and what is said when Triton cannot run."""

from __future__ import annotations

import importlib.util
import warnings

import pytest
import torch

from genomeconv_kernels import backend

GPU = torch.device("cuda", 0)


class OnGpu:
    """Stands for a tensor on a GPU that this machine has not."""

    dtype = torch.float32
    device = GPU


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    """Not the interpreter; nothing remembered of other tests."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    remembered = backend.why_not, backend._warn
    for one in remembered:
        one.cache_clear()
    yield
    for one in remembered:
        one.cache_clear()


@pytest.fixture
def capability(monkeypatch):
    def set_to(*version: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: version)

    set_to(9, 0)
    return set_to


@pytest.fixture
def self_test(monkeypatch):
    def put(result):
        def run(device):
            if isinstance(result, Exception):
                raise result
            return result

        from genomeconv_kernels.fftconv.gpu import run as module

        monkeypatch.setattr(module, "self_test", run)

    put(None)
    return put


def test_a_cpu_is_torchs():
    assert backend.path(torch.ones(1)) == "torch"


def test_a_gpu_that_passes_the_self_test_is_tritons(capability, self_test):
    assert backend.path(OnGpu()) == "triton"


def test_float64_is_torchs(capability, self_test):
    wide = OnGpu()
    wide.dtype = torch.float64
    assert backend.path(wide) == "torch"


def test_an_old_gpu(capability, self_test):
    capability(7, 5)
    assert backend.why_not(GPU) == (
        "its compute capability is 7.5, at least 8.0 is needed"
    )


def test_an_amd_gpu_has_other_numbers(capability, self_test, monkeypatch):
    capability(7, 5)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert backend.why_not(GPU) is None


def test_triton_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert backend.why_not(GPU) == "triton is not installed"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (
            PermissionError(13, "Permission denied", "/cache"),
            "the first kernel did not run ([Errno 13] Permission denied: '/cache')",
        ),
        (
            RuntimeError("ptxas failed\nwith details"),
            "the first kernel did not run (ptxas failed)",
        ),
        (AssertionError(), "the first kernel did not run (AssertionError)"),
        ("its self-test is off by 1.0e+00", "its self-test is off by 1.0e+00"),
    ],
    ids=["cache folder", "compiler", "silent", "wrong numbers"],
)
def test_a_first_kernel_that_fails(result, reason, capability, self_test):
    self_test(result)
    assert backend.why_not(GPU) == reason


def test_torch_is_taken_with_one_warning(capability, self_test):
    self_test("its self-test is off by 1.0e+00")
    with pytest.warns(RuntimeWarning) as caught:
        paths = [backend.path(OnGpu()) for _ in range(3)]
    assert paths == ["torch"] * 3
    assert [str(w.message) for w in caught] == [
        "convolutions on cuda:0 run through torch, slower: its self-test is off by "
        "1.0e+00"
    ]


def test_by_force_it_is_an_error(capability, self_test):
    self_test("its self-test is off by 1.0e+00")
    with backend.forced("triton"), pytest.raises(RuntimeError) as caught:
        backend.path(OnGpu())
    assert str(caught.value) == (
        "the Triton kernels cannot run on cuda:0: its self-test is off by 1.0e+00"
    )


def test_torch_by_force_asks_nobody(monkeypatch):
    monkeypatch.setattr(backend, "why_not", None)
    with backend.forced("torch"), warnings.catch_warnings():
        assert backend.path(OnGpu()) == "torch"


def test_a_choice_is_undone_after_an_error():
    with pytest.raises(ZeroDivisionError), backend.forced("torch"):
        raise ZeroDivisionError
    with backend.forced("torch"), backend.forced("auto"):
        assert backend._choice == "auto"
    assert backend._choice == "auto"


def test_unknown_choice():
    with pytest.raises(ValueError, match="one of 'auto', 'triton', 'torch', got 'x'"):
        backend.select("x")
