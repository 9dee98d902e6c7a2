"""Models of strangers: refused by name with 78, before anything is built or run.

The details of every check are in tests/genomeconv/weights; here each fault goes through
the command line, as a user meets it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import socket
import sys
from importlib.resources import files
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file

from genomeconv.weights import files as weight_files
from genomeconv.weights import load_model

CONFIG, WEIGHTS, MANIFEST = "config.json", "weights.safetensors", "model.json"
NORM = "trunk.norm.weight"


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A copy of the bundled model, in a folder with a FASTA; no network is there."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_text(">a\nACGTACGTAC\n")
    shutil.copytree(files("genomeconv_data") / "models" / "human", "m")
    return tmp_path / "m"


@pytest.fixture
def refused(genomeconv, tmp_path, monkeypatch):
    """Check that a command line ends with 78, one line and no output."""

    def check(message, *words, built=False):
        if not built:
            monkeypatch.setattr("genomeconv.weights.folder.Model", None)
        before = {path.name for path in tmp_path.iterdir()}
        outcome = genomeconv(*(words or ("embed", "x.fa", "-m", "m", "-o", "out.h5")))
        assert outcome.code == 78, outcome.err
        assert outcome.out == ""
        assert outcome.err.count("\n") == 1, outcome.err
        assert re.match(f"genomeconv: error: .*{message}", outcome.err), outcome.err
        assert {path.name for path in tmp_path.iterdir()} == before

    return check


def seal(model: Path) -> None:
    """Make the manifest vouch for the files as they are."""
    path = model / MANIFEST
    values = json.loads(path.read_text())
    for part in values["files"]:
        data = (model / part).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        values["files"][part] = {"bytes": len(data), "sha256": digest}
    path.write_text(json.dumps(values))


def test_two_hundred_truncations(model, refused):
    data = (model / WEIGHTS).read_bytes()
    for number in range(200):
        size = len(data) * number // 200
        (model / WEIGHTS).write_bytes(data[:size])
        refused(
            rf"m/{WEIGHTS}: damaged: {size:,} bytes, model\.json says {len(data):,}"
        )


def test_flipped_bits(model, refused):
    random = Random(71)
    for part in [WEIGHTS] * 30 + [CONFIG] * 30:
        data = (model / part).read_bytes()
        damaged = bytearray(data)
        damaged[random.randrange(len(data))] ^= 1 << random.randrange(8)
        (model / part).write_bytes(damaged)
        refused(rf"m/{part}: damaged or changed: sha256 is \w+…, model\.json says")
        (model / part).write_bytes(data)


def test_flipped_bits_of_the_manifest_change_no_number(model, genomeconv):
    """It has no checksum itself: it can lose its name, and never vouch for others."""
    random, path = Random(72), model / MANIFEST
    data, sha256 = path.read_bytes(), load_model(model).sha256
    for _ in range(60):
        damaged = bytearray(data)
        damaged[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        outcome = genomeconv("info", "m", "--json")
        assert outcome.code in (0, 78), outcome.err
        if outcome.code == 0:
            assert json.loads(outcome.out)["sha256"] == sha256


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def archive(path: Path, evil: Evil) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "evil": evil}, path)


def old_archive(path: Path, evil: Evil) -> None:
    torch.save({"evil": evil}, path, _use_new_zipfile_serialization=False)


def bare(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps(evil))


@pytest.mark.parametrize("write", [archive, old_archive, bare])
@pytest.mark.parametrize("name", ["e.pt", "e.bin", "e.ckpt", "e.PTH"])
def test_pickles(model, refused, genomeconv, monkeypatch, tmp_path, write, name):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary = tmp_path / "canary"
    write(tmp_path / name, Evil(canary))
    embed = ("embed", "x.fa", "-o", "out.h5", "-m")
    refused(f"{name}: a pickle file, which can run code; models are", *embed, name)
    refused(f"{name}", "import", "hyenadna", name, "-o", "new")
    refused(f"{name}: a pickle file, which can run code", "info", name)
    (tmp_path / "link").symlink_to(name)
    refused("link: ", *embed, "link")
    assert not canary.exists()
    if write is bare:
        pickle.loads((tmp_path / name).read_bytes())
    else:
        torch.load(tmp_path / name, weights_only=False)
    assert canary.exists()  # it would have sung


@pytest.mark.parametrize("write", [archive, old_archive, bare])
@pytest.mark.parametrize("part", [CONFIG, WEIGHTS, MANIFEST])
def test_pickles_under_other_names(model, refused, tmp_path, write, part):
    canary = tmp_path / "canary"
    write(model / part, Evil(canary))
    if part != MANIFEST:
        seal(model)
    refused(rf"m/{part}: ")
    assert not canary.exists()


def test_folders_of_distributed_torch(refused, model, tmp_path):
    canary = tmp_path / "canary"
    folder = tmp_path / "dcp"
    folder.mkdir()
    (folder / ".metadata").write_bytes(pickle.dumps(Evil(canary)))
    (folder / "__0_0.distcp").write_bytes(b"x")
    message = "dcp: a folder of torch.distributed, which is read by running code; "
    refused(message, "embed", "x.fa", "-o", "out.h5", "-m", "dcp")
    refused(message, "info", "dcp")
    refused("dcp: a folder; the", "import", "hyenadna", "dcp", "-o", "new")
    assert not canary.exists()


def put(**values):
    def change(tensors):
        tensors.update({name.replace("__", "."): v for name, v in values.items()})

    return change


def drop_biases(tensors):
    for name in [name for name in tensors if name.endswith("bias")]:
        del tensors[name]


WEIGHT_FAULTS = {
    "missing": (drop_biases, r"missing: \S+bias(, \S+bias){4} and \d+ more$"),
    "extra": (put(a=torch.ones(1), b=torch.ones(1)), "unknown: a, b$"),
    "shape": (
        put(trunk__norm__weight=torch.ones(129)),
        r"wrong shape: trunk\.norm\.weight \[129\] instead of \[128\]$",
    ),
    "int64": (put(trunk__norm__weight=torch.ones(128).long()), r"weight \(I64\)$"),
    "fp8": (
        put(trunk__norm__weight=torch.ones(128).to(torch.float8_e4m3fn)),
        r"weight \(F8_E4M3\)$",
    ),
    "nan": (
        put(trunk__norm__weight=torch.full((128,), torch.nan)),
        r"trunk\.norm\.weight holds NaN or infinite numbers; the weights are damaged$",
    ),
    "infinite": (
        put(trunk__norm__bias=torch.full((128,), -torch.inf)),
        r"trunk\.norm\.bias holds NaN or infinite numbers",
    ),
    "zero": (
        put(trunk__norm__weight=torch.zeros(128)),
        r"trunk\.norm\.weight is all zero",
    ),
}


@pytest.mark.parametrize("fault", WEIGHT_FAULTS)
def test_weights(model, refused, fault):
    change, message = WEIGHT_FAULTS[fault]
    tensors = load_file(model / WEIGHTS)
    change(tensors)
    save_file(tensors, model / WEIGHTS)
    seal(model)
    refused(rf"m/{WEIGHTS}: .*{message}", built=True)


CONFIG_FAULTS = {
    "unknown key": ({"code": "x"}, r"unknown key 'code' \(known: width, layers"),
    "text": ({"width": "128"}, "width must be a whole number, got '128'"),
    "true": ({"layers": True}, "layers must be a whole number, got True"),
    "fraction": ({"layers": 1.5}, "layers must be a whole number, got 1.5"),
    "negative": ({"width": -128}, "width must be 1 to 65536, got -128"),
    "huge": ({"layers": 10**9}, "layers must be 1 to 1024, got 1000000000"),
    "endless": ({"layers": 10**5000}, r"(layers must be|not JSON)"),
    "all at once": (
        {"width": 65_536, "layers": 1024, "expand": 64},
        r"[\d,]+ parameters of width, layers and filters, at most 2,000,000,000 are",
    ),
    "more than the file backs": (
        {"width": 4096},
        r"does not fit config\.json: [\d,]+ numbers instead of 6",
    ),
    "no filters": ({"filters": []}, "filters must be 1 to `layers` filters, got 0"),
    "taps": (
        {"filters": [{"family": "sgconv", "taps": 1 << 40}]},
        "filter.taps must be 1 to 16777216",
    ),
    "family": (
        {"filters": [{"family": "os.system", "taps": 1}]},
        "filter.family must be one of implicit, sgconv, squash, modal, explicit, got",
    ),
    "path": ({"weights": "../../etc/passwd"}, "unknown key 'weights'"),
    "url": ({"url": "https://x.org/m"}, "unknown key 'url'"),
    "head": ({"head": "eval"}, "head must be one of tied, free, none, got 'eval'"),
    "epsilon": ({"norm_eps": 1e400}, "norm_eps must be"),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_configurations(model, refused, fault):
    changes, message = CONFIG_FAULTS[fault]
    sys.set_int_max_str_digits(0)
    values = {**json.loads((model / CONFIG).read_text()), **changes}
    (model / CONFIG).write_text(json.dumps(values))
    sys.set_int_max_str_digits(4300)
    seal(model)
    refused(rf"m/(config\.json|{WEIGHTS}): .*{message}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../../no/such", r"no model '\.\./\.\./\.\./no/such': not a folder"),
        ("/no/such", "no model '/no/such': not a folder"),
        ("https://x.org/m", "nothing is fetched from a network"),
        ("file:///etc/passwd", "nothing is fetched from a network"),
        ("x.fa", "x.fa: not a folder; a model is a folder of config.json"),
        ("/dev/zero", "/dev/zero: not a folder"),
    ],
)
def test_places_that_are_no_model(model, refused, name, message):
    refused(message, "embed", "x.fa", "-o", "out.h5", "-m", name)


@pytest.mark.parametrize("part", [CONFIG, WEIGHTS, MANIFEST])
def test_links_that_lead_outside(model, refused, tmp_path, part):
    (model / part).rename(tmp_path / "elsewhere")
    (model / part).symlink_to(tmp_path / "elsewhere")
    refused(rf"m/{part}: leads outside the model folder; copy the file there")


def test_the_longest_header(model, refused):
    with (model / WEIGHTS).open("r+b") as file:
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(100_000_100)  # of which the disk holds nothing
    seal(model)
    refused("the header takes 100,000,001 bytes, at most 100,000,000 are read")


def test_a_file_that_shrinks_while_it_is_read(model, refused, monkeypatch):
    """Mapped, it would end the process with SIGBUS."""
    real = os.fstat

    def then_truncated(fd):
        facts = real(fd)
        if facts.st_size == (model / WEIGHTS).stat().st_size:
            os.truncate(model / WEIGHTS, 1_000_000)
        return facts

    monkeypatch.setattr(weight_files.os, "fstat", then_truncated)
    refused(rf"m/{WEIGHTS}: damaged: 1,000,000 bytes, model\.json says 2,704,448")


@pytest.mark.parametrize(
    ("scale", "words", "message"),
    [
        (
            1e6,
            ["--dtype", "float16"],
            r"a:1-4, column dim\d+: \S+ does not fit into float16 \(largest 65,504\): "
            "run again with --dtype float32 --overwrite",
        ),
        (
            3e38,
            [],
            r"a:1-4, column dim\d+: the model gives -?(inf|nan), wanted a finite",
        ),
    ],
    ids=["float16", "infinite"],
)
def test_numbers_that_cannot_be_stored(model, genomeconv, scale, words, message):
    """Weights that are finite and give what is not: 70, and nothing silent."""
    tensors = load_file(model / WEIGHTS)
    tensors[NORM] = torch.full((128,), scale)
    save_file(tensors, model / WEIGHTS)
    seal(model)
    command = ["embed", "x.fa", "-m", "m", "-o", "out.h5", "--bin", "4"]
    outcome = genomeconv(*command, *words)
    assert outcome.code == 70
    assert re.search(f"^genomeconv: error: {message}", outcome.err, re.M), outcome.err
    assert not Path("out.h5").exists()
    if words:
        assert genomeconv(*command, "--overwrite").code == 0
