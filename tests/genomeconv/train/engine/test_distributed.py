"""Several processes do what one does, and none of them outlives the others."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from same_runs import ADAMW, LOSS, SHARD, WEIGHTS, check_exactly_same, check_same
from torch import distributed as dist
from training_processes import (
    HANG,
    StopAt,
    in_child,
    in_world,
    killed_at,
    parting,
    said,
    stopped_at,
    training,
    training_in_float64,
    training_with_one_batch,
    world_of,
)

from genomeconv.errors import ModelError, UsageError
from genomeconv.train.folder.checkpoints import Checkpoints

GONE = 69
RECOMPUTE = "compute.recompute=true"


MANY = {
    "2": (2, ["schedule.first_window=32"]),
    "2 adamw": (2, [ADAMW, "schedule.first_window=32"]),
    "3 in parts": (3, [ADAMW, "optimiser.accumulate=2"]),
    "2 with outputs": (2, [ADAMW, "model.outputs=['unused']"]),
    "2 sharded": (2, [SHARD]),
    "3 sharded": (
        3,
        [SHARD, ADAMW, "optimiser.accumulate=2", RECOMPUTE, "optimiser.ema=0.8"],
    ),
}


@pytest.mark.parametrize("many", MANY)
def test_same_as_one_process(train, asked, helpers, tmp_path, no_waiting, many):
    size, settings = MANY[many]
    one, many = tmp_path / "one", tmp_path / "many"
    train(one, *settings)
    assert in_world(size, training, asked(many, *settings)) == [0] * size
    kind = "adamw" if ADAMW in settings else "muon"
    check_same(one, many, helpers, WEIGHTS[kind])
    assert json.loads((many / "run.json").read_text())["world_size"] == size


TEAMS = {
    "2 of 2": (2, ["compute.context=2", "schedule.first_window=32"]),
    "3 of 3": (3, ["compute.context=3", "data.window=48", "MASK", RECOMPUTE]),
    "4 of 2": (4, ["compute.context=2", "optimiser.accumulate=3", SHARD]),
}
"""Stretches of 32, then 16 of 24 taps; 16 of 25 taps; 32. The last is of two teams."""


IN_PIECES = 1e-4
"""Absolute, after 8 steps of 3e-3: convolutions of stretches round in other places."""


def alone_and_in_teams(helpers, team):
    """Processes of a case, its settings, and those of one process."""
    size, settings = TEAMS[team]
    if "MASK" in settings:
        settings = [*helpers.HIDDEN, *(s for s in settings if s != "MASK")]
    settings = [ADAMW, *settings]
    return size, settings, [s for s in settings if "context" not in s]


@pytest.mark.parametrize("team", ["2 of 2", "3 of 3"])
def test_a_sequence_over_several_processes(
    train, asked, helpers, tmp_path, no_waiting, team
):
    size, settings, alone = alone_and_in_teams(helpers, team)
    one, many = tmp_path / "one", tmp_path / "many"
    train(one, *alone)
    assert in_world(size, training, asked(many, *settings)) == [0] * size
    check_same(one, many, helpers, IN_PIECES)


@pytest.mark.parametrize("team", TEAMS)
def test_nothing_but_rounding_tells_them_apart(asked, helpers, tmp_path, team):
    """In float64: losses, weights, and the optimiser's sums of all gradients."""
    size, settings, alone = alone_and_in_teams(helpers, team)
    one, many = tmp_path / "one", tmp_path / "many"
    assert in_child(training_in_float64, asked(one, *alone)) == 0
    assert in_world(size, training_in_float64, asked(many, *settings)) == [0] * size
    check_exactly_same(one, many, helpers)


def test_the_comparison_would_notice(train, asked, helpers, tmp_path, no_waiting):
    """The mutant: both processes take the first half of the batch."""
    one, many = tmp_path / "one", tmp_path / "many"
    train(one)
    assert in_world(2, training_with_one_batch, asked(many)) == [0, 0]
    a, b = helpers.curve(one)[0], helpers.curve(many)[0]
    assert abs(a["loss"] - b["loss"]) > 20 * LOSS * a["loss"]


