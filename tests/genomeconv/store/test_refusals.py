"""What cannot be written is refused before any work, with nothing left behind."""

import os
import resource
import stat

import numpy as np
import pytest

from genomeconv.errors import (
    CannotCreateError,
    DataError,
    NonFiniteError,
    PermissionDeniedError,
    StorageError,
    UsageError,
)
from genomeconv.store import OutputWriter, check_target, disk


def refusal(kind, path, plan, **options):
    with pytest.raises(kind) as caught:
        OutputWriter.open(path, plan, **options)
    return str(caught.value)


def test_a_finished_output_is_never_touched(outputs, plan, tmp_path):
    path = outputs.make(tmp_path / "o.h5", plan)
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    message = f"{path} exists: choose another name with -o, or replace it with "
    assert refusal(CannotCreateError, path, plan) == message + "--overwrite"
    with pytest.raises(CannotCreateError, match="exists"):
        check_target(path)
    check_target(path, overwrite=True)
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert list(tmp_path.iterdir()) == [path]


def test_overwrite_keeps_the_old_file_until_the_new_one_is_whole(
    outputs, plan, tmp_path
):
    path = outputs.make(tmp_path / "o.h5", plan)
    old = path.read_bytes()
    half = outputs.plan_of(plan.rows, dtype="float16")
    with OutputWriter.open(path, half, overwrite=True) as writer:
        outputs.fill(writer)
        assert path.read_bytes() == old
        writer.finish()
        assert path.read_bytes() != old
    assert list(tmp_path.iterdir()) == [path]


