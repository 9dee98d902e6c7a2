"""Plans for a GPU: pure, complete, within the device's limits."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv_kernels.fftconv.gpu import limits as limits_module
from genomeconv_kernels.fftconv.gpu.limits import (
    AMD,
    CONSUMER,
    DATA_CENTRE,
    METHODS,
    TABLE,
    VARIABLE,
    CrossOvers,
    Limits,
    Reach,
    crossovers_in_force,
)
from genomeconv_kernels.fftconv.gpu.plan import MAX_LENGTH, GpuPlan, plan_gpu
from genomeconv_kernels.fftconv.gpu.shapes import packed
from genomeconv_kernels.fftconv.gpu.tiles import TILES

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
PREDICTED = CrossOvers.read(TABLE)


def written(plan: GpuPlan, L: int) -> np.ndarray:
    """How often each output is written, as blocks of V positions from 0 on say."""
    counts = np.zeros(L, dtype=int)
    for block in range(math.ceil(L / plan.block)):
        counts[block * plan.block : (block + 1) * plan.block] += 1
    return counts


def reach(plan: GpuPlan) -> tuple[int, int, int]:
    """(points a window spans, taps it meets, taps ahead): all it may wrap around."""
    if plan.method == "overlap_save":
        return 2 * plan.inner, plan.taps, plan.right
    part = math.ceil(plan.taps / plan.parts)
    return 2 * plan.fft_size, part, plan.right


@settings(max_examples=400, derandomize=True)
@given(
    st.integers(1, 64), st.integers(1, 1024),
    st.integers(1, 40_000) | st.integers(1, 1 << 22) | st.just(MAX_LENGTH),
    st.integers(1, 300) | st.integers(1, 1 << 22),
    st.sampled_from(DTYPES), st.booleans(), st.sampled_from([None, *METHODS]),
    st.sampled_from([DATA_CENTRE, CONSUMER, AMD]), st.data(),
)  # fmt: skip
def test_every_plan_can_be_carried_out(
    B, H, L, K, dtype, history, method, limits, data
):
    right = 0 if history else data.draw(st.integers(0, K - 1))
    how = {"right": right, "history": history, "method": method, "limits": limits}
    try:
        plan = plan_gpu(B, H, L, K, dtype, **how)
    except ValueError as error:
        refusal = str(error)
        plan = None
    if plan is None:
        assert method in ("short", "toeplitz", "overlap_save")
        form = r"plan_gpu: method must be one for [\d,]+ taps \(.+\), got '\w+'"
        assert re.fullmatch(form, refusal)
        return
    assert method in (None, plan.method)
    assert plan == plan_gpu(B, H, L, K, dtype, **how)
    assert 0 <= plan.first_tap <= right < plan.first_tap + plan.taps <= K
    assert plan.right == right - plan.first_tap
    if history:
        assert plan.taps == K
    else:  # the taps left out meet no position of the signal
        assert plan.first_tap in (0, right - (L - 1))
        assert plan.first_tap + plan.taps in (K, L + right)
    assert plan.operand == ("float32" if dtype == torch.float32 else "float16")
    assert plan.precision == ("tf32x3" if ieee_is_slow(plan, limits) else "ieee")
    assert plan.block >= 1
    assert plan.warps in (1, 2, 4, 8)
    if L <= 40_000:
        assert (written(plan, L) == 1).all()
    if plan.method in ("short", "toeplitz"):
        assert plan.fft_size == 0
        assert plan.block & (plan.block - 1) == 0
        return
    assert plan.halo % 16 == plan.block % 16 == 0 or plan.method == "partitioned"
    assert all(n & (n - 1) == 0 and n >= 16 for n in plan.factors)
    assert plan.parts >= 1


def ieee_is_slow(plan: GpuPlan, limits: Limits) -> bool:
    return plan.operand == "float32" and limits is not AMD


@settings(max_examples=400, derandomize=True)
@given(
    st.integers(1, 1 << 21), st.integers(1, 9000), st.sampled_from(DTYPES), st.data()
)
def test_no_output_of_a_window_is_wrapped(L, K, dtype, data):
    """Circular convolution is right from taps - 1 on and up to the window's end."""
    right = data.draw(st.integers(0, K - 1))
    method = data.draw(st.sampled_from(["overlap_save", "long"]))
    try:
        plan = plan_gpu(
            2, 3, L, K, dtype, right=right, method=method, limits=DATA_CENTRE
        )
    except ValueError:
        assert method == "overlap_save"
        return
    points, taps, ahead = reach(plan)
    first = plan.halo + ahead
    assert first >= taps - 1
    assert first + plan.block <= points


@settings(max_examples=200, derandomize=True)
@given(st.integers(1, 1 << 22), st.integers(0, 1 << 20), st.sampled_from(DTYPES))
def test_parts_of_a_partitioned_filter_meet_its_windows(K, right, dtype):
    right = min(right, K - 1)
    plan = plan_gpu(
        1, 1, 1 << 22, K, dtype,
        right=right, method="partitioned", limits=DATA_CENTRE,
    )  # fmt: skip
    F = plan.inner
    lead = F - plan.halo - plan.right  # zeros before the first tap
    assert plan.block == F
    assert 0 <= lead < 16
    assert (plan.parts - 1) * F < plan.taps + lead <= plan.parts * F


