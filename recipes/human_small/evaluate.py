"""Judge a run of human-small on the held-out slices and make a model folder of it.

python recipes/human_small/evaluate.py RUN --held-out FOLDER --markov MARKOV_JSON
-o benchmarks/results/human-small.json --save MODEL_FOLDER
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from split import HELD_OUT, read_codes

from genomeconv import __version__
from genomeconv.alphabet import SIZE, Codes
from genomeconv.config import from_dict
from genomeconv.model import Model, build_model
from genomeconv.stream import TrunkStream
from genomeconv.train.bits import Scorer, tally
from genomeconv.weights import save_model

NAME = "human-small"
DESCRIPTION = (
    "Causal next-base model of human DNA; a first small version, trained on a CPU."
)
LICENCE = (
    "The training text is GRCh37, public domain. The weights are under the licence "
    "of genomeconv, Apache-2.0."
)
LIMITS = (
    "A first small version: one genome, less than a third of the two strands of 101 Mb "
    "seen, about one hour of one CPU core. It sees 3,075 bases upstream and nothing "
    "downstream. Good for trying things out, not for claims about biology, and never "
    "for clinical use."
)


def streamed_bits(model: Model, codes: Codes) -> float:
    """Return bits a called base, the whole sequence in one piece."""
    parts = Scorer(model).bits(lambda start, stop: codes[start:stop], len(codes))
    sums = tally(parts, len(codes))
    return float(sums.sums["all"][0]) / sums.counts["all"]


def sanity(model: Model, codes: Codes) -> dict[str, float]:
    """Return what a model that learned anything must show.

    Shuffled bases cannot be predicted better than by their composition, and
    embeddings of one base differ with what stands before it.
    """
    shuffled = np.random.default_rng(0).permutation(codes)
    share = np.bincount(codes, minlength=SIZE)[: SIZE - 1] / len(codes)
    tiles = TrunkStream(model.trunk).run(lambda a, b: codes[a:b], len(codes))
    x = torch.cat([tile.clone() for _, tile in tiles])
    same = x[torch.from_numpy(codes == 0)]
    return {
        "bits_shuffled": round(streamed_bits(model, shuffled), 4),
        "entropy_of_composition": round(float(-(share * np.log2(share)).sum()), 4),
        "spread_between_positions": round(float(same.std(dim=0).mean()), 4),
        "spread_of_embeddings": round(float(x.std(dim=0).mean()), 4),
    }


def card(state: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Return the model card."""
    return {
        "description": DESCRIPTION,
        "training_data": "GRCh37 chr20 (63,025,520 bases) and chrX:1-40,000,000 "
        "without chrX:31,115,794-33,357,558 (DMD), both strands, N out of the loss",
        "held_out": [*HELD_OUT, "chrX:31115794-33357558 (the run was watched here)"],
        "recipe": "recipes/human_small",
        "convolution_while_training": "torch.fft of the whole window, the same formula",
        "training": state["config"]["training"],
        "progress": state["progress"],
        "bits_per_base": results["bits_per_base"],
        "markov_bits_per_base": results["markov"],
        "licence": LICENCE,
        "limits": LIMITS,
    }


def main() -> None:
    """Parse the command line, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of train.py")
    parser.add_argument("--held-out", type=Path, required=True, help="FASTA folder")
    parser.add_argument("--markov", type=Path, required=True, help="table of markov.py")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON")
    parser.add_argument("--save", type=Path, help="model folder to make")
    args = parser.parse_args()

    state = torch.load(args.run / "state.pt", weights_only=True)
    model = build_model(from_dict(state["config"]["model"]))
    model.load_state_dict(state["model"])
    model.requires_grad_(False).eval()
    slices = {name: read_codes(args.held_out / file) for name, file in HELD_OUT.items()}
    results: dict[str, Any] = {
        "model": NAME,
        "held_out": list(slices),
        "bits_per_base": {
            n: round(streamed_bits(model, c), 4) for n, c in slices.items()
        },
        "markov": json.loads(args.markov.read_text()),
        "sanity": sanity(model, next(iter(slices.values()))[:200_000]),
        "parameters": sum(p.numel() for p in model.parameters()),
        "progress": state["progress"],
        "config": state["config"],
        "versions": {
            "genomeconv": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    json.dump(results, sys.stdout, indent=1)
    if args.save:
        save_model(model, args.save, name=NAME, card=card(state, results))


if __name__ == "__main__":
    main()
