"""Names stand for what ships and what is lent by a variable, and for nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import genomeconv_data
from genomeconv.errors import InputMissingError, ModelError
from genomeconv.weights import (
    DEFAULT_MODEL,
    describe,
    find_folder,
    list_models,
    load_model,
)


@pytest.fixture(autouse=True)
def _bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ships but what a test puts there."""
    (tmp_path / "data" / "models").mkdir(parents=True)
    monkeypatch.setattr(genomeconv_data, "__file__", str(tmp_path / "data" / "x.py"))
    monkeypatch.delenv("GENOMECONV_MODELS", raising=False)


def ship(folder: Path, name: str) -> Path:
    root = Path(genomeconv_data.__file__).parent / "models" / name
    shutil.copytree(folder, root)
    return root


def test_listing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(folder, "a")
    shipped = ship(folder, DEFAULT_MODEL)
    lent = tmp_path / "lent"
    for name in ("b", DEFAULT_MODEL, ".hidden"):
        shutil.copytree(folder, lent / name)
    (lent / "no-model").mkdir()
    (lent / "file").touch()
    monkeypatch.setenv("GENOMECONV_MODELS", f"{tmp_path / 'absent'}{os.pathsep}{lent}")
    rows = list_models()
    assert [row["name"] for row in rows] == [DEFAULT_MODEL, "a", "b"]
    assert rows[0] == {
        "name": DEFAULT_MODEL,
        "parameters": load_model("a").model.config.parameters(),
        "width": 8,
        "layers": 2,
        "taps": 16,
        "context_bases": 2 * (15 + 2) + 1,
        "description": "a small one",
        "folder": str(shipped),
    }
    assert json.loads(json.dumps(rows)) == rows
    assert load_model().path == shipped


def test_a_damaged_model_does_not_hide_the_others(folder: Path) -> None:
    ship(folder, "a")
    broken = ship(folder, "b")
    os.truncate(broken / "weights.safetensors", 10)
    rows = list_models()
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[1]["description"].startswith(f"not usable: {broken}/weights")


def test_names_before_folders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = ship(folder, "small")
    monkeypatch.chdir(tmp_path)
    assert find_folder("small") == shipped
    assert find_folder("./small").resolve() == folder
    assert find_folder(Path("small")).resolve() == folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "humen",
            r"no model 'humen': not a folder, and not a model at hand "
            r"\(human, yeast\); did you mean human\?$",
        ),
        ("qqq", r"no model 'qqq': not a folder, .* \(human, yeast\)$"),
        ("", r"no model '': not a folder"),
        ("../../no-such", r"no model '\.\./\.\./no-such': not a folder"),
        ("https://x.org/m", r"nothing is fetched from a network$"),
        ("hf://x/m", r"nothing is fetched from a network$"),
        ("a\0b", r"model 'a\\x00b': a name or a folder was wanted"),
    ],
)
def test_unknown_models(name: str, message: str, folder: Path) -> None:
    ship(folder, "human")
    ship(folder, "yeast")
    with pytest.raises(ModelError, match=message) as caught:
        load_model(name)
    assert caught.value.exit_code == 78


def test_no_models_at_all() -> None:
    assert list_models() == []
    with pytest.raises(ModelError, match=r"not a model at hand \(there is none\)$"):
        load_model("x")


def test_describe_folder(folder: Path) -> None:
    facts = describe(folder)
    assert facts["sha256"] == load_model(folder).sha256
    assert facts["filters"] == ["implicit"]
    assert facts["types"] == ["F32"]
    assert (facts["left_context_bases"], facts["right_context_bases"]) == (34, 0)
    assert json.loads(json.dumps(facts)) == facts


def test_describe_weights(folder: Path) -> None:
    facts = describe(folder / "weights.safetensors")
    assert facts == {
        "kind": "weights",
        "tensors": 49,
        "numbers": load_model(folder).model.config.parameters(),
        "types": ["F32"],
    }


def test_describe_damage(folder: Path, tmp_path: Path) -> None:
    os.truncate(folder / "weights.safetensors", 100)
    with pytest.raises(ModelError, match="damaged: 100 bytes"):
        describe(folder)
    with pytest.raises(InputMissingError, match="no such file"):
        describe(tmp_path / "x.safetensors")


def test_listing_and_describing_need_no_torch(folder: Path) -> None:
    code = (
        "import sys; from genomeconv.weights import describe, list_models; "
        f"list_models(); describe({str(folder)!r}); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
