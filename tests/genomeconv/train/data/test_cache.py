"""Encoded genomes: the codes of the FASTA, made once, never half."""

from __future__ import annotations

import os

import numpy as np
import pytest

from genomeconv.errors import CannotCreateError, DataError, UsageError
from genomeconv.fasta import ReadPolicy, read_genome
from genomeconv.train.data.cache import cache_folder, open_cached
from genomeconv.train.data.corpus import Corpus

POLICY = ReadPolicy(empty="skip")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a/1 first\nACGTNacgtnRY\n>b\n" + "GATTACA\n" * 40)
    return path


@pytest.fixture
def said():
    return []


@pytest.fixture
def cached(source, tmp_path, said):
    def make(policy=POLICY):
        folder = tmp_path / "cache"
        return open_cached(source, folder, policy, lambda *words: said.append(words))

    return make


def test_codes_are_those_of_the_reader(cached, source, tmp_path, said):
    genome = cached()
    with read_genome(source, tmp_path, POLICY, warn=print) as wanted:
        assert list(genome.names) == wanted.records.names
        assert list(genome.lengths) == wanted.records.lengths.tolist()
        assert genome.called == wanted.records.called.sum()
        assert genome.sha256 == wanted.fingerprint["sha256"]
        for record, length in enumerate(genome.lengths):
            for a, b in ((0, length), (3, 7), (length, length)):
                assert (genome.codes(record, a, b) == wanted.codes(record, a, b)).all()
    with pytest.raises(ValueError, match="read-only"):
        genome.codes(0, 0, 5)[0] = 1


def test_encoded_once(cached, source, said):
    cached(), cached()
    assert len(said) == 1
    assert said[0][1].startswith(f"{source}: encoding into ")
    cached(ReadPolicy(empty="skip", soft_mask="n"))
    assert len(said) == 2
    assert (cached(ReadPolicy(empty="skip", soft_mask="n")).codes(0, 5, 9) == 4).all()


def test_a_changed_file_is_encoded_again(cached, source, said):
    before = cached()
    old = before.codes(0, 0, 12).copy()
    source.write_text(">a/1\nTTTT\n")
    assert cached().codes(0, 0, 4).tolist() == [3, 3, 3, 3]
    assert len(said) == 2
    assert (before.codes(0, 0, 12) == old).all()  # still mapped: nobody is disturbed


@pytest.mark.parametrize("fault", ["flip", "cut", "empty", "table", "longer"])
def test_a_damaged_cache_is_made_again(cached, tmp_path, said, fault):
    wanted = np.array(cached().codes(1, 0, 280))
    (path,) = (tmp_path / "cache").iterdir()
    data = bytearray(path.read_bytes())
    match fault:
        case "flip":
            data[20] ^= 1
        case "cut":
            del data[-1]
        case "empty":
            data.clear()
        case "table":
            data[-30] = ord("}")
        case "longer":
            data[:0] = b"\0"
    path.write_bytes(bytes(data))
    assert (cached().codes(1, 0, 280) == wanted).all()
    assert len(said) == 2


def test_many_processes_at_once(cached, tmp_path, helpers):
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = (
                    0
                    if cached().codes(1, 0, 7).tolist() == [2, 0, 3, 3, 0, 1, 0]
                    else 1
                )
            finally:
                os._exit(code)
        children.append(child)
    assert {os.waitpid(child, 0)[1] for child in children} == {0}
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_bad_file_leaves_nothing(cached, source, tmp_path):
    source.write_text(">a\nACGT\nAC-T\n")
    with pytest.raises(DataError, match=r"x\.fa"):
        cached()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_kill_left_is_swept_after_a_day(cached, tmp_path):
    genome = cached()
    (path,) = (tmp_path / "cache").iterdir()
    old, new = (path.with_name(f".{path.name}.host.{i}.partial") for i in (1, 2))
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    path.unlink()
    assert cached().sha256 == genome.sha256
    assert not old.exists()
    assert new.exists()


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("GENOMECONV_CACHE", "/a")
    assert str(cache_folder("")) == "/a"
    assert str(cache_folder("b")) == "b"
    monkeypatch.delenv("GENOMECONV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("") == tmp_path / "genomeconv"


def test_a_folder_that_cannot_be(source, tmp_path, helpers):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError) as caught:
        open_cached(source, tmp_path / "file", POLICY, helpers.quiet)
    assert "choose another folder with data.cache or GENOMECONV_CACHE" in str(
        caught.value
    )


def test_a_pipe_is_refused(tmp_path, helpers):
    os.mkfifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(UsageError, match="training reads a file more than once"):
        open_cached(tmp_path / "pipe", tmp_path, POLICY, helpers.quiet)
    os.close(descriptor)


def test_one_name_in_two_files(make_config, fasta, tmp_path, helpers):
    other = tmp_path / "other.fa"
    other.write_text(">chr1\nACGT\n")
    config = make_config(f'data.fasta=["{fasta}", "{other}"]')
    with pytest.raises(DataError) as caught:
        Corpus.open(config.data, helpers.quiet)
    assert str(caught.value) == (
        f"{other}: sequence 'chr1' is in another file of data.fasta as well; rename "
        "one of them"
    )
