"""What is installed is what the repository holds."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [
    Path(folder)
    for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
]


def repository_files() -> set[Path]:
    """Files that git holds or would take; the test is skipped outside a checkout."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    names = map(Path, filter(None, listing.stdout.split("\0")))
    return {name for name in names if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    expected = {
        name.relative_to(package.parent).as_posix()
        for name in repository_files()
        for package in PACKAGES
        if name.is_relative_to(package)
    }
    installed = {name for name in wheel if ".dist-info/" not in name}
    assert installed == expected


def test_the_wheel_says_that_it_is_typed_and_licensed(wheel):
    assert {f"{package.name}/py.typed" for package in PACKAGES} <= wheel
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    assert any(name.endswith("entry_points.txt") for name in wheel)


def test_every_package_folder_is_listed():
    tops = {
        name.parent
        for name in repository_files()
        if name.name == "py.typed" and name.parts[0] != "tests"
    }
    assert tops == set(PACKAGES)


def test_the_build_finds_imports_where_the_checkers_do():
    nested = {str(package.parent) for package in PACKAGES}
    assert set(PROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"]) == nested
    paths = PROJECT["tool"]["mypy"]["mypy_path"].split(":")
    assert set(paths) == nested - {"."}


def test_no_file_of_the_repository_is_large():
    sizes = {name: (ROOT / name).stat().st_size for name in repository_files()}
    assert {name: size for name, size in sizes.items() if size > 8_000_000} == {}