@pytest.mark.parametrize("limits", [DATA_CENTRE, CONSUMER, AMD], ids=lambda x: x.target)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_number_of_taps_has_a_plan(limits, dtype):
    for K in (1, 8, 9, 200, 257, 1000, 4096, 5000, 40_000, 1 << 20, 1 << 23):
        plan_gpu(1, 256, 1 << 23, K, dtype, limits=limits)
        plan_gpu(1, 256, 1000, K, dtype, limits=limits, history=True)
        plan_gpu(1, 256, 1 << 23, K, dtype, limits=limits, right=K - 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_shared_memory_that_is_not_there_is_not_planned(dtype):
    tiles = TILES["float32" if dtype == torch.float32 else "float16"]
    needs = {(tile.factors, tile.warps): tile.shared for tile in tiles}
    K = tiles[0].points  # a length that many tiles have room for
    chosen = set()
    for shared in sorted(needs.values()):
        limits = Limits(target="sm_75", shared=shared)
        how = {"method": "overlap_save", "limits": limits}
        plan = plan_gpu(1, 4, 1 << 16, K, dtype, **how)
        assert needs[plan.factors, plan.warps] <= shared
        chosen.add(plan.inner)
    assert len(chosen) > 1
    none = Limits(target="sm_75", shared=min(needs.values()) - 1)
    with pytest.raises(ValueError, match=r"within [\d,]+ bytes of shared memory"):
        plan_gpu(1, 4, 9999, K, dtype, method="overlap_save", limits=none)


def test_the_table_of_crossovers_chooses_the_band():
    table = CrossOvers(
        source="a test",
        float16=Reach(short=4, toeplitz=100, overlap_save=1000, partitioned=9000),
        float32=Reach(short=0, toeplitz=0, overlap_save=0, partitioned=0),
    )

    def band(K: int, dtype: torch.dtype) -> str:
        return plan_gpu(
            1, 8, 1 << 20, K, dtype, limits=DATA_CENTRE, crossovers=table
        ).method

    wanted = {
        4: "short", 5: "toeplitz", 100: "toeplitz", 101: "overlap_save",
        1000: "overlap_save", 1001: "partitioned", 9000: "partitioned", 9001: "long",
    }  # fmt: skip
    assert {K: band(K, torch.bfloat16) for K in wanted} == wanted
    assert {band(K, torch.float32) for K in wanted} == {"long"}


def test_a_band_that_cannot_is_passed_over_for_the_next():
    table = replace(
        PREDICTED,
        float16=Reach(short=99, toeplitz=99, overlap_save=10**9, partitioned=10**9),
    )
    for K, method in ((50, "toeplitz"), (100_000, "partitioned")):
        plan = plan_gpu(
            1, 8, 1 << 20, K, torch.float16, limits=DATA_CENTRE, crossovers=table
        )
        assert plan.method == method


@pytest.mark.parametrize(
    ("L", "K", "method"),
    [
        (1 << 20, 400, "toeplitz"),
        (256, 256, "overlap_save"),
        (1 << 20, 9000, "long"),
        (100, 4, "short"),
        (20, 20, "toeplitz"),
    ],
)
def test_a_band_whose_blocks_would_be_empty_is_passed_over(L, K, method):
    plan = plan_gpu(1, 8, L, K, torch.bfloat16, limits=DATA_CENTRE)
    assert plan.method == method


@pytest.mark.parametrize(
    ("B", "L", "K", "method", "rows"),
    [
        (1, 1 << 20, 100, "toeplitz", 128),
        (1, 4096, 100, "toeplitz", 64),  # one batch row fills half a tile
        (64, 256, 100, "toeplitz", 128),  # 32 batch rows in each of two tiles
        (4, 256, 100, "toeplitz", 16),  # four batch rows of four rows
        (2, 1000, 100, "toeplitz", 32),
        (1, 256, 100, "overlap_save", None),  # a quarter of the smallest tile
        (100, 33, 30, "toeplitz", 128),  # 64 positions for 33
        (100, 31, 30, "toeplitz", 128),  # no other band computes less
    ],
)
def test_short_signals_share_a_toeplitz_tile_or_take_a_smaller(B, L, K, method, rows):
    plan = plan_gpu(B, 8, L, K, torch.bfloat16, limits=DATA_CENTRE)
    assert plan.method == method
    if rows is not None:
        assert plan.factors == (rows, 64)
        assert plan.warps == rows // 16


@settings(max_examples=200, derandomize=True)
@given(
    st.integers(1, 5000), st.integers(1, 20_000), st.integers(17, 512),
    st.sampled_from(DTYPES),
)  # fmt: skip
def test_no_plan_for_few_taps_computes_more_than_it_must(B, L, K, dtype):
    """A Toeplitz plan computes at most two positions an output, whatever the batch."""
    plan = plan_gpu(B, 8, L, K, dtype, limits=DATA_CENTRE)
    if plan.method == "toeplitz":
        Q, runs = packed(B, L, *plan.factors)
        assert Q * plan.factors[1] * -(-L // plan.factors[1]) <= plan.block or Q == 1
        others = [
            p.block <= 2 * L
            for p in (
                plan_gpu(B, 8, L, K, dtype, method=m, limits=DATA_CENTRE)
                for m in ("partitioned", "long")
            )
        ]
        wasted = -(-B // Q) * runs * plan.block > 2 * B * L
        assert not (wasted and any(others))


def test_tf32_only_where_it_is_asked_for():
    how = {"limits": DATA_CENTRE, "tf32": True}
    assert plan_gpu(1, 8, 9999, 300, torch.float32, **how).precision == "tf32"
    assert plan_gpu(1, 8, 9999, 300, torch.float16, **how).precision == "ieee"


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"L": 2**30 + 1}, ValueError, "L must be an integer in 1..1073741824"),
        (
            {"L": 2**30, "K": 2**31, "history": True},
            ValueError,
            "K must be an integer in 1",
        ),
        ({"K": 0}, ValueError, "K must be an integer at least 1, got 0"),
        ({"B": True}, TypeError, "B must be an integer at least 1, got True"),
        ({"right": 5}, ValueError, "right must be an integer in 0..4, got 5"),
        ({"dtype": torch.float64}, TypeError, "dtype must be float32, float16 or bfl"),
        ({"method": "fft"}, ValueError, "method must be None or one of short, toep"),
        (
            {"K": 17, "method": "short"},
            ValueError,
            "method must be one for 17 taps (it takes 16 at most), got 'short'",
        ),
    ],
    ids=lambda x: str(x)[:20],
)
def test_what_makes_no_sense_is_refused_by_name(how, error, text):
    call = {
        "B": 1,
        "H": 2,
        "L": 100,
        "K": 5,
        "dtype": torch.float32,
        "limits": DATA_CENTRE,
    }
    with pytest.raises(error, match="^plan_gpu: " + re.escape(text)):
        plan_gpu(**(call | how))


