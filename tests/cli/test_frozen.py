"""Names people use: a change here is a change for them, so it must be meant."""

from __future__ import annotations

import importlib

import click
import pytest

import genomeconv
from genomeconv_cli import main

PUBLIC = ["__version__", "open"]

COMMANDS = {
    "embed": [
        "fasta",
        "-o --output",
        "-m --model",
        "--bin",
        "--per-base",
        "--whole",
        "--bed",
        "--region",
        "--empty",
        "--gaps",
        "--soft-mask",
        "--duplicates",
        "--names",
        "--max-length",
        "--allow-truncated",
        "--layer",
        "--strand",
        "--chunk",
        "--dtype",
        "--precision",
        "--device",
        "--kernels",
        "-@ --threads",
        "--compress",
        "-n --dry-run",
        "--overwrite",
        "--break-lock",
        "-q --quiet",
        "-v --verbose",
    ],
    "train": [
        "source",
        "-o --output",
        "--set",
        "--init",
        "--resume",
        "--allow-data-change",
        "--allow-config-change",
        "--allow-reshard",
        "--break-lock",
        "-q --quiet",
        "-v --verbose",
    ],
    "evaluate": [
        "model",
        "fasta",
        "--bed",
        "--annotation",
        "--track",
        "--markov",
        "--order",
        "--device",
        "-@ --threads",
        "--json",
        "-q --quiet",
    ],
    "info": ["file", "--json"],
    "verify": ["file", "--json"],
    "models": ["--json"],
    "import": [],
    "import hyenadna": ["checkpoint", "-o --output", "--l-max", "--shift", "--taps"],
    "doctor": ["fasta", "--dir", "--json"],
    "bench": [
        "what",
        "--json",
        "--quick",
        "-@ --threads",
        "--save",
        "--plan",
        "--length",
        "--taps",
        "--channels",
        "--dtype",
    ],
}

CHOICES = {
    "empty": ["error", "skip"],
    "gaps": ["error", "n", "remove"],
    "soft_mask": ["keep", "n"],
    "duplicates": ["error", "number"],
    "names": ["strict", "replace"],
    "strand": ["forward", "reverse", "both"],
    "dtype": ["float32", "float16"],
    "kernels": ["auto", "triton", "torch"],
    "precision": ["float32", "bfloat16"],
    "compress": ["none", "zstd", "gzip"],
}

EXIT_CODES = {
    "GenomeconvError": 70,
    "UsageError": 2,
    "DataError": 65,
    "InputMissingError": 66,
    "DeviceError": 69,
    "NonFiniteError": 70,
    "CannotCreateError": 73,
    "StorageError": 74,
    "LockedError": 75,
    "PermissionDeniedError": 77,
    "ModelError": 78,
}


def find(name: str) -> click.Command:
    command: click.Command = main.cli
    for word in name.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


def test_public_names():
    assert sorted(genomeconv.__all__) == sorted(PUBLIC)
    assert all(hasattr(genomeconv, name) for name in PUBLIC)


def test_commands():
    top = [name for name in COMMANDS if " " not in name]
    assert main.cli.list_commands(click.Context(main.cli)) == top


@pytest.mark.parametrize("name", COMMANDS)
def test_options(name):
    parameters = [" ".join(parameter.opts) for parameter in find(name).params]
    assert parameters == COMMANDS[name]


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    (option,) = [option for option in find("embed").params if option.name == name]
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == CHOICES[name]
    assert option.default == CHOICES[name][0]


def test_exit_codes():
    errors = importlib.import_module("genomeconv.errors")
    assert {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
    } == EXIT_CODES
