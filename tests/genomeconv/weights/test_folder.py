"""A model folder comes back bit for bit, and no damage to it goes unseen."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from genomeconv.config import (
    ExplicitFilter,
    ImplicitFilter,
    ModalFilter,
    ModelConfig,
    SGConvFilter,
    SquashFilter,
)
from genomeconv.errors import CannotCreateError, ModelError
from genomeconv.model import build_model
from genomeconv.weights import load_model, save_model
from genomeconv.weights.files import write_folder

WEIGHTS = "weights.safetensors"
FAMILIES = [
    ImplicitFilter(taps=20, right=6),
    SGConvFilter(taps=70),
    SquashFilter(taps=9, right=4),
    ModalFilter(taps=5),
    ExplicitFilter(),
]


def seal(folder: Path) -> None:
    """Write sizes and sha256 of the parts as they are now into the manifest."""
    path = folder / "model.json"
    values = json.loads(path.read_text())
    for part in values["files"]:
        data = (folder / part).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        values["files"][part] = {"bytes": len(data), "sha256": digest}
    path.write_text(json.dumps(values))


def change_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    seal(folder)


def change_json(folder: Path, part: str, change: Callable[[Any], Any]) -> None:
    values = json.loads((folder / part).read_text())
    values = change(values) or values
    (folder / part).write_text(json.dumps(values))
    if part == "config.json":
        seal(folder)


def refused(folder: Path | str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", ["tied", "free", "none"])
def test_round_trip(head: Any, tmp_path: Path) -> None:
    config = ModelConfig(width=12, layers=5, filters=tuple(FAMILIES), head=head)
    model = build_model(config, 3)
    save_model(model, tmp_path / "m", name="m", card={"trained_on": ["yeast"]})
    state = torch.get_rng_state()
    loaded = load_model(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), state)
    assert (loaded.name, loaded.card) == ("m", {"trained_on": ["yeast"]})
    assert (loaded.path, loaded.notes) == (tmp_path / "m", ())
    assert not loaded.model.training
    assert loaded.model.config == config
    found = loaded.model.state_dict()
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[k], v) for k, v in model.state_dict().items())
    tokens = torch.randint(0, 5, (1, 50))
    with torch.no_grad():
        model.eval()
        assert torch.equal(loaded.model(tokens), model(tokens))


def test_saving_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    config = ModelConfig(width=4, layers=1, filters=(ExplicitFilter(),))
    model = build_model(config).bfloat16().train()
    save_model(model, tmp_path / "m", name="m", card={})
    assert model.training
    assert model.trunk.embedding.weight.dtype == torch.bfloat16
    assert all(p.requires_grad for p in model.parameters())


def test_sha256_is_of_numbers_not_of_names(folder: Path, tmp_path: Path) -> None:
    first = load_model(folder)
    save_model(first.model, tmp_path / "b", name="other", card={"x": 1})
    assert load_model(tmp_path / "b").sha256 == first.sha256
    first.model.trunk.norm.bias[0] += 1
    save_model(first.model, tmp_path / "c", name="small", card={})
    assert load_model(tmp_path / "c").sha256 != first.sha256


def test_folder_holds_three_files(folder: Path) -> None:
    parts = sorted(path.name for path in folder.iterdir())
    assert parts == ["config.json", "model.json", WEIGHTS]
    assert [p.name for p in folder.parent.iterdir()] == ["small"]
    umask = os.umask(0)
    os.umask(umask)
    assert (folder / WEIGHTS).stat().st_mode & 0o777 == 0o666 & ~umask


def test_existing_folder_is_left_alone(folder: Path) -> None:
    model, before = load_model(folder).model, (folder / "model.json").read_bytes()
    with pytest.raises(CannotCreateError, match=r"small: exists already"):
        save_model(model, folder, name="other", card={})
    assert (folder / "model.json").read_bytes() == before
    with pytest.raises(CannotCreateError, match=r"the folder .*/no does not exist"):
        save_model(model, folder / "no" / "x", name="x", card={})


def test_failed_write_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(folder).model

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left on device") as caught:
        save_model(model, folder.parent / "new", name="new", card={})
    assert caught.value.exit_code == 74  # type: ignore[attr-defined]
    assert [p.name for p in folder.parent.iterdir()] == ["small"]


@pytest.mark.parametrize(
    "name", ["", "a b", "../x", "a/b", ".x", "x\n", "é", "x" * 101]
)
def test_impossible_names(name: str, folder: Path, tmp_path: Path) -> None:
    model = load_model(folder).model
    with pytest.raises(ModelError, match=r"model name .*: wanted letters, digits"):
        save_model(model, tmp_path / "x", name=name, card={})
    assert not (tmp_path / "x").exists()


def test_cards_are_json(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder).model
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_model(model, tmp_path / "x", name="x", card={"loss": float("nan")})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.nan, "holds NaN or infinite"),
        (torch.inf, "NaN or inf"),
        (0, "is all zero"),
    ],
)
def test_bad_weights_are_not_saved(
    value: float, message: str, folder: Path, tmp_path: Path
) -> None:
    model = load_model(folder).model
    model.trunk.norm.weight.fill_(value)
    with pytest.raises(ModelError, match=rf"trunk\.norm\.weight {message}|{message}"):
        save_model(model, tmp_path / "x", name="x", card={})
    assert not (tmp_path / "x").exists()


def test_every_truncation_is_seen(folder: Path) -> None:
    for part in ("config.json", WEIGHTS, "model.json"):
        data = (folder / part).read_bytes()
        for n in range(0, len(data) - 1, max(1, len(data) // 200)):
            (folder / part).write_bytes(data[:n])
            with pytest.raises(ModelError):
                load_model(folder)
        (folder / part).write_bytes(data)
    load_model(folder)


def test_every_flipped_bit_is_seen(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    for n in range(0, len(data), len(data) // 100):
        damaged = bytearray(data)
        damaged[n] ^= 1 << n % 8
        (folder / WEIGHTS).write_bytes(damaged)
        refused(folder, r"weights\.safetensors: damaged or changed: sha256 is \w+…")


def test_truncated_weights_say_so(folder: Path) -> None:
    size = (folder / WEIGHTS).stat().st_size
    os.truncate(folder / WEIGHTS, 1000)
    refused(folder, f"damaged: 1,000 bytes, model.json says {size:,}; copy the model")


@pytest.mark.parametrize("part", ["config.json", WEIGHTS, "model.json"])
def test_missing_parts(part: str, folder: Path) -> None:
    (folder / part).unlink()
    refused(folder, f"small: {part} is missing; a model folder holds config.json, ")


def zero(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda t: t[name].zero_()


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda t: t.update({name: value})


def drop_bias(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.endswith("bias")]:
        del tensors[name]


NORM = "trunk.norm.weight"
WRONG_WEIGHTS = {
    "missing": (
        drop_bias,
        r"does not fit config\.json: missing: trunk\.blocks\.0\.norm1\.bias, \S+, "
        r"\S+, \S+, \S+ and 16 more$",
    ),
    "extra": (put("z", torch.ones(1)), r"does not fit config\.json: unknown: z$"),
    "shape": (
        put(NORM, torch.ones(9)),
        r"wrong shape: trunk\.norm\.weight \[9\] instead of \[8\]$",
    ),
    "transposed": (
        put("trunk.blocks.0.mlp.fc1.weight", torch.ones(8, 32)),
        r"fc1\.weight \[8, 32\] instead of \[32, 8\]$",
    ),
    "int64": (
        put(NORM, torch.ones(8, dtype=torch.int64)),
        r"not F32, F16, BF16: trunk\.norm\.weight \(I64\)$",
    ),
    "float64": (put(NORM, torch.ones(8).double()), r"trunk\.norm\.weight \(F64\)$"),
    "fp8": (
        put(NORM, torch.ones(8).to(torch.float8_e4m3fn)),
        r"trunk\.norm\.weight \(F8_E4M3\)$",
    ),
    "nan": (put(NORM, torch.full((8,), torch.nan)), r"trunk\.norm\.weight holds NaN"),
    "infinite": (
        put("trunk.norm.bias", torch.full((8,), torch.inf)),
        r"trunk\.norm\.bias holds NaN or infinite numbers; the weights are damaged",
    ),
    "zero": (zero(NORM), r"trunk\.norm\.weight is all zero; the weights are damaged"),
    "empty": (lambda t: t.clear(), "missing: trunk.embedding.weight"),
}


@pytest.mark.parametrize("fault", WRONG_WEIGHTS)
def test_wrong_weights(fault: str, folder: Path) -> None:
    change, message = WRONG_WEIGHTS[fault]
    change_weights(folder, change)
    refused(folder, message)


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float16, "F16"), (torch.bfloat16, "BF16")]
)
def test_narrow_weights_are_widened_with_a_note(
    dtype: torch.dtype, name: str, folder: Path
) -> None:
    def narrow(tensors: dict[str, Any]) -> None:
        tensors.update({key: value.to(dtype) for key, value in tensors.items()})

    before = load_model(folder).model.state_dict()
    change_weights(folder, narrow)
    loaded = load_model(folder)
    (note,) = loaded.notes
    assert note == f"{folder / WEIGHTS}: stored as {name}, computed in float32"
    for key, value in loaded.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[key].to(dtype).float())


def test_a_zero_bias_is_no_fault(folder: Path) -> None:
    change_weights(folder, zero("trunk.norm.bias"))
    load_model(folder)


def test_more_is_asked_for_than_the_file_backs(folder: Path) -> None:
    change_json(folder, "config.json", lambda c: c.update(width=4096, layers=2))
    refused(folder, r"config\.json: 20,568 numbers instead of 403,436,672$")


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda folder: change_json(folder, "model.json", change)


def raw(part: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / part).write_text(text) and None


WRONG_MANIFESTS = {
    "not json": (raw("model.json", '{"a":\n x}'), r"model\.json:2:2: not JSON: "),
    "not an object": (
        raw("model.json", "[1]"),
        r"a JSON object was wanted, got '\[1\]'",
    ),
    "deep": (raw("model.json", "[" * 100_000), r"model\.json: not JSON: "),
    "long": (raw("model.json", " " * (1 << 21)), "2,097,152 bytes, at most 1,048,576"),
    "foreign": (raw("model.json", "{}"), "not the manifest of a genomeconv model"),
    "newer": (
        manifest(lambda m: m.update(format_version=2)),
        "model format 2, this genomeconv reads 1; update genomeconv",
    ),
    "unknown key": (manifest(lambda m: m.update(code="x")), "unknown key 'code'"),
    "name": (
        manifest(lambda m: m.update(name="../../x")),
        r"name must be a model's name, got '\.\./\.\./x'",
    ),
    "card": (manifest(lambda m: m.update(card=[])), "card must be an object"),
    "files": (
        manifest(lambda m: m["files"].update({"../../etc/passwd": {}})),
        r"files must be config\.json and weights\.safetensors, nothing else",
    ),
    "facts": (
        manifest(lambda m: m["files"].update({"config.json": {"bytes": 1}})),
        r"files: config\.json must have bytes and a sha256",
    ),
}


@pytest.mark.parametrize("fault", WRONG_MANIFESTS)
def test_wrong_manifests(fault: str, folder: Path) -> None:
    change, message = WRONG_MANIFESTS[fault]
    change(folder)
    refused(folder, message)


def test_config_faults_name_the_file(folder: Path) -> None:
    change_json(folder, "config.json", lambda c: c.update(url="https://x"))
    refused(folder, r"small/config\.json: config: unknown key 'url' \(known: width, ")


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / WEIGHTS, tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    refused(folder, r"weights\.safetensors: leads outside the model folder; copy")


def test_pipes_do_not_block(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    refused(folder, r"weights\.safetensors: not a file")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".PT", ".pkl"])
def test_pickle_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    torch.save({"a": torch.ones(2)}, path)
    refused(
        path,
        f"x{suffix}: a pickle file, which can run code; models are read from "
        r"safetensors only \(published HyenaDNA weights: genomeconv import hyenadna ",
    )


def test_folders_of_distributed_torch_are_refused(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(b"\x80\x02N.")
    refused(tmp_path, "a folder of torch.distributed, which is read by running code")


def test_a_file_is_no_model(folder: Path) -> None:
    refused(folder / WEIGHTS, "not a folder; a model is a folder of config.json, ")


CRASH = """
import os, sys
from pathlib import Path
from genomeconv.config import ExplicitFilter, ModelConfig
from genomeconv.model import build_model
from genomeconv.weights import save_model
wanted, calls, real = int(sys.argv[2]), 0, os.fsync
def fsync(fd):
    global calls
    calls += 1
    if calls == wanted:
        os._exit(9)
    real(fd)