@pytest.mark.parametrize("sharded", [False, True])
def test_a_checkpoint_is_resumed_however_it_was_shared(
    train, asked, helpers, tmp_path, no_waiting, sharded
):
    """Stopped after three steps as the one, and ended as the other."""
    one, run = tmp_path / "one", tmp_path / "run"
    train(one, ADAMW)
    ways = [(2, [ADAMW, SHARD]), (1, [ADAMW])]
    (size, settings), (size_after, after) = ways if sharded else ways[::-1]
    codes = in_world(size, training, asked(run, *settings), StopAt(3))
    assert codes == [signal.SIGTERM] * size
    again = asked(run, *after, resume=True)
    assert in_world(size_after, training, again) == [78] + [GONE] * (size_after - 1)
    words = ["false", "true"] if size_after == 2 else ["true", "false"]
    change = [
        f"{size} -> {size_after} processes",
        "compute.shard " + " -> ".join(words),
    ]
    assert said(again, 0).read_text() == (
        f"the sharing of the work changed since the run began: {'; '.join(change)}; "
        "undo that, start a new run with -o, or go on with --allow-reshard"
    )
    again = asked(run, *after, resume=True, allow=frozenset({"reshard"}))
    assert in_world(size_after, training, again) == [0] * size_after
    record = json.loads((run / "run.json").read_text())
    assert record["changes"] == [{"step": 3, "what": change}]
    check_same(one, run, helpers, WEIGHTS["adamw"])


@pytest.mark.parametrize("dying", [0, 1])
@pytest.mark.parametrize("sharing", ["false", "true", "teams"])
def test_a_dead_process_ends_the_run(asked, helpers, tmp_path, dying, sharing):
    teams = sharing == "teams"
    setting = "compute.context=2" if teams else f"compute.shard={sharing}"
    options = asked(tmp_path / "run", setting)
    codes = in_world(2, killed_at, options, dying, 6)
    assert codes[dying] == -signal.SIGKILL
    assert codes[1 - dying] == GONE
    wanted = (
        rf"process {1 - dying}: another process of this run is gone or silent "
        r"\([^\[]{9,80}\); --resume continues from the last checkpoint"
    )
    text = said(options, 1 - dying).read_text().replace("[127.0.0.1]", "")
    assert re.fullmatch(wanted, text), text
    checkpoints = Checkpoints(options.folder / "checkpoints", 2, helpers.quiet)
    assert checkpoints.newest().step == 4
    assert not (options.folder / "model").exists()


@pytest.mark.parametrize("sharded", ["false", "true"])
def test_all_stop_together(asked, helpers, tmp_path, sharded):
    """A signal that only one process gets stops all of them after the same step."""
    options = asked(tmp_path / "run", f"compute.shard={sharded}")
    codes = in_world(2, stopped_at, options, 1, 3, signal.SIGUSR1)
    assert codes == [signal.SIGTERM, signal.SIGUSR1]
    checkpoints = Checkpoints(options.folder / "checkpoints", 2, helpers.quiet)
    assert checkpoints.newest().step == 3


def test_nothing_holds_the_processes_together_when_they_part(asked, tmp_path):
    """DDP's reducer, freed after the group, can wait for a thread that waits for it."""
    assert in_world(2, parting, asked(tmp_path / "run")) == [0, 0]


