"""Every objective over two processes does what it does in one."""

from __future__ import annotations

import json

import numpy as np
import pyBigWig
import pytest
import torch
from same_runs import ADAMW, SHARD, WEIGHTS, check_exactly_same, check_same
from training_processes import in_child, in_world, training, training_in_float64

from genomeconv.weights import load_model

TWO_SIDED = "model.head=none", "model.filters.0.taps=25", "model.filters.0.right=12"


@pytest.fixture
def labels(tmp_path):
    """A gene of two exons every 200 bases."""
    path = tmp_path / "genes.gff3"
    row = "chr1\tx\tCDS\t{}\t{}\t.\t{}\t0\tParent=g{}\n"
    path.write_text(
        "".join(
            row.format(start + a, start + a + 40, "+-"[i % 2], i)
            for i, start in enumerate(range(700, 4700, 200))
            for a in (0, 80)
        )
    )
    return [f"objective.annotation={json.dumps(str(path))}", "data.focus=0.5"]


@pytest.fixture
def classes(tmp_path):
    """Sequences of unequal lengths, in classes that weigh unequally."""
    rng = np.random.default_rng(3)
    path = tmp_path / "train.csv"
    rows = [
        f"{''.join(rng.choice(list('ACGT'), rng.integers(20, 64)))},{name}"
        for name in "xxxyxxz" * 12
    ]
    path.write_text("\n".join(["sequence,label", *rows]) + "\n")
    return [f"objective.annotation={json.dumps(str(path))}", "data.fasta=[]"]


@pytest.fixture
def tracks(tmp_path):
    """Two tracks; one has values in parts of the text alone."""
    paths = []
    for number, stop in enumerate((4900, 2500)):
        paths.append(str(tmp_path / f"track{number}.bw"))
        file = pyBigWig.open(paths[-1], "w")
        file.addHeader([("chr1", 5000)])
        starts = list(range(0, stop, 10))
        values = [float(i % 7) for i in range(len(starts))]
        names = ["chr1"] * len(starts)
        file.addEntries(names, starts, ends=[s + 10 for s in starts], values=values)
        file.close()
    return [f"objective.tracks={json.dumps(paths)}", "objective.bin=16"]


KINDS = {
    "labels": ("labels", []),
    "classes": ("classes", []),
    "classes of causal models in parts": (
        "classes",
        ["objective.pooling=last", "optimiser.accumulate=3", "model.filters.0.right=0"],
    ),
    "tracks": ("tracks", []),
    "tracks of sums sharded": ("tracks", ["objective.loss=multinomial", SHARD]),
}


@pytest.mark.parametrize("case", KINDS)
def test_in_two_processes(asked, helpers, tmp_path, request, case):
    """In float64: losses, weights, and the optimiser's sums of all gradients."""
    kind, more = KINDS[case]
    settings = [f"objective.kind={kind}", *request.getfixturevalue(kind), ADAMW]
    settings = [*settings, *TWO_SIDED, *more]
    one, many = tmp_path / "one", tmp_path / "many"
    alone = asked(one, *(s for s in settings if s != SHARD))
    assert in_child(training_in_float64, alone) == 0
    assert in_world(2, training_in_float64, asked(many, *settings)) == [0, 0]
    check_exactly_same(one, many, helpers)


@pytest.mark.parametrize("sharing", [[], [SHARD]])
def test_a_frozen_trunk_in_two_processes(
    train, asked, helpers, tmp_path, no_waiting, sharing
):
    """The trunk keeps every bit, shared out or not; what learns learns the same."""
    first, one, many = (tmp_path / name for name in ("first", "one", "many"))
    train(first, "model.head=free", "schedule.steps=2")
    start = f"model.start={json.dumps(str(first))}", "model.freeze=true"
    train(one, *start)
    assert in_world(2, training, asked(many, *start, *sharing)) == [0, 0]
    check_same(one, many, helpers, WEIGHTS["adamw"])
    before, after = (load_model(f / "model").model.state_dict() for f in (first, many))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.weight"}