def test_targets_that_can_never_be_written(plan, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    assert refusal(CannotCreateError, folder, plan) == (
        f"{folder} is a folder: give the name of a file with -o"
    )
    missing = tmp_path / "no" / "o.h5"
    assert refusal(CannotCreateError, missing, plan) == (
        f"{missing}: the folder {tmp_path}/no does not exist: make it first, or choose "
        "another with -o"
    )
    device = tmp_path / "device"
    os.mkfifo(device)
    assert refusal(CannotCreateError, device, plan, overwrite=True) == (
        f"{device} is not a regular file: HDF5 needs one, give its name with -o"
    )
    assert sorted(tmp_path.iterdir()) == [device, folder]


def test_dev_null_is_not_replaced(plan):
    message = refusal(CannotCreateError, "/dev/null", plan, overwrite=True)
    assert message.startswith("/dev/null is not a regular file")


def test_a_dangling_link_counts_as_there(plan, tmp_path):
    path = tmp_path / "o.h5"
    path.symlink_to(tmp_path / "nowhere")
    assert " exists: " in refusal(CannotCreateError, path, plan)


def test_a_folder_that_may_not_be_written(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: mode & os.W_OK == 0)
    path = tmp_path / "o.h5"
    assert refusal(PermissionDeniedError, path, plan) == (
        f"{path}: the folder {tmp_path} is not writable: choose another with -o"
    )


def test_a_disk_too_small_names_both_numbers(outputs, tmp_path, monkeypatch):
    usage = type(disk.shutil.disk_usage("/"))(10**9, 10**9 - 10**6, 10**6)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    plan = outputs.plan_of(outputs.binned({"a": 5000}, 1), 128)
    path = tmp_path / "o.h5"
    assert refusal(StorageError, path, plan) == (
        f"{path}: needs 3.2 MB on disk, 1.0 MB are free in {tmp_path}: choose another "
        "folder with -o, fewer rows, or --dtype float16"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("zip", "--compress: wanted one of none, gzip, zstd, got 'zip'"),
        (
            "zstd",
            "--compress zstd needs hdf5plugin: install it with pip install "
            "'genomeconv[compression]', or use --compress gzip",
        ),
    ],
)
def test_a_compression_that_is_not_there(plan, tmp_path, monkeypatch, method, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(UsageError, tmp_path / "o.h5", plan, compress=method) == message


def test_the_mode_follows_the_umask(outputs, plan, tmp_path):
    old = os.umask(0o027)
    try:
        path = outputs.make(tmp_path / "o.h5", plan)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


BAD = [
    (
        np.nan,
        "float32",
        "the model gives nan, wanted a finite number: check its weights, or run again "
        "with --precision float32 --overwrite",
    ),
    (
        -np.inf,
        "float16",
        "the model gives -inf, wanted a finite number: check its weights, or run again "
        "with --precision float32 --overwrite",
    ),
    (
        70000.0,
        "float16",
        "70000 does not fit into float16 (largest 65,504): run again with --dtype "
        "float32 --overwrite",
    ),
]


@pytest.mark.parametrize(("value", "dtype", "message"), BAD)
def test_values_that_cannot_be_stored(
    outputs, plan, tmp_path, monkeypatch, value, dtype, message
):
    monkeypatch.setattr("genomeconv.store.schema.BLOCK_BYTES", 128)
    plan = outputs.plan_of(plan.rows, dtype=dtype)
    X, n_bases = outputs.numbers_of(plan)
    X[78, 2] = X[80, 0] = value
    size = plan.block_rows
    with OutputWriter.open(tmp_path / "o.h5", plan) as writer:
        writer.write(0, X[:64], n_bases[:64])
        with pytest.raises(NonFiniteError) as caught:
            writer.write(64, X[64:], n_bases[64:])
        assert str(caught.value) == f"a/b:41-50, column dim2: {message}"
        assert writer.missing() == [(64, 85)]
        assert size in (8, 16)


def test_the_largest_half_is_stored(outputs, tmp_path):
    plan = outputs.plan_of(outputs.binned({"a": 1}, 1), 2, dtype="float16")
    with OutputWriter.open(tmp_path / "o.h5", plan) as writer:
        writer.write(0, np.array([[65504, 65519]], np.float32), np.ones(1, int))


def test_misuse_is_told_from_bad_luck(outputs, plan, tmp_path, small_blocks):
    X, n_bases = outputs.numbers_of(plan)
    with OutputWriter.open(tmp_path / "o.h5", plan) as writer:
        with pytest.raises(ValueError, match=r"X: wanted shape \(16, 4\), got \(16, 3"):
            writer.write(0, X[:16, :3], n_bases[:16])
        for a, b in ((0, 15), (1, 17), (80, 84), (16, 16)):
            with pytest.raises(ValueError, match="not whole blocks of 16 rows"):
                writer.write(a, X[a:b], n_bases[a:b])
        with pytest.raises(RuntimeError, match=r"rows \(0, 85\) were never written"):
            writer.finish()
    with pytest.raises(ValueError, match="the writer is closed"):
        writer.write(0, X, n_bases)


def limited(function, size):
    """Exit status of `function` in a child whose files may have `size` bytes."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = function(
                lambda: resource.setrlimit(
                    resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
                )
            )
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_limit_on_file_size_is_seen_before_work(outputs, tmp_path):
    plan = outputs.plan_of(outputs.binned({"a": 5000}, 1), 128)

    def job(limit):
        limit()
        message = refusal(StorageError, tmp_path / "o.h5", plan)
        wanted = "files may have 1.0 MB here (ulimit -f): raise the limit"
        return 0 if wanted in message else 1

    assert limited(job, 10**6) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(outputs, tmp_path):
    plan = outputs.plan_of(outputs.binned({"a": 5000}, 1), 128)
    path = tmp_path / "o.h5"

    def job(limit):
        X, n_bases = outputs.numbers_of(plan)
        with OutputWriter.open(path, plan) as writer:
            writer.write(0, X[:2048], n_bases[:2048])
            limit()
            try:
                outputs.fill(writer)
            except StorageError as error:
                good = str(error) == (
                    f"{path}.partial: writing failed: File too large (errno 27); make "
                    "room or mend the disk, then run the same command to continue"
                )
                again = False
                try:
                    writer.write(0, X[:1024], n_bases[:1024])
                except StorageError:
                    again = True
                return 74 if good and again else 2
        return 3

    assert limited(job, 1_500_000) == 74
    assert not path.exists()
    with OutputWriter.open(path, plan) as writer:
        assert outputs.fill(writer) == 5000 - 2048
        writer.finish()
    other = outputs.make(tmp_path / "other.h5", plan)
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("size", [1000, 20_000, 60_000])
def test_a_full_disk_inside_hdf5_is_one_line(outputs, tmp_path, monkeypatch, size):
    monkeypatch.setattr("genomeconv.store.disk.check_space", lambda *args: None)
    plan = outputs.plan_of(outputs.binned({f"name {i}": 1 for i in range(900)}, 1))

    def job(limit):
        limit()
        try:
            OutputWriter.open(tmp_path / "o.h5", plan)
        except StorageError as error:
            text = "o.h5.partial: creating failed: File too large (errno 27)"
            return 74 if text in str(error) else 2
        return 3

    assert limited(job, size) == 74
    assert list(tmp_path.iterdir()) == []
    outputs.make(tmp_path / "o.h5", plan)


@pytest.mark.parametrize("name", ["pwrite", "write", "fsync", "replace", "unlink"])
def test_a_failing_disk_is_one_line(outputs, plan, tmp_path, monkeypatch, name):
    path = tmp_path / "o.h5"
    writer = OutputWriter.open(path, plan)

    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    def fill_and_finish():
        outputs.fill(writer)
        writer.finish()

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{name}", fail)
        with pytest.raises(StorageError, match=r"Input/output error \(errno 5\)"):
            fill_and_finish()
        if name != "unlink":
            assert not path.exists()
    writer.close()
    if not path.exists():
        outputs.make(path, plan)


def test_a_bad_region_name_leaves_nothing(outputs, tmp_path):
    rows = outputs.ListRows(["a"], [(0, 0, 5), (0, 5, 9)], ["x", "y\0"])
    with pytest.raises(DataError, match=r"row 1: the name 'y\\x00' holds a NUL byte"):
        OutputWriter.open(tmp_path / "o.h5", outputs.plan_of(rows))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["a/b", "", "."])
def test_a_bad_provenance_key_leaves_nothing(outputs, plan, tmp_path, key):
    bad = outputs.plan_of(plan.rows, provenance={**plan.provenance, key: 1})
    with pytest.raises(TypeError, match="is no key"):
        OutputWriter.open(tmp_path / "o.h5", bad)
    assert list(tmp_path.iterdir()) == []
