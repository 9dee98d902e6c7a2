"""A small model with energy at long lags, and FASTA files to run it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from genomeconv.config import ExplicitFilter, ImplicitFilter, ModelConfig
from genomeconv.model import Model, build_model
from genomeconv.weights import save_model


def lively(config: ModelConfig) -> Model:
    """Return a model none of whose weights is near its quiet start."""
    model = build_model(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model, receptive field of 606 bases, tiles of 7 kb."""
    config = ModelConfig(width=8, layers=2, filters=(ImplicitFilter(taps=300),))
    folder = tmp_path_factory.mktemp("models") / "causal"
    save_model(lively(config), folder, name="causal", card={})
    return folder


@pytest.fixture(scope="session")
def two_sided_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-sided model."""
    filters = (ImplicitFilter(taps=200, right=80), ExplicitFilter(taps=7, right=3))
    config = ModelConfig(width=8, layers=2, filters=filters)
    folder = tmp_path_factory.mktemp("models") / "two-sided"
    save_model(lively(config), folder, name="two-sided", card={})
    return folder


RECORDS = {"chr1": 40_000, "short": 61, "HLA/A*01:01": 5000, "one": 1, "chr2": 20_011}


@pytest.fixture(scope="session")
def sequences() -> dict[str, str]:
    """Sequences by name: long ones, short ones, one base, runs of N."""
    rng = np.random.default_rng(0)
    letters = np.array(list("ACGTN"))
    out = {
        name: "".join(letters[rng.choice(5, size, p=[0.24] * 4 + [0.04])])
        for name, size in RECORDS.items()
    }
    out["chr1"] = out["chr1"][:9000] + "N" * 3000 + out["chr1"][12_000:]
    return out


@pytest.fixture(scope="session")
def fasta(sequences: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sequences as a FASTA file."""
    path = tmp_path_factory.mktemp("fasta") / "genome.fa"
    with path.open("w") as file:
        for name, sequence in sequences.items():
            lines = [sequence[i : i + 60] for i in range(0, len(sequence), 60)]
            file.write(f">{name} test\n" + "\n".join(lines) + "\n")
    return path
