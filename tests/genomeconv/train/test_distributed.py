"""Several processes do what one does, and none of them outlives the others."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import torch

from genomeconv.errors import DeviceError, ModelError, UsageError
from genomeconv.train.checkpoints import Checkpoints
from genomeconv.train.notify import Silent

# Forked processes of torch can wait for each other for ever, now and then; the cause is
# not found, so these run by themselves and not with every change.
pytestmark = pytest.mark.slow

LOSS = 1e-6
"""Relative: the same sums in another order, in float32, over 8 steps."""
WEIGHTS = {"adamw": 2e-5, "muon": 1e-3}
"""Absolute, after 8 steps of up to 3e-3 and 2e-2: Adam divides rounding by rounding
where a gradient is next to nothing, Muon makes matrices orthogonal in bfloat16."""
GONE = 69


def in_world(helpers, size, function):
    """Exit statuses of `function(rank)` in so many processes of one run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.environ.update(
                    RANK=str(rank),
                    WORLD_SIZE=str(size),
                    LOCAL_RANK=str(rank),
                    MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=str(port),
                )
                code = function(rank) or 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]


def tensors_of(folder, helpers):
    return Checkpoints(folder / "checkpoints", 2, helpers.quiet).newest().tensors


@pytest.mark.parametrize(
    ("size", "accumulate", "kind"), [(2, 1, "muon"), (2, 1, "adamw"), (3, 2, "adamw")]
)
def test_same_as_one_process(
    train, helpers, tmp_path, no_waiting, size, accumulate, kind
):
    settings = [
        "schedule.first_window=32",
        f"optimiser.kind={kind}",
        f"optimiser.accumulate={accumulate}",
    ]
    one, many = tmp_path / "one", tmp_path / "many"
    train(one, *settings)
    codes = in_world(helpers, size, lambda rank: train(many, *settings).signal)
    assert codes == [0] * size
    for a, b in zip(helpers.curve(one), helpers.curve(many), strict=True):
        assert a.keys() == b.keys()
        assert b["loss"] == pytest.approx(a["loss"], rel=LOSS)
        assert (a["step"], a.get("bases")) == (b["step"], b.get("bases"))
    ours, theirs = tensors_of(one, helpers), tensors_of(many, helpers)
    for name, value in ours["model"].items():
        torch.testing.assert_close(
            theirs["model"][name], value, atol=WEIGHTS[kind], rtol=0, msg=name
        )
    record = json.loads((many / "run.json").read_text())
    assert record["world_size"] == size


def test_the_comparison_would_notice(train, helpers, tmp_path, no_waiting, monkeypatch):
    """The mutant: both processes take the first half of the batch."""
    one, many = tmp_path / "one", tmp_path / "many"
    train(one)

    def job(rank):
        from genomeconv.train.batches import Batches

        made = Batches.__init__

        def same(self, sampler, objective, schedule, world, accumulate):
            fake = type(world)(rank=0, size=world.size, device=world.device)
            made(self, sampler, objective, schedule, fake, accumulate)

        Batches.__init__ = same
        train(many)

    assert in_world(helpers, 2, job) == [0, 0]
    a, b = helpers.curve(one)[0], helpers.curve(many)[0]
    assert abs(a["loss"] - b["loss"]) > 20 * LOSS * a["loss"]


class DieAt(Silent):
    def __init__(self, step):
        self.step = step

    def advance(self, step, bases, metrics):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("dying", [0, 1])
def test_a_dead_process_ends_the_run(
    train, helpers, tmp_path, no_waiting, monkeypatch, dying
):
    folder = tmp_path / "run"

    def job(rank):
        from genomeconv.train import run

        if rank == dying:
            monkeypatch.setattr(run, "Silent", lambda: DieAt(6))
        try:
            train(folder, progress=DieAt(6 if rank == dying else -1))
        except DeviceError as error:
            wanted = (
                rf"process {rank}: another process of this run is gone or silent "
                r"\([^\[]{9,80}\); --resume continues from the last checkpoint"
            )
            text = str(error).replace("[127.0.0.1]", "")
            return GONE if re.fullmatch(wanted, text) else 70
        return 0

    codes = in_world(helpers, 2, job)
    assert codes[dying] == -signal.SIGKILL
    assert codes[1 - dying] == GONE
    checkpoints = Checkpoints(folder / "checkpoints", 2, helpers.quiet)
    assert checkpoints.newest().step == 4
    assert not (folder / "model").exists()


def test_all_stop_together(train, helpers, tmp_path, no_waiting):
    """A signal that only one process gets stops all of them after the same step."""
    folder = tmp_path / "run"

    class Stop(Silent):
        def advance(self, step, bases, metrics):
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    codes = in_world(helpers, 2, lambda rank: train(folder, progress=Stop()).signal)
    assert codes == [signal.SIGTERM] * 2
    assert Checkpoints(folder / "checkpoints", 2, helpers.quiet).newest().step == 3


def test_another_number_of_processes(train, helpers, tmp_path, no_waiting):
    folder = tmp_path / "run"
    train(folder, "checkpoint.every=8")

    def job(rank):
        with pytest.raises((ModelError, DeviceError)) as caught:
            train(folder, "compute.timeout=20", resume=True)
        if rank == 0:
            assert str(caught.value) == (
                "the number of processes changed since the run began: 1 -> 2; undo "
                "that, start a new run with -o, or go on with --allow-reshard"
            )
        return caught.value.exit_code

    assert in_world(helpers, 2, job) == [78, GONE]

    def allowed(rank):
        return train(folder, resume=True, allow=frozenset({"reshard"})).signal

    assert in_world(helpers, 2, allowed) == [0, 0]
    record = json.loads((folder / "run.json").read_text())
    assert record["changes"] == [{"step": 8, "what": ["1 -> 2"]}]


def test_windows_that_cannot_be_shared(train, tmp_path):
    with pytest.raises(ModelError) as caught:
        train(tmp_path / "run", "optimiser.accumulate=4")
    assert str(caught.value) == (
        "config: data.windows must be a multiple of 4 (1 processes x "
        "optimiser.accumulate 4), got 6"
    )
    assert not (tmp_path / "run").exists()


def test_half_of_the_variables(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UsageError, match="not RANK, MASTER_ADDR, MASTER_PORT; start"):
        train(tmp_path / "run")


@pytest.mark.slow
def test_under_torchrun(helpers, fasta, tmp_path, make_config):
    """The command line as a user of a cluster gives it."""
    settings = [
        f"{section}.{key}={json.dumps(value)}"
        for section, values in helpers.VALUES.items()
        for key, value in values.items()
        if section != "model"
    ]
    model = ["model.width=8", "model.layers=2", "model.filters=[{family='explicit'}]"]
    words = [w for s in (*settings, *model) for w in ("--set", s)]
    script = tmp_path / "start.py"
    script.write_text("from genomeconv_cli.main import main\nmain()\n")
    command = [
        *(sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2", script, "train", fasta, "-o", tmp_path / "run"),
    ]
    done = subprocess.run(
        [*map(str, command), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report" / "card.md").exists()
