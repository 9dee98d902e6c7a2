import json
import os
import signal
import subprocess
import sys

import pytest

from genomeconv.errors import LockedError
from genomeconv.store import OutputWriter
from genomeconv.store import lock as module
from genomeconv.store.lock import Lock


@pytest.fixture
def lock(tmp_path):
    return Lock(tmp_path / "o.h5.lock", tmp_path / "o.h5")


def held_by(path, **changes):
    path.symlink_to(
        json.dumps({**json.loads(module._describe(os.getpid())), **changes})
    )


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def refusal(lock):
    with pytest.raises(LockedError) as caught:
        lock.acquire()
    return str(caught.value)


def test_the_second_writer_waits_and_the_first_goes_on(
    outputs, plan, tmp_path, monkeypatch
):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    path = tmp_path / "o.h5"
    with OutputWriter.open(path, plan) as writer:
        before = (tmp_path / "o.h5.partial").read_bytes()
        with pytest.raises(LockedError) as caught:
            OutputWriter.open(path, plan, overwrite=True)
        assert str(caught.value) == (
            f"{path} is being written by node7:{os.getpid()} (Slurm job 4711): wait "
            "for it, or stop it"
        )
        assert (tmp_path / "o.h5.partial").read_bytes() == before
        outputs.fill(writer)
        writer.finish()
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_at_once(outputs, plan, tmp_path, small_blocks):
    """Of many that start together one writes; all others are told so."""
    path, gate = tmp_path / "o.h5", os.pipe()
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            os.close(gate[1])
            os.read(gate[0], 1)
            code = 70
            try:
                with OutputWriter.open(path, plan, overwrite=True) as writer:
                    outputs.fill(writer)
                    writer.finish()
                    code = 0
            except LockedError:
                code = 75
            finally:
                os._exit(code)
        children.append(child)
    os.close(gate[0])
    os.close(gate[1])
    codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
    assert set(codes) <= {0, 75}
    assert 0 in codes
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == outputs.make(tmp_path / "b.h5", plan).read_bytes()


def test_a_process_that_ended_is_replaced(lock, sleeper):
    held_by(lock.path, pid=sleeper.pid, start=module._start(sleeper.pid))
    assert "is being written by" in refusal(lock)
    sleeper.send_signal(signal.SIGKILL)
    sleeper.wait()
    lock.acquire()
    assert lock.held()


def test_a_zombie_is_replaced(lock, sleeper):
    held_by(lock.path, pid=sleeper.pid, start=module._start(sleeper.pid))
    sleeper.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    lock.acquire()
    assert lock.held()


def test_a_number_that_was_given_again_is_replaced(lock, sleeper):
    held_by(lock.path, pid=sleeper.pid, start="before")
    lock.acquire()
    assert lock.held()


def test_a_process_that_cannot_be_seen_is_alive(lock, sleeper, monkeypatch):
    held_by(lock.path, pid=sleeper.pid, start="some:time")

    def deny(pid, number):
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(module, "_start", lambda pid: "")
        patch.setattr("os.kill", deny)
        assert "is being written by" in refusal(lock)


def test_another_machine_is_replaced_only_when_told(lock):
    held_by(lock.path, host="elsewhere", pid=2**22 + 1, job="9")
    assert refusal(lock) == (
        f"{lock.output} is locked by elsewhere:{2**22 + 1} (Slurm job 9), on another "
        "machine: wait for that run, or, if it is over, add --break-lock"
    )
    assert lock.path.is_symlink()
    lock.acquire(break_lock=True)
    assert lock.held()


def test_a_live_process_of_this_machine_is_never_replaced(lock, sleeper):
    held_by(lock.path, pid=sleeper.pid, start=module._start(sleeper.pid))
    with pytest.raises(LockedError, match="is being written by"):
        lock.acquire(break_lock=True)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": "x", "host": "y"}'])
def test_an_unreadable_lock_is_replaced_only_when_told(lock, text):
    lock.path.write_text(text)
    assert refusal(lock) == (
        f"{lock.output} is locked by an unknown process, says {lock.path}: if no run "
        "is writing it, add --break-lock"
    )
    assert lock.path.read_text() == text
    lock.acquire(break_lock=True)
    assert lock.held()


def test_without_links_it_is_a_file(lock, monkeypatch, sleeper):
    def deny(target, path):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.symlink", deny)
    lock.acquire()
    assert lock.path.is_file()
    assert json.loads(lock.path.read_text())["pid"] == os.getpid()
    assert lock.held()
    assert "is being written by" in refusal(Lock(lock.path, lock.output))
    lock.release()
    assert not lock.path.exists()
    lock.path.write_text(
        module._describe(sleeper.pid).replace('"start": "', '"start": "x')
    )
    lock.acquire()
    assert lock.held()


def test_a_lock_made_while_taking_over_is_put_back(lock, monkeypatch):
    """Another run replaced the dead lock between our reading and our renaming."""
    dead = json.dumps({"host": module.socket.gethostname(), "pid": 2**22 + 1})
    live = module._describe(os.getpid())
    lock.path.symlink_to(dead)
    rename = os.rename

    def late(source, target):
        lock.path.unlink()
        lock.path.symlink_to(live)
        rename(source, target)

    monkeypatch.setattr("os.rename", late)
    assert "is being written by" in refusal(lock)
    assert str(lock.path.readlink()) == live
    assert list(lock.path.parent.iterdir()) == [lock.path]


def test_a_child_does_not_release_its_parents_lock(lock):
    lock.acquire()
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert lock.held()


def test_finish_refuses_when_the_lock_was_taken_away(outputs, plan, tmp_path):
    path = tmp_path / "o.h5"
    with OutputWriter.open(path, plan) as writer:
        outputs.fill(writer)
        (tmp_path / "o.h5.lock").unlink()
        with pytest.raises(LockedError, match="was taken away"):
            writer.finish()
    assert not path.exists()
