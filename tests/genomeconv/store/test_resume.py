"""Killed anywhere and run again, a job ends with the same bytes."""

import errno
import os
import signal
from pathlib import Path

import h5py
import pytest

from genomeconv.errors import CannotCreateError, StorageError
from genomeconv.store import OutputWriter, hdf5_file
from genomeconv.store.journal import Journal

OPERATIONS = [
    *("pwrite", "write", "fsync", "replace", "unlink", "symlink", "ftruncate"),
]
KILLED = 9


class Fault:
    """Counts operations on the disk, and ends the process at number `stop`.

    Parameters
    ----------
    mode : str
        "before" the operation, "torn" in the middle of it, or "power": bytes written
        and not yet synced are lost.
    """

    def __init__(self, stop, mode):
        self.stop, self.mode, self.count = stop, mode, 0
        self.unsynced = []
        self.real = {name: getattr(os, name) for name in OPERATIONS}
        for name in OPERATIONS:
            setattr(os, name, self.wrapped(name))
        # Those of HDF5 have their turn in tests/faults, call by call.
        hdf5_file.write_at = self.real["pwrite"]
        self.create = h5py.h5d.create
        h5py.h5d.create = self.tick_then(self.create)

    def tick_then(self, function):
        def call(*args, **kwargs):
            self.tick()
            return function(*args, **kwargs)

        return call

    def tick(self, name="", args=()):
        self.count += 1
        if self.count == self.stop:
            if self.mode == "torn" and name in ("pwrite", "write"):
                fd, data, *rest = args
                self.real[name](fd, bytes(data)[: len(data) // 2], *rest)
            os._exit(KILLED)

    def wrapped(self, name):
        def call(*args, **kwargs):
            self.tick(name, args)
            if self.mode == "power" and name in ("pwrite", "write"):
                data = bytes(args[1])
                self.unsynced.append((name, (args[0], data, *args[2:])))
                return len(data)
            if self.mode == "power" and name == "fsync":
                mine = [item for item in self.unsynced if item[1][0] == args[0]]
                for item in mine:
                    self.unsynced.remove(item)
                    self.real[item[0]](*item[1])
            return self.real[name](*args, **kwargs)

        return call


def run_job(outputs, path, plan, compress):
    """Work as the reverse-strand job does: rows to the scratch, then to the output."""
    with OutputWriter.open(path, plan, compress=compress, warn=print) as writer:
        X, n_bases = outputs.numbers_of(plan)
        if writer.missing():
            for a, b in writer.scratch.missing():
                for p in range(a, b, writer.commit_rows):
                    q = min(p + writer.commit_rows, b)
                    writer.scratch.write(p, 2 * X[p:q])
        for a, b in writer.missing():
            for p in range(a, b, writer.commit_rows):
                q = min(p + writer.commit_rows, b)
                writer.write(p, writer.scratch.read(p, q) / 2, n_bases[p:q])
        writer.finish()


def in_child(function):
    """Exit status of `function` run in a child process."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = function() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("mode", "compress"), [("before", "gzip"), ("torn", "none"), ("power", "none")]
)
def test_killed_at_every_operation(outputs, tmp_path, small_blocks, mode, compress):
    rows = outputs.binned({"chr1": 305, "a/b": 95}, 10)
    plan = outputs.plan_of(rows, strand="both", scratch=True)
    whole = tmp_path / "whole.h5"
    run_job(outputs, whole, plan, compress)
    wanted = whole.read_bytes()
    stop, resumed = 0, 0
    while True:
        stop += 1
        path = tmp_path / f"{stop}.h5"

        def job(path=path, stop=stop):
            Fault(stop, mode)
            run_job(outputs, path, plan, compress)

        code = in_child(job)
        assert code in (0, KILLED)
        if not path.exists():
            assert code == KILLED
            resumed += path.with_name(f"{stop}.h5.journal").exists()
            run_job(outputs, path, plan, compress)
        else:
            with pytest.raises(CannotCreateError, match="exists"):
                run_job(outputs, path, plan, compress)
        assert path.read_bytes() == wanted
        assert sorted(tmp_path.glob(f"{stop}.h5*")) == [path]
        path.unlink()
        if code == 0:
            break
    assert stop > 50
    assert resumed > 20


def test_the_kill_test_would_notice(outputs, tmp_path, small_blocks, monkeypatch):
    """The mutant: rows are not synced first, and the journal is trusted blindly."""
    monkeypatch.setattr(Journal, "sync", lambda journal: os.fsync(journal._fd))
    monkeypatch.setattr(
        "genomeconv.store.blocks.BlockTable.agrees", lambda table, parts, crc: True
    )
    rows = outputs.binned({"chr1": 305, "a/b": 95}, 10)
    plan = outputs.plan_of(rows, strand="both", scratch=True)
    run_job(outputs, tmp_path / "whole.h5", plan, "none")
    wanted, wrong = (tmp_path / "whole.h5").read_bytes(), 0
    for stop in range(45, 65, 5):
        path = tmp_path / f"{stop}.h5"

        def job(path=path, stop=stop):
            Fault(stop, "power")
            run_job(outputs, path, plan, "none")

        assert in_child(job) == KILLED
        run_job(outputs, path, plan, "none")
        wrong += path.read_bytes() != wanted
    assert wrong > 0


def sync_failing(monkeypatch, suffix):
    """Let the next wait for a file of this ending fail, once."""
    failed = []

    def fsync(fd):
        if not failed and Path(f"/proc/self/fd/{fd}").readlink().suffix == suffix:
            failed.append(fd)
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", fsync)


@pytest.mark.parametrize(("suffix", "left"), [(".partial", 53), (".journal", 37)])
def test_a_disk_that_fails_late_takes_its_rows_back(
    outputs, plan, tmp_path, small_blocks, monkeypatch, suffix, left
):
    """Rows the disk has lost can still be read: the journal must not vouch for them."""
    path = tmp_path / "o.h5"
    X, n_bases = outputs.numbers_of(plan)
    with OutputWriter.open(path, plan) as writer:
        writer.write(0, X[:32], n_bases[:32])
        sync_failing(monkeypatch, suffix)
        with pytest.raises(StorageError, match=rf"o\.h5\{suffix}: writing .*failed"):
            writer.write(32, X[32:48], n_bases[32:48])
        with pytest.raises(StorageError, match="an earlier write failed"):
            writer.write(48, X[48:64], n_bases[48:64])
    assert finish(outputs, path, plan) == (left, [])


def test_the_disk_is_waited_for_once_a_second(
    outputs, plan, tmp_path, small_blocks, monkeypatch
):
    """A process that dies between needs no wait; the end of a run is one."""
    path, now, waits = tmp_path / "o.h5", [100.0], []
    monkeypatch.setattr("genomeconv.store.journal.SYNC_SECONDS", 1.0)
    monkeypatch.setattr("genomeconv.store.journal.time.monotonic", lambda: now[0])
    X, n_bases = outputs.numbers_of(plan)

    def write(a):
        before = len(waits)
        writer.write(a, X[a : a + 16], n_bases[a : a + 16])
        return len(waits) - before

    with OutputWriter.open(path, plan) as writer:
        monkeypatch.setattr("os.fsync", waits.append)
        counts = [write(0), write(16)]
        now[0] += 1.0
        counts += [write(32), write(48)]
        child = os.fork()
        if not child:
            os._exit(
                0 if len(Journal.load(beside(path, "journal")).entries) == 4 else 1
            )
        assert os.waitpid(child, 0)[1] == 0
    assert counts == [0, 0, 2, 0]
    assert len(waits) == 4
    assert finish(outputs, path, plan)[0] == 85 - 64


def test_less_than_a_block_can_be_kept(outputs, tmp_path):
    """Rows of half a block survive; the file is the same whatever was together."""
    rows = outputs.binned({"chr1": 30_005}, 10)
    whole = outputs.make(tmp_path / "whole.h5", outputs.plan_of(rows, 128))
    plan = outputs.plan_of(rows, 128, together=64)
    assert (plan.block_rows, plan.commit_rows) == (1024, 64)
    path = tmp_path / "o.h5"
    X, n_bases = outputs.numbers_of(plan)
    with OutputWriter.open(path, plan) as writer:
        writer.write(960, X[960:1088], n_bases[960:1088])
        writer.write(2944, X[2944:], n_bases[2944:])
        with pytest.raises(ValueError, match="not whole blocks of 64 rows"):
            writer.write(32, X[32:96], n_bases[32:96])
    with OutputWriter.open(path, plan) as writer:
        assert writer.done() == [(960, 1088), (2944, 3001)]
        outputs.fill(writer)
        writer.finish()
    assert path.read_bytes() == whole.read_bytes()


def test_committed_rows_are_not_computed_again(outputs, plan, tmp_path, small_blocks):
    path = tmp_path / "out.h5"
    X, n_bases = outputs.numbers_of(plan)
    with OutputWriter.open(path, plan) as writer:
        assert not writer.resumed
        assert writer.missing() == [(0, 85)]
        writer.write(32, X[32:64], n_bases[32:64])
        writer.write(80, X[80:], n_bases[80:])
    assert not path.exists()
    with OutputWriter.open(path, plan) as writer:
        assert writer.resumed
        assert writer.done() == [(32, 64), (80, 85)]
        assert writer.done(40, 82) == [(40, 64), (80, 82)]
        assert writer.missing() == [(0, 32), (64, 80)]
        assert writer.missing(40, 82) == [(64, 80)]
        assert outputs.fill(writer) == 48
        writer.finish()
    assert path.read_bytes() == outputs.make(tmp_path / "b.h5", plan).read_bytes()


@pytest.fixture
def unfinished(outputs, plan, tmp_path, small_blocks):
    """An output with 3 of its 6 blocks, and what has to come of it."""
    path = tmp_path / "out.h5"
    X, n_bases = outputs.numbers_of(plan)
    with OutputWriter.open(path, plan) as writer:
        writer.write(0, X[:48], n_bases[:48])
    return path, outputs.make(tmp_path / "whole.h5", plan).read_bytes()


def beside(path, suffix):
    return path.with_name(f"{path.name}.{suffix}")


def finish(outputs, path, plan, **options):
    """Rows that had to be written again, and warnings given."""
    warned = []
    with OutputWriter.open(path, plan, warn=warned.append, **options) as writer:
        count = outputs.fill(writer)
        writer.finish()
    return count, warned


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_journal_line_counts_for_nothing(outputs, plan, unfinished, cut):
    path, wanted = unfinished
    journal = beside(path, "journal")
    journal.write_bytes(journal.read_bytes()[:-cut])
    # The line feed alone is no loss.
    assert finish(outputs, path, plan) == (37 if cut == 1 else 53, [])
    assert path.read_bytes() == wanted


def test_writing_goes_on_after_a_torn_line(outputs, plan, unfinished):
    path, wanted = unfinished
    journal = beside(path, "journal")
    journal.write_bytes(journal.read_bytes()[:-7])
    X, n_bases = outputs.numbers_of(plan)
    with OutputWriter.open(path, plan) as writer:
        assert writer.done() == [(0, 32)]
        writer.write(64, X[64:80], n_bases[64:80])
    with OutputWriter.open(path, plan) as writer:
        assert writer.done() == [(0, 32), (64, 80)]
    assert finish(outputs, path, plan) == (37, [])
    assert path.read_bytes() == wanted


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_flipped_bit_in_the_journal_costs_one_block(outputs, plan, unfinished, line):
    path, wanted = unfinished
    journal = beside(path, "journal")
    lines = journal.read_bytes().split(b"\n")
    lines[line] = lines[line].replace(b"stop", b"stoq")
    journal.write_bytes(b"\n".join(lines))
    assert finish(outputs, path, plan) == (53, [])
    assert path.read_bytes() == wanted


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def offset_of(path, row):
    with h5py.File(path) as file:
        chunk = file["X"].id.get_chunk_info_by_coord((row // 16 * 16, 0))
        n_bases = file["obs/n_bases"].id.get_offset()
        return chunk.byte_offset + row % 16 * 16, n_bases + 8 * row


@pytest.mark.parametrize("part", [0, 1], ids=["X", "n_bases"])
def test_a_flipped_bit_in_a_committed_block_is_recomputed(
    outputs, plan, unfinished, part
):
    path, wanted = unfinished
    partial = beside(path, "partial")
    flip(partial, offset_of(partial, 20)[part])
    count, warned = finish(outputs, path, plan)
    assert count == 53
    assert warned == [
        f"{partial}: 1 damaged blocks of rows, the first 16 to 32, are computed again"
    ]
    assert path.read_bytes() == wanted


def test_a_flipped_bit_while_writing_is_found_at_the_end(outputs, plan, unfinished):
    path, wanted = unfinished
    partial = beside(path, "partial")
    with OutputWriter.open(path, plan) as writer:
        outputs.fill(writer)
        flip(partial, offset_of(partial, 70)[0])
        with pytest.raises(StorageError, match="rows 64 to 80 changed on the disk"):
            writer.finish()
    assert not path.exists()
    assert finish(outputs, path, plan)[0] == 16
    assert path.read_bytes() == wanted


@pytest.mark.parametrize("size", [0, 100, 4000])
def test_a_damaged_unfinished_file_is_started_over(outputs, plan, unfinished, size):
    path, wanted = unfinished
    partial = beside(path, "partial")
    os.truncate(partial, size)
    count, warned = finish(outputs, path, plan)
    assert count == 85
    assert len(warned) == 1
    assert warned[0].startswith(f"{partial} is damaged (")
    assert warned[0].endswith("): the output is started over")
    assert path.read_bytes() == wanted


def test_a_damaged_journal_is_started_over(outputs, plan, unfinished):
    path, wanted = unfinished
    journal = beside(path, "journal")
    flip(journal, 30)
    assert finish(outputs, path, plan) == (
        85,
        [f"{journal} is damaged: the output is started over"],
    )
    assert path.read_bytes() == wanted


def test_a_lost_file_or_journal_is_started_over(outputs, plan, unfinished):
    path, wanted = unfinished
    beside(path, "partial").unlink()
    assert finish(outputs, path, plan) == (85, [])
    assert path.read_bytes() == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, 'dtype was "float32", is "float16"'),
        (
            {"fingerprint": {"fasta": "sha", "model": "1" * 64, "bin": 20}},
            f'model was "{"0" * 59}..., is "{"1" * 59}'[:-20],
        ),
        ({"fingerprint": {}}, 'fasta was "sha", is absent; model was '),
        ({"strand": "-"}, 'strand was "+", is "-"'),
    ],
    ids=["dtype", "two", "absent", "strand"],
)
def test_other_options_do_not_continue(outputs, plan, unfinished, changes, message):
    path, _ = unfinished
    before = beside(path, "partial").read_bytes()
    with pytest.raises(CannotCreateError) as caught:
        OutputWriter.open(path, outputs.plan_of(plan.rows, **changes))
    start = f"{path}: an unfinished run with other options is in the way ("
    end = "): give the same options to continue it, or --overwrite to discard it"
    text = str(caught.value)
    assert text.startswith(start + message[:40])
    assert message[:60] in text
    assert text.endswith(end)
    assert beside(path, "partial").read_bytes() == before
    assert finish(outputs, path, plan) == (37, [])


def test_overwrite_discards_an_unfinished_run_of_other_options(
    outputs, plan, unfinished
):
    path, _ = unfinished
    half = outputs.plan_of(plan.rows, dtype="float16")
    assert finish(outputs, path, half, overwrite=True) == (85, [])


def test_overwrite_continues_a_run_of_the_same_options(outputs, plan, unfinished):
    path, wanted = unfinished
    assert finish(outputs, path, plan, overwrite=True) == (37, [])
    assert path.read_bytes() == wanted


def test_nothing_stays_of_a_run_that_stored_nothing(outputs, plan, tmp_path):
    with pytest.raises(KeyError), OutputWriter.open(tmp_path / "o.h5", plan):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_what_is_committed(outputs, plan, tmp_path, small_blocks):
    path = tmp_path / "o.h5"
    X, n_bases = outputs.numbers_of(plan)
    writer = OutputWriter.open(path, plan)
    writer.write(0, X[:16], n_bases[:16])
    with pytest.raises(KeyboardInterrupt), writer:
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "o.h5.journal",
        "o.h5.partial",
    ]


def test_sigkill_leaves_a_lock_that_the_next_run_takes(
    outputs, plan, tmp_path, small_blocks
):
    path = tmp_path / "o.h5"

    def job():
        X, n_bases = outputs.numbers_of(plan)
        writer = OutputWriter.open(path, plan)
        writer.write(0, X[:32], n_bases[:32])
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(job) == -signal.SIGKILL
    assert beside(path, "lock").is_symlink()
    assert finish(outputs, path, plan) == (53, [])
    assert list(tmp_path.iterdir()) == [path]


def test_the_commit_of_a_block_is_ordered(outputs, plan, tmp_path, monkeypatch):
    """The journal names rows that are written, and is synced behind them."""
    with OutputWriter.open(tmp_path / "o.h5", plan) as writer:
        seen = []
        for name in ("pwrite", "write", "fsync"):
            real = getattr(os, name)

            def spy(fd, *args, name=name, real=real):
                path = Path(f"/proc/self/fd/{fd}").readlink()
                seen.append((name, path.suffix))
                return real(fd, *args)

            monkeypatch.setattr(os, name, spy)
        outputs.fill(writer)
    assert seen == [
        *[("pwrite", ".partial")] * 2,
        ("write", ".journal"),
        ("fsync", ".partial"),
        ("fsync", ".journal"),
    ]
