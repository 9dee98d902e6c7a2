"""Stopped, killed or failing at any write, a run goes on to the same bits."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from training_processes import KILLED, StopAt, full_disk, in_child, killed_at_write

from genomeconv.errors import ModelError
from genomeconv.train.folder.checkpoints import Checkpoints

EMA = "optimiser.ema=0.9"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def uninterrupted(whole, train, no_waiting):
    if not whole.exists():
        train(whole, EMA)
    return whole


@pytest.mark.parametrize(
    ("step", "number"),
    [(1, signal.SIGTERM), (3, signal.SIGINT), (4, signal.SIGUSR1), (7, signal.SIGTERM)],
)
def test_stopped_by_a_signal(
    train, helpers, tmp_path, uninterrupted, no_waiting, step, number
):
    folder = tmp_path / "run"
    summary = train(folder, EMA, progress=StopAt(step, number))
    assert (summary.signal, summary.step) == (number, step)
    assert not (folder / "model").exists()
    summary = train(folder, EMA, resume=True)
    assert (summary.signal, summary.step) == (0, 8)
    assert helpers.curve(folder) == helpers.curve(uninterrupted)
    assert helpers.final_bytes(folder) == helpers.final_bytes(uninterrupted)


def kill_and_resume(train, asked, folder, stop):
    """Kill a run at one operation and finish it; whether it was killed."""
    code = in_child(killed_at_write, asked(folder, EMA), stop)
    assert code in (0, KILLED)
    assert train(folder, EMA, resume=True).step == 8
    left = {p.name for p in folder.rglob(".*")} - {".lock"}
    assert not any("step-" in name for name in left)
    return code == KILLED


@pytest.mark.parametrize("stop", [1, 9, 16, 23, 31, 38, 47, 60])
def test_killed_at_some_writes(train, asked, helpers, tmp_path, uninterrupted, stop):
    """In the record, in the log, and in each part of the checkpoint of step 4."""
    folder = tmp_path / "run"
    assert kill_and_resume(train, asked, folder, stop)
    assert helpers.final_bytes(folder) == helpers.final_bytes(uninterrupted)
    assert helpers.curve(folder) == helpers.curve(uninterrupted)


@pytest.mark.slow
def test_killed_at_every_write(train, asked, helpers, tmp_path, uninterrupted):
    """From the first byte of the run folder to the last of the report."""
    wanted = helpers.final_bytes(uninterrupted), helpers.curve(uninterrupted)
    stop, killed = 0, True
    while killed:
        stop += 1
        folder = tmp_path / f"{stop}"
        killed = kill_and_resume(train, asked, folder, stop)
        assert (helpers.final_bytes(folder), helpers.curve(folder)) == wanted
    assert stop > 60


def test_full_disk_at_every_write(train, asked, helpers, tmp_path, no_waiting):
    """A checkpoint that was whole stays whole, and the run goes on from there."""
    begun = tmp_path / "begun"
    train(begun, progress=StopAt(3))
    codes, code = [], 0
    while code != 1:
        folder = tmp_path / f"{len(codes)}"
        shutil.copytree(begun, folder)
        stop = len(codes) + 1
        code = in_child(full_disk, asked(folder, resume=True), stop)
        assert code in (0, 1, 74)
        checkpoints = Checkpoints(folder / "checkpoints", 2, helpers.quiet)
        assert checkpoints.newest().step in (3, 4)
        codes.append(code)
    assert codes.count(74) > 15
    failed = codes.index(74, 12)
    assert train(tmp_path / f"{failed}", resume=True).step == 8


def test_the_kill_test_would_notice(
    train, helpers, tmp_path, uninterrupted, monkeypatch
):
    """The mutant: the state of the optimiser is not taken up again."""
    monkeypatch.setattr(
        "genomeconv.train.engine.optimizers.Optimizers.load_state", lambda self, t: None
    )
    folder = tmp_path / "run"
    train(folder, EMA, progress=StopAt(3))
    train(folder, EMA, resume=True)
    assert helpers.curve(folder) != helpers.curve(uninterrupted)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("fault", ["flipped", "truncated", "missing", "manifest"])
def test_a_damaged_newest_checkpoint_is_passed_over(
    train, helpers, tmp_path, uninterrupted, fault
):
    folder = tmp_path / "run"
    train(folder, EMA, progress=StopAt(6))
    (newest,) = folder.glob("checkpoints/step-00000006")
    match fault:
        case "flipped":
            flip(newest / "optimiser.safetensors")
        case "truncated":
            part = newest / "model.safetensors"
            part.write_bytes(part.read_bytes()[:-1])
        case "missing":
            (newest / "state.json").unlink()
        case "manifest":
            (newest / "manifest.json").write_text("{}")
    said = []
    train(folder, EMA, resume=True, notify=lambda level, text: said.append(text))
    assert any("passed over" in text and "00000006" in text for text in said)
    assert f"{folder}: going on from step 4" in said
    assert helpers.final_bytes(folder) == helpers.final_bytes(uninterrupted)


def test_all_checkpoints_damaged(train, tmp_path):
    folder = tmp_path / "run"
    train(folder)
    for part in folder.glob("checkpoints/*/manifest.json"):
        part.write_text("[]")
    with pytest.raises(ModelError) as caught:
        train(folder, resume=True)
    assert str(caught.value) == (
        f"{folder / 'checkpoints'}: all 2 checkpoints are damaged; start anew in "
        "another folder"
    )


def test_a_finished_run_makes_its_report_again(train, helpers, tmp_path, no_waiting):
    folder = tmp_path / "run"
    train(folder)
    before = helpers.final_bytes(folder)
    (folder / "report" / "card.md").unlink()
    assert train(folder, resume=True).step == 8
    assert (folder / "report" / "card.md").exists()
    assert helpers.final_bytes(folder) == before
