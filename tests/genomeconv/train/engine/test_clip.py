"""The gradient's norm has a limit: that of all weights together, however shared.

After one step AdamW has (1 - beta1) g and (1 - beta2) g^2 as its means of the gradient
g, and Muon (1 - momentum) g, so the state tells which gradient a step was taken along
(Kingma and Ba 2015, algorithm 1).
"""

from __future__ import annotations

import math

import pytest
import torch
from same_runs import ADAMW, SHARD, check_exactly_same, tensors_of
from training_processes import in_child, in_world, training_in_float64

BETAS = 0.5, 0.75
ONE_STEP = "schedule.steps=1", "optimiser.beta1=0.5", "optimiser.beta2=0.75"
NONE = 1e30
"""A limit that no gradient reaches."""


@pytest.fixture
def stepped(asked, helpers, tmp_path):
    """Return the norm of the first gradient and the state after one step."""

    def take(clip, *settings):
        limit = f"optimiser.clip={clip!r}"
        options = asked(tmp_path / f"clip {clip}", *ONE_STEP, limit, *settings)
        assert in_child(training_in_float64, options) == 0
        (line,) = (x for x in helpers.curve(options.folder) if x["kind"] == "train")
        return line["gradient_norm"], tensors_of(options.folder, helpers)

    return take


def gradients(tensors):
    """The gradient of each parameter, from AdamW's mean of one."""
    return {
        name.rpartition("/")[0]: value / (1 - BETAS[0])
        for name, value in tensors["optimiser"].items()
        if name.endswith("/exp_avg")
    }


def test_the_norm_is_that_of_all_weights_together(stepped):
    norm, tensors = stepped(NONE, ADAMW)
    squares = sum(float(g.square().sum()) for g in gradients(tensors).values())
    assert norm == pytest.approx(math.sqrt(squares), rel=1e-12)


@pytest.mark.parametrize("share", [0.25, 0.99])
def test_a_longer_gradient_is_scaled_down(stepped, share):
    """All of it by one factor, and the step is that of the scaled gradient."""
    norm, free = stepped(NONE, ADAMW)
    seen, clipped = stepped(share * norm, ADAMW)
    assert seen == norm
    wanted = gradients(free)
    for name, g in gradients(clipped).items():
        torch.testing.assert_close(g, share * wanted[name], rtol=1e-5, atol=0)
    for name, value in clipped["optimiser"].items():
        if name.endswith("/exp_avg_sq"):
            g = share * wanted[name.rpartition("/")[0]]
            square = (1 - BETAS[1]) * g.square()
            torch.testing.assert_close(value, square, rtol=1e-5, atol=0)


def test_muon_gets_the_scaled_gradient_too(stepped):
    norm, free = stepped(NONE)
    _, clipped = stepped(norm / 4)
    momenta = [n for n in free["optimiser"] if n.endswith("/momentum_buffer")]
    assert len(momenta) == 8
    for name in momenta:
        a, b = (t["optimiser"][name] for t in (free, clipped))
        torch.testing.assert_close(b, a / 4, rtol=1e-5, atol=0)


def test_a_shorter_gradient_is_left_alone(stepped):
    """To the last bit."""
    norm, free = stepped(NONE, ADAMW)
    _, same = stepped(1.01 * norm, ADAMW)
    for part in ("model", "optimiser"):
        for name, value in free[part].items():
            assert torch.equal(same[part][name], value), name


@pytest.mark.parametrize("sharing", [[], [SHARD]])
def test_the_norm_of_processes_is_that_of_one(
    asked, helpers, tmp_path, stepped, sharing
):
    """Each has half of the windows, and with shard half of the weights."""
    norm, _ = stepped(NONE, ADAMW)
    limit = f"optimiser.clip={norm / 4!r}"
    one, many = tmp_path / "one", tmp_path / "many"
    assert in_child(training_in_float64, asked(one, ADAMW, limit)) == 0
    options = asked(many, ADAMW, limit, *sharing)
    assert in_world(2, training_in_float64, options) == [0, 0]
    check_exactly_same(one, many, helpers)
