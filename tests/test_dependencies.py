"""What is declared, what is locked and what is tested are the same packages."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OURS = PROJECT["name"]
LOCK = ROOT / ".ci" / "requirements.lock"
LINE = re.compile(r"([a-z0-9.-]+)==([\w.+!]+) \\\n    --hash=sha256:[0-9a-f]{64}\n")
BEYOND_DEV = {"fuzz"}


def requirements(*extras: str) -> dict[str, Requirement]:
    """Return what the package and these extras ask for, by name."""
    lists = [PROJECT["dependencies"], *(EXTRAS[name] for name in extras)]
    found = [Requirement(text) for each in lists for text in each]
    return {canonicalize_name(r.name): r for r in found if r.name != OURS}


DECLARED = requirements(*EXTRAS)
OF_DEV = requirements(*(set(EXTRAS) - BEYOND_DEV))


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = (s.version for s in requirement.specifier if s.operator == ">=")
    return Version(bound)


def locked() -> dict[str, str]:
    """Return the versions of the lock; nothing but such lines may stand in it."""
    text = re.sub(r"\A(#.*\n)+", "", LOCK.read_text())
    assert LINE.sub("", text) == ""
    found = LINE.findall(text)
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_dependency_has_a_lower_bound_that_is_tested(name: str) -> None:
    """`make test-minimum` runs the tests with the bounds themselves."""
    bound = lower_bound(DECLARED[name])
    if name in OF_DEV:
        assert bound <= Version(version(name))


def test_dev_brings_all_that_tests_need() -> None:
    (ours,) = (r for r in map(Requirement, EXTRAS["dev"]) if r.name == OURS)
    assert ours.extras == set(EXTRAS) - BEYOND_DEV - {"dev"}


def test_the_lock_fits_what_is_declared() -> None:
    pins = locked()
    assert OF_DEV.keys() <= pins.keys()
    for name, requirement in OF_DEV.items():
        assert requirement.specifier.contains(pins[name]), requirement


def test_torch_is_never_one_that_reads_past_weights_only() -> None:
    """CVE-2025-32434 and CVE-2026-24747 are mended in 2.6 and 2.10."""
    assert lower_bound(DECLARED["torch"]) >= Version("2.10")