REFUSED = {
    "optimiser.accumulate=4": "data.windows must be a multiple of 4 (1 processes x "
    "optimiser.accumulate 4), got 6",
    "compute.context=2": "compute.context = 2 needs a multiple of 2 processes, there "
    "is 1; start them with torchrun --nproc-per-node 2",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_cannot_be_shared(train, tmp_path, setting):
    with pytest.raises(ModelError) as caught:
        train(tmp_path / "run", setting)
    assert str(caught.value) == f"config: {REFUSED[setting]}"
    assert not (tmp_path / "run").exists()


def test_what_teams_cannot_share(asked, tmp_path):
    options = asked(tmp_path / "run", "compute.context=2", "data.windows=5")
    assert in_world(4, training, options) == [78] * 4
    assert said(options, 3).read_text() == (
        "config: data.windows must be a multiple of 2 (2 teams of 2 processes x "
        "optimiser.accumulate 1), got 5"
    )
    assert in_world(3, training, options) == [78] * 3
    assert said(options, 2).read_text() == (
        "config: compute.context = 2 needs a multiple of 2 processes, there are 3; "
        "start them with torchrun --nproc-per-node 2"
    )


def test_half_of_the_variables(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UsageError, match="not RANK, MASTER_ADDR, MASTER_PORT; start"):
        train(tmp_path / "run")


SCRIPT = """
import os
from genomeconv.train.engine.loop import Trainer
from genomeconv_cli.main import main

number, step = int(os.environ["SIGNAL"]), Trainer._step
def dying(self, batch):
    done = step(self, batch)
    if self.counters.step == 6 and os.environ["RANK"] == os.environ["DYING"]:
        os.kill(os.getpid(), number)
    return done
Trainer._step = dying
main()
"""


@pytest.fixture
def command(helpers, fasta, tmp_path):
    """Return the words of a run as a user of a cluster gives them."""
    settings = [
        f"{section}.{key}={json.dumps(value)}"
        for section, values in helpers.VALUES.items()
        for key, value in values.items()
        if section != "model"
    ]
    model = ["model.width=8", "model.layers=2", "model.filters=[{family='explicit'}]"]
    words = [w for s in (*settings, *model) for w in ("--set", s)]
    script = tmp_path / "start.py"
    script.write_text(SCRIPT)
    return [*map(str, (script, "train", fasta, "-o", tmp_path / "run")), *words]


TORCHRUN = "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"


def started(*words, **variables):
    """Return a process of Python."""
    environment = {**os.environ, "DYING": "-1", "SIGNAL": "0", **variables}
    return subprocess.Popen(
        [sys.executable, "-P", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, signal.SIGKILL, signal.SIGUSR1])
def test_under_torchrun(command, helpers, tmp_path, number):
    """To the end; one process killed; one process asked to stop."""
    folder, asked_for = tmp_path / "run", str(int(number))
    process = started(*TORCHRUN, *command, DYING="1", SIGNAL=asked_for)
    _, errors = process.communicate(timeout=HANG)
    assert (process.returncode == 0) == (number == 0), errors
    steps = Checkpoints(folder / "checkpoints", 2, helpers.quiet).steps()
    assert steps[0] == {0: 8, signal.SIGKILL: 4, signal.SIGUSR1: 6}[number]
    assert Checkpoints(folder / "checkpoints", 2, helpers.quiet).newest() is not None
    assert (folder / "report" / "card.md").exists() == (number == 0)
    if number == signal.SIGKILL:
        assert "Signal 9 (SIGKILL)" in errors


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
def test_a_killed_process_without_torchrun(command, helpers, tmp_path, dying):
    """As a scheduler starts them: the other ends by itself, all of it."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    world = {**world_of(2, store.port), "DYING": str(dying), "SIGNAL": "9"}
    both = [started(*command, **world, RANK=str(rank)) for rank in range(2)]
    texts = [process.communicate(timeout=HANG)[1] for process in both]
    codes = [process.returncode for process in both]
    assert codes[dying] == -signal.SIGKILL
    assert codes[1 - dying] == GONE, texts
    assert "another process of this run is gone or silent" in texts[1 - dying]
    folder = tmp_path / "run" / "checkpoints"
    assert Checkpoints(folder, 2, helpers.quiet).newest().step == 4