os.fsync = fsync
model = build_model(ModelConfig(width=4, layers=1, filters=(ExplicitFilter(),)))
save_model(model, Path(sys.argv[1]), name="m", card={})
"""


@pytest.mark.parametrize("call", [3, 5])
def test_killed_while_saving(call: int, tmp_path: Path) -> None:
    """Whole or absent: the folder has its name only when all is on disk."""
    target = tmp_path / "m"
    command = [sys.executable, "-c", CRASH, str(target), str(call)]
    assert subprocess.run(command, check=False).returncode == 9
    if call < 5:
        assert not target.exists()
        (leftover,) = tmp_path.iterdir()
        others = [
            tmp_path / f".mm.{leftover.name.removeprefix('.m.')}",
            tmp_path / leftover.name.replace(socket.gethostname(), "elsewhere"),
        ]
        for path in others:
            path.mkdir()
        command[-1] = "0"
        assert subprocess.run(command, check=False).returncode == 0
        assert set(tmp_path.iterdir()) == {target, *others}
    load_model(target)


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    parent = tmp_path / f".m.{socket.gethostname()}.{os.getppid()}.partial"
    parent.mkdir()
    write_folder(tmp_path / "m", {"a": b"1"})
    assert {path.name for path in tmp_path.iterdir()} == {"m", parent.name}
