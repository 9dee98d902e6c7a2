"""Two runs that should be one and the same, however their work was shared."""

from __future__ import annotations

import pytest
import torch

from genomeconv.train.folder.checkpoints import Checkpoints

SHARD = "compute.shard=true"
ADAMW = "optimiser.kind=adamw"
LOSS = 1e-6
"""Relative: the same sums in another order, in float32, over 8 steps."""
WEIGHTS = {"adamw": 2e-5, "muon": 1e-3}
"""Absolute, after 8 steps of up to 3e-3 and 2e-2: Adam divides rounding by rounding
where a gradient is next to nothing, Muon makes matrices orthogonal in bfloat16."""
EXACT = 1e-12
"""The same in float64."""


def tensors_of(folder, helpers):
    return Checkpoints(folder / "checkpoints", 2, helpers.quiet).newest().tensors


def check_same(one, many, helpers, weights, loss=LOSS):
    """Curves, weights and the mean of weights of two runs agree."""
    for a, b in zip(helpers.curve(one), helpers.curve(many), strict=True):
        assert a.keys() == b.keys()
        assert b["loss"] == pytest.approx(a["loss"], rel=loss)
        assert (a["step"], a.get("bases")) == (b["step"], b.get("bases"))
        norms = [line.get("gradient_norm", 0.0) for line in (a, b)]
        assert norms[1] == pytest.approx(norms[0], rel=max(100 * loss, 1e-9))
    ours, theirs = tensors_of(one, helpers), tensors_of(many, helpers)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].keys() == theirs[name].keys()
        for key, value in ours[name].items():
            assert theirs[name][key].shape == value.shape
            assert theirs[name][key].dtype == value.dtype
    for name in ours.keys() & {"model", "ema"}:
        for key, value in ours[name].items():
            torch.testing.assert_close(
                theirs[name][key], value, atol=weights, rtol=0, msg=key
            )


def check_exactly_same(one, many, helpers):
    """Two runs in float64: the optimiser's sums of all gradients agree as well."""
    check_same(one, many, helpers, EXACT, EXACT)
    ours, theirs = (tensors_of(f, helpers)["optimiser"] for f in (one, many))
    for key, value in ours.items():
        worst = (theirs[key] - value).abs().max() / value.abs().max()
        assert worst < 1e-9, key
