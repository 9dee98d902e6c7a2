"""Targets, losses and what they must not see, against sums written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.model import build_model
from genomeconv.train.bases.objective import build_objective
from genomeconv.train.data.windows import Window
from genomeconv.train.engine.learner import Learner
from genomeconv.train.engine.optimizers import Optimizers
from genomeconv.train.objectives import IGNORED

WINDOW = Window(record=0, start=0, stop=8, reverse=False)
SOME_CODES = st.lists(st.integers(0, 4), min_size=2, max_size=60)


@given(SOME_CODES)
def test_next_base(corpus_of, codes):
    config, _ = corpus_of()
    objective = build_objective(config.objective, config.model)
    codes = np.array(codes, np.uint8)
    inputs, targets = objective.example(WINDOW, codes, np.random.default_rng(0))
    assert inputs.tolist() == codes[:-1].tolist()
    assert targets.tolist() == [IGNORED if c == 4 else c for c in codes[1:]]
    assert objective.ahead == 1


def test_hidden_bases(corpus_of, helpers):
    config, _ = corpus_of(*helpers.HIDDEN)
    objective = build_objective(config.objective, config.model)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 5, 200_000).astype(np.uint8)
    inputs, targets = objective.example(WINDOW, codes, rng)
    chosen = targets != IGNORED
    assert not (chosen & (codes == 4)).any()
    assert (targets[chosen] == codes[chosen]).all()
    assert (inputs[~chosen] == codes[~chosen]).all()
    assert chosen.sum() / (codes != 4).sum() == pytest.approx(0.15, abs=0.005)
    hidden = inputs[chosen] == 5
    same = inputs[chosen] == targets[chosen]
    assert hidden.mean() == pytest.approx(0.8, abs=0.01)
    assert same.mean() == pytest.approx(0.1 + 0.1 / 4, abs=0.01)
    assert (inputs[chosen][~hidden] < 4).all()


@pytest.mark.parametrize("head", ["tied", "free"])
def test_loss_in_float64(corpus_of, head):
    config, _ = corpus_of(f"model.head={head}", "model.token_ids=[4,0,3,1,2]")
    model = build_model(config.model, 0).double()
    learner = Learner(
        model, build_objective(config.objective, config.model), config.compute
    )
    x = torch.randint(0, 5, (2, 9))
    y = torch.randint(0, 4, (2, 9))
    y[0, 3] = y[1, 8] = IGNORED
    table = (model.head or model.trunk.embedding).weight.detach().numpy()
    total = 0.0
    for row, targets in zip(model.trunk(x).detach().numpy(), y.tolist(), strict=True):
        for vector, target in zip(row, targets, strict=True):
            if target != IGNORED:
                logits = [vector @ table[r] for r in (4, 0, 3, 1)]
                total += math.log(sum(map(math.exp, logits))) - logits[target]
    assert float(learner(x, y).detach()) == pytest.approx(total, rel=1e-12)


def test_n_is_out_of_the_loss(corpus_of):
    """Where the target is N, no gradient comes from, and another base changes none."""
    config, _ = corpus_of()
    model = build_model(config.model, 0)
    objective = build_objective(config.objective, config.model)
    learner = Learner(model, objective, config.compute)
    codes = np.array([0, 1, 2, 4], np.uint8)
    inputs, targets = objective.example(WINDOW, codes, np.random.default_rng(0))
    whole = learner(torch.tensor(inputs[None]), torch.tensor(targets[None]))
    part = learner(torch.tensor(inputs[None, :2]), torch.tensor(targets[None, :2]))
    assert float(whole.detach()) == pytest.approx(float(part.detach()), rel=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recomputed_gradients_are_the_same_bits(corpus_of, precision):
    config, _ = corpus_of(f"compute.precision={precision}")
    model = build_model(config.model, 0)
    objective = build_objective(config.objective, config.model)
    x = torch.randint(0, 4, (2, 64), generator=torch.Generator().manual_seed(1))
    grads = []
    for recompute in (False, True):
        settings = corpus_of(
            f"compute.precision={precision}", f"compute.recompute={recompute}".lower()
        )[0].compute
        learner = Learner(model, objective, settings)
        model.zero_grad()
        torch.autograd.backward(learner(x, x))
        grads.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert all(g.any() for g in grads[0])


def test_bfloat16_is_for_products_alone(corpus_of):
    """Operands are rounded; weights, gradients, residual and loss are float32."""
    config, _ = corpus_of()
    model = build_model(config.model, 0)
    objective = build_objective(config.objective, config.model)
    x = torch.randint(0, 4, (2, 64), generator=torch.Generator().manual_seed(1))
    seen = []
    block = model.trunk.blocks[0]
    mix = block.mixer.mix
    block.mixer.mix = lambda z, inside: seen.append(z.dtype) or mix(z, inside)
    block.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    losses, grads = [], []
    for precision in ("float32", "bfloat16"):
        settings = corpus_of(f"compute.precision={precision}")[0].compute
        model.zero_grad()
        loss = Learner(model, objective, settings)(x, x)
        torch.autograd.backward(loss)
        losses.append(loss.detach())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert seen == [torch.float32, torch.float32, torch.bfloat16, torch.float32]
    assert {t.dtype for t in (*losses, *grads, *model.parameters())} == {torch.float32}
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=1e-3)
    assert not torch.equal(*losses)
    apart = (grads[1] - grads[0]).norm() / grads[0].norm()
    assert 1e-4 < apart < 0.05


def test_groups_of_the_optimisers(corpus_of):
    config, _ = corpus_of()
    model = build_model(config.model, 0)
    for kind in ("muon", "adamw"):
        settings = corpus_of(f"optimiser.kind={kind}")[0].optimiser
        optimizers = Optimizers(model, settings)
        names = {p: n for n, p in model.named_parameters()}
        groups = [g for o in optimizers._all for g in o.param_groups]
        assert sorted(names[p] for g in groups for p in g["params"]) == sorted(
            names.values()
        )
        for group in groups:
            for p in group["params"]:
                dense = names[p].endswith(
                    ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")
                )
                filters = ".filter." in names[p]
                wanted = 3e-3
                if filters:
                    wanted = 6e-3
                if dense and kind == "muon":
                    wanted = 0.02
                assert group["lr"] == wanted
                assert group["weight_decay"] == (0.1 if dense else 0.0)
        optimizers.set_rate(0.5)
        assert {g["lr"] for g in groups} <= {1.5e-3, 3e-3, 0.01}
