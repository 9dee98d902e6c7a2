"""Nothing in our source runs what a stranger wrote, or makes a path of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("genomeconv", "kernels", "cli", "data")
    for path in (ROOT / folder).rglob("*.py")
)
FORBIDDEN_MODULES = {
    "cloudpickle",
    "code",
    "dill",
    "joblib",
    "marshal",
    "pickle",
    "_pickle",
    "shelve",
    "yaml",
    "torch.distributed.checkpoint",
    "torch.hub",
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "os.system",
    "os.popen",
    "np.fromstring",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "tempfile.mktemp",
}
FORBIDDEN_KEYWORDS = {"shell": True, "allow_pickle": True, "trust_remote_code": True}


def modules(node: ast.AST) -> set[str]:
    """Return what an import statement brings in: modules, and names of modules."""
    match node:
        case ast.Import(names=names):
            return {alias.name for alias in names}
        case ast.ImportFrom(module=str(module), names=names, level=0):
            return {module, *(f"{module}.{alias.name}" for alias in names)}
    return set()


def faults_of_call(call: ast.Call) -> set[str]:
    name = ast.unparse(call.func)
    keywords = {k.arg: k.value for k in call.keywords}
    given = {k: v.value for k, v in keywords.items() if isinstance(v, ast.Constant)}
    found = {name} & (FORBIDDEN_NAMES | FORBIDDEN_CALLS)
    for key, value in FORBIDDEN_KEYWORDS.items():
        if key in keywords and given.get(key, value) == value:
            found.add(f"{key}={value}")
    if name == "torch.load" and given.get("weights_only") is not True:
        found.add("torch.load")
    return found


def faults(source: str) -> set[str]:
    """Return what in a source could run foreign code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        for module in modules(node):
            parts = module.split(".")
            heads = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
            found |= heads & FORBIDDEN_MODULES
            found |= {module} & (FORBIDDEN_CALLS | {"torch.load"})
        if isinstance(node, ast.Call):
            found |= faults_of_call(node)
    return found


def test_no_source_can_run_foreign_code() -> None:
    found = {path: faults(path.read_text()) for path in SOURCES}
    assert len(found) > 50
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("eval('1')", "eval"),
        ("def f():\n    exec(text)", "exec"),
        ("import pickle", "pickle"),
        ("from pickle import loads as f", "pickle"),
        ("import torch.distributed.checkpoint as dcp", "torch.distributed.checkpoint"),
        ("from torch.distributed import checkpoint", "torch.distributed.checkpoint"),
        ("import yaml", "yaml"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("torch.load(path, weights_only=flag)", "torch.load"),
        ("from torch import load", "torch.load"),
        ("subprocess.run(text, shell=True)", "shell=True"),
        ("subprocess.run(text, shell=flag)", "shell=True"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("os.system('ls')", "os.system"),
    ],
)
def test_the_check_would_see_it(source: str, fault: str) -> None:
    assert faults(source) == {fault}


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "re.compile('x')",
        "model.eval()",
        "subprocess.run(['ps'], shell=False)",
        "from pickletools import genops",
    ],
)
def test_the_check_sees_nothing_else(source: str) -> None:
    assert faults(source) == set()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("words", [(), ("--region", "../../x", "--region", "~")])
def test_no_path_is_made_of_a_name(words, genomeconv, tmp_path, monkeypatch) -> None:
    """Names that lead up, to the root, home, to a variable: only the output appears."""
    import genomeconv as library

    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    names = ["../../x", f"{tmp_path}/abs", "~", "$HOME/x", "..", "a/../../y", "C:\\z"]
    text = "".join(f">{name}\nACGT\n" for name in names)
    (home / "x.fa").write_text(text)
    before = tree(tmp_path)
    assert genomeconv("embed", "x.fa", "-o", "out.h5", *words).code == 0
    made = {"a/b/out.h5"} | ({"a/b/x.fa.fai"} if words else set())
    after = tree(tmp_path)
    assert after.keys() - before.keys() == made
    assert {key: after[key] for key in before} == before
    with library.open(home / "out.h5") as reader:
        assert reader.fetch("../../x").n_bases.tolist() == [4]


def test_a_name_with_nul_is_refused(genomeconv, tmp_path, monkeypatch) -> None:
    """HDF5 would store it cut short, as another name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_bytes(b">a\0b\nACGT\n>a\nACGT\n")
    outcome = genomeconv("embed", "x.fa", "-o", "out.h5")
    assert outcome.code == 65
    assert outcome.err == (
        "genomeconv: error: x.fa:1: a NUL byte in the name 'a\\x00b'; a damaged copy: "
        "copy the file again\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.fa"]
