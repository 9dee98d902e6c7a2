"""Published weights give the published numbers here, and harm nobody."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from genomeconv.errors import CannotCreateError, InputMissingError, ModelError
from genomeconv.reference import HyenaDNAReference
from genomeconv.weights import import_hyenadna, load_model

Write = Callable[..., Path]
Make = Callable[..., HyenaDNAReference]
TOLERANCE = 1e-5


def relative(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


def assert_same_numbers(reference: HyenaDNAReference, folder: Path) -> None:
    """Compare with the reference in float64, at the whole and at half the length."""
    model = load_model(folder).model
    exact = copy.deepcopy(reference).double()
    for length in (66, 33):
        tokens = torch.randint(7, 12, (2, length))
        with torch.no_grad():
            assert relative(model.trunk(tokens), exact.backbone(tokens)) < TOLERANCE
            assert relative(model(tokens), exact(tokens)) < TOLERANCE


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "checkpointed"])
def test_lightning(
    tied: bool,
    legacy: bool,
    wrapped: bool,
    make_reference: Make,
    lightning: Write,
    tmp_path: Path,
) -> None:
    reference = make_reference(tied=tied, shift=0.0)
    path = lightning(reference.state_dict(), wrapped=wrapped, legacy=legacy)
    summary = import_hyenadna(path, tmp_path / "out")
    assert summary["head"] == ("tied" if tied else "free")
    assert summary["layout"] == "training code"
    assert summary["ignored_tensors"] == 1
    assert summary["notes"] == []
    assert_same_numbers(reference, tmp_path / "out")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
def test_hub(tied: bool, make_reference: Make, hub: Write, tmp_path: Path) -> None:
    reference = make_reference(tied=tied, shift=0.05)
    summary = import_hyenadna(hub(reference.state_dict()), tmp_path / "out")
    assert (summary["shift"], summary["layout"]) == (0.05, "hub")
    assert_same_numbers(reference, tmp_path / "out")


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_shift_is_an_option(
    shift: float, make_reference: Make, hub: Write, lightning: Write, tmp_path: Path
) -> None:
    reference = make_reference(shift=shift)
    import_hyenadna(hub(reference.state_dict()), tmp_path / "a", shift=shift)
    import_hyenadna(lightning(reference.state_dict()), tmp_path / "b", shift=shift)
    assert_same_numbers(reference, tmp_path / "a")
    assert_same_numbers(reference, tmp_path / "b")


def test_the_wrong_shift_would_be_seen(
    make_reference: Make, hub: Write, tmp_path: Path
) -> None:
    reference = make_reference(shift=0.05)
    import_hyenadna(hub(reference.state_dict()), tmp_path / "out", shift=0.0)
    tokens = torch.randint(7, 12, (1, 66))
    with torch.no_grad():
        found = load_model(tmp_path / "out").model(tokens)
        truth = reference.double()(tokens)
    assert relative(found, truth) > 20 * TOLERANCE


def test_shared_tensors_stored_once(
    reference: HyenaDNAReference, hub: Write, tmp_path: Path
) -> None:
    state = reference.state_dict()
    for i in range(2):
        network = f"backbone.layers.{i}.mixer.filter_fn.implicit_filter."
        del state[f"{network}1.freq"], state[f"{network}5.freq"]
    import_hyenadna(hub(state), tmp_path / "out", shift=0.0)
    assert_same_numbers(reference, tmp_path / "out")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast_and_it_is_said(
    dtype: torch.dtype, reference: HyenaDNAReference, lightning: Write, tmp_path: Path
) -> None:
    path = lightning({k: v.to(dtype) for k, v in reference.state_dict().items()})
    summary = import_hyenadna(path, tmp_path / "out")
    name = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}[dtype]
    assert summary["notes"] == [f"{path}: stored as {name}, computed in float32"]
    rounded = copy.deepcopy(reference)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.to(dtype).float()
    assert_same_numbers(rounded, tmp_path / "out")


def test_taps_are_cut_and_it_is_said(
    reference: HyenaDNAReference, hub: Write, tmp_path: Path
) -> None:
    said: list[tuple[str, ...]] = []
    path, out, whole = hub(reference.state_dict()), tmp_path / "out", tmp_path / "whole"

    def notify(*words: str) -> None:
        said.append(words)

    import_hyenadna(path, out, taps=16, shift=0.0, notify=notify)
    text = (
        "filters cut to 16 of 66 taps: 15% of their window is lost, and the model's "
        "numbers with it"
    )
    assert said == [("warning", text)]
    loaded = load_model(out)
    assert loaded.card["notes"] == [text]
    assert loaded.model.config.left_context() == 2 * (15 + 2)
    import_hyenadna(path, whole, shift=0.0)
    taps = [
        load_model(f).model.trunk.blocks[1].mixer.filter.taps() for f in (out, whole)
    ]
    assert torch.equal(taps[0], taps[1][:, :16])


def test_another_length_is_another_filter(
    reference: HyenaDNAReference, hub: Write, tmp_path: Path
) -> None:
    summary = import_hyenadna(hub(reference.state_dict()), tmp_path / "out", l_max=100)
    assert (summary["l_max"], summary["taps"]) == (100, 100)
    assert summary["notes"] == [
        f"{tmp_path / 'model.safetensors'}: stores no positions for l_max = 100; the "
        "filters are those of that length"
    ]


def test_length_has_to_be_said_where_nothing_tells_it(
    reference: HyenaDNAReference, hub: Write, tmp_path: Path
) -> None:
    state = {k: v for k, v in reference.state_dict().items() if "pos_emb" not in k}
    path = hub(state)
    with pytest.raises(ModelError, match=r"say it with --l-max"):
        import_hyenadna(path, tmp_path / "out")
    import_hyenadna(path, tmp_path / "out", l_max=66, shift=0.0)
    assert_same_numbers(reference, tmp_path / "out")


def test_card_tells_the_origin(
    reference: HyenaDNAReference, lightning: Write, tmp_path: Path
) -> None:
    import_hyenadna(lightning(reference.state_dict()), tmp_path / "out")
    text = (tmp_path / "out" / "model.json").read_text()
    card = json.loads(text)["card"]
    assert card["source"] == "weights.ckpt"
    assert re.fullmatch("[0-9a-f]{64}", card["source_sha256"])
    assert str(tmp_path) not in text


def test_same_checkpoint_same_sha256(
    reference: HyenaDNAReference, lightning: Write, tmp_path: Path
) -> None:
    path = lightning(reference.state_dict())
    for name in "ab":
        import_hyenadna(path, tmp_path / name)
    assert load_model(tmp_path / "a").sha256 == load_model(tmp_path / "b").sha256


def test_existing_output_is_left_alone(
    reference: HyenaDNAReference, lightning: Write, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(CannotCreateError, match=r"out: exists already; choose another"):
        import_hyenadna(lightning(reference.state_dict()), tmp_path / "out")


def edited(state: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**state, name: value}


BLOCK = "backbone.layers.1."
FILTER = f"{BLOCK}mixer.filter_fn."
Z = f"{FILTER}pos_emb.z"
DELTAS = f"{FILTER}modulation.deltas"
FREQ = f"{FILTER}implicit_filter.3.freq"
NORM = f"{BLOCK}norm1."
FAULTS = {
    "other positions": (
        lambda s: edited(s, Z, s[Z] * 1.001),
        r"layers\.1\.\S+\.pos_emb\.z is not HyenaDNA's \(off by 1\.0e-03\)",
    ),
    "other decay": (
        lambda s: edited(s, DELTAS, torch.ones(1, 1, 16)),
        r"modulation\.deltas is not HyenaDNA's",
    ),
    "nan in positions": (
        lambda s: edited(s, Z, torch.full((1, 66, 5), torch.nan)),
        r"pos_emb\.z is not HyenaDNA's \(off by nan\)",
    ),
    "two frequencies": (
        lambda s: edited(s, FREQ, torch.ones(1, 64)),
        "block 1 has more than one frequency",
    ),
    "missing": (
        lambda s: {name: value for name, value in s.items() if name != f"{NORM}bias"},
        r"not a whole HyenaDNA: backbone\.layers\.1\.norm1\.bias is missing",
    ),
    "unknown": (
        lambda s: edited(s, f"{BLOCK}attention.weight", torch.ones(2)),
        r"not HyenaDNA as published: unknown backbone\.layers\.1\.attention\.weight",
    ),
    "shape": (
        lambda s: edited(s, f"{NORM}bias", torch.ones(15)),
        r"layers\.1\.norm1\.bias is \[15\], \[16\] was wanted",
    ),
    "nan": (
        lambda s: edited(s, f"{NORM}bias", torch.full((16,), torch.nan)),
        r"layers\.1\.norm1\.bias holds NaN or infinite numbers",
    ),
    "zero": (
        lambda s: edited(s, f"{NORM}weight", torch.zeros(16)),
        r"layers\.1\.norm1\.weight is all zero",
    ),
    "integers": (
        lambda s: edited(s, f"{NORM}bias", torch.ones(16, dtype=torch.int64)),
        r"norm1\.bias is of type I64, not F64, F32, F16, BF16",
    ),
    "another model": (
        lambda s: {"conv.weight": torch.ones(2)},
        r"not HyenaDNA: model\.backbone\.embeddings.* was wanted, found",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layout", ["lightning", "hub"])
def test_faults(
    fault: str,
    layout: str,
    reference: HyenaDNAReference,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    edit, message = FAULTS[fault]
    state = edit(dict(reference.state_dict()))
    path = request.getfixturevalue(layout)(state)
    with pytest.raises(ModelError, match=message) as caught:
        import_hyenadna(path, tmp_path / "out")
    assert caught.value.exit_code == 78
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


class EvilState:
    """Runs code when its state is set, or when it is made."""

    def __setstate__(self, state: Any) -> None:
        Path(state["canary"]).touch()

    def __reduce__(self) -> tuple[Any, ...]:
        return EvilState, (), {"canary": os.environ["CANARY"]}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["beside", "inside", "alone", "plain"])
def test_no_pickle_is_executed(
    legacy: bool,
    place: str,
    reference: HyenaDNAReference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setenv("CANARY", str(canary))
    evil = [Evil(canary), EvilState()]
    state: dict[str, Any] = {f"model.{k}": v for k, v in reference.state_dict().items()}
    if place == "inside":
        state["model.backbone.ln_f.bias"] = evil
    content = {"state_dict": state, "hyper_parameters": evil}
    path = tmp_path / "evil.ckpt"
    if place == "plain":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(
            evil if place == "alone" else content,
            path,
            _use_new_zipfile_serialization=not legacy,
        )
    if place == "beside":
        import_hyenadna(path, tmp_path / "out")
    else:
        with pytest.raises(ModelError):
            import_hyenadna(path, tmp_path / "out")
        with pytest.raises(ModelError, match=r"a pickle file, which can run code"):
            load_model(path)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_checkpoints(
    kind: str, make_reference: Make, lightning: Write, hub: Write, tmp_path: Path
) -> None:
    state = make_reference(width=2, l_max=8).state_dict()
    write = hub if kind == "safetensors" else lightning
    path = write(state, **({"legacy": True} if kind == "legacy" else {}))
    data = path.read_bytes()
    for n in range(60):
        path.write_bytes(data[: len(data) * n // 60])
        with pytest.raises(ModelError):
            import_hyenadna(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint: wanted safetensors or a file of torch.save"),
        (b"hello, world", "not a checkpoint"),
        (b"PK\x03\x04rubbish", r"damaged archive \(File is not a zip file\)"),
        (b"\x80\x02K\x01.", "a pickle, but not one of torch.save"),
    ],
    ids=["empty", "text", "zip", "pickle"],
)
def test_other_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        import_hyenadna(path, tmp_path / "out")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"x\.ckpt: no such file"):
        import_hyenadna(tmp_path / "x.ckpt", tmp_path / "out")
    with pytest.raises(ModelError, match="a folder; the checkpoint file itself"):
        import_hyenadna(tmp_path, tmp_path / "out")
    with pytest.raises(CannotCreateError, match="does not exist; make it first"):
        import_hyenadna(tmp_path / "x.ckpt", tmp_path / "no" / "out")


@pytest.mark.parametrize("taps", [0, 67, -1])
def test_impossible_taps(
    taps: int, reference: HyenaDNAReference, hub: Write, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="taps must be 1 to the filters' 66, got"):
        import_hyenadna(hub(reference.state_dict()), tmp_path / "out", taps=taps)


def test_a_tensor_larger_than_its_storage(
    reference: HyenaDNAReference, lightning: Write, tmp_path: Path
) -> None:
    z = torch.ones(1).expand(1, 1 << 40, 5)
    state = edited(reference.state_dict(), f"{BLOCK}mixer.filter_fn.pos_emb.z", z)
    with pytest.raises(ModelError, match=r"damaged: .*pos_emb\.z exceeds its storage"):
        import_hyenadna(lightning(state), tmp_path / "out")


def test_lengths_beyond_all_measure(
    reference: HyenaDNAReference, hub: Write, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"filter\.taps must be 1 to 16777216"):
        import_hyenadna(hub(reference.state_dict()), tmp_path / "out", l_max=1 << 40)


MEASURE = """
import sys
from pathlib import Path
from genomeconv.peak import peak_bytes
from genomeconv.weights import import_hyenadna
before = peak_bytes()
summary = import_hyenadna(Path(sys.argv[1]), Path(sys.argv[2]))
print(summary["l_max"], (peak_bytes() - before) // 1024)
"""


def test_a_million_positions_in_bounded_memory(tmp_path: Path) -> None:
    """Four blocks store 96 MB of positions; one is in memory at a time."""
    torch.manual_seed(0)
    state = HyenaDNAReference(8, 4, 1_000_002).state_dict()
    del state["lm_head.weight"]
    path = tmp_path / "model.safetensors"
    save_file({f"hyena.{name}": value.clone() for name, value in state.items()}, path)
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    l_max, grown = map(int, done.stdout.split())
    assert l_max == 1_000_002
    assert grown < 80_000  # kB