def test_a_plan_is_frozen_and_does_not_depend_on_the_process():
    before = torch.get_num_threads()
    plans = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        plans.append(plan_gpu(2, 64, 5000, 700, torch.float32, limits=DATA_CENTRE))
    torch.set_num_threads(before)
    assert plans[0] == plans[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        plans[0].block = 1


def test_crossovers_come_from_the_file_that_the_environment_names(
    tmp_path, monkeypatch
):
    mine = replace(PREDICTED, source="this machine")
    mine.write(tmp_path / "mine.json")
    assert CrossOvers.read(tmp_path / "mine.json") == mine
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine.json"))
    crossovers_in_force.cache_clear()
    try:
        assert crossovers_in_force().source == "this machine"
    finally:
        crossovers_in_force.cache_clear()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"float16": {"short": 8}}, "missing 3 required keyword-only arg"),
        ({"source": None, "float32": None}, "NoneType"),
        (
            {
                "float16": {
                    "short": 9,
                    "toeplitz": 8,
                    "overlap_save": 9,
                    "partitioned": 9,
                }
            },
            "do not go down from band to band, got [9, 8, 9, 9]",
        ),
        (
            {
                "float16": {
                    "short": 1.5,
                    "toeplitz": 8,
                    "overlap_save": 9,
                    "partitioned": 9,
                }
            },
            "must be whole numbers of taps",
        ),
    ],
    ids=["fields", "null", "order", "fraction"],
)
def test_a_bad_table_is_refused_with_its_name(tmp_path, change, reason):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(json.loads(TABLE.read_text()) | change))
    with pytest.raises(ValueError, match=re.escape(reason)) as refusal:
        CrossOvers.read(path)
    assert str(refusal.value).startswith(f"{path}: not a table of cross-overs (")


def test_limits_of_a_cpu_are_those_the_interpreter_plans_for():
    assert Limits.of(torch.device("cpu")) == DATA_CENTRE


@pytest.mark.parametrize(
    ("hip", "found", "wanted"),
    [
        (None, {"major": 9, "minor": 0, "optin": 232_448}, DATA_CENTRE),
        (None, {"major": 8, "minor": 9, "optin": 101_376}, CONSUMER),
        ("6.2", {"major": 9, "minor": 4, "arch": "gfx942:sramecc+:xnack-"}, AMD),
    ],
    ids=["H200", "consumer", "MI300"],
)
def test_limits_are_read_off_a_device(monkeypatch, hip, found, wanted):
    class Properties:
        major, minor = found["major"], found["minor"]
        shared_memory_per_block_optin = found.get("optin")
        shared_memory_per_block = 64 << 10
        gcnArchName = found.get("arch")  # noqa: N815

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.version, "hip", hip)
    limits_module.Limits.of.cache_clear()
    try:
        assert Limits.of(torch.device("cuda", 0)) == wanted
    finally:
        limits_module.Limits.of.cache_clear()
