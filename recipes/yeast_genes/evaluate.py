"""Judge yeast-genes on chromosomes XIII to XVI, beside baselines and AUGUSTUS.

python recipes/yeast_genes/evaluate.py yeast.run -o benchmarks/results/yeast-genes.json
--augustus augustus.gff --save data/genomeconv_data/models/yeast-genes
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from genomeconv.train.annotation_files import read_annotation
from genomeconv.train.config import from_dict
from genomeconv.train.corpus import Corpus
from genomeconv.train.judge_labels import judge_annotation, judge_labels
from genomeconv.train.record import read_record
from genomeconv.train.splits import make_splits
from genomeconv.weights import load_model


def say(level: str, text: str) -> None:
    """Print what the library has to say."""
    print(f"{level}: {text}", file=sys.stderr)


def results(run: Path, augustus: Path | None) -> dict[str, Any]:
    """Return data, split, seed, metrics and baselines of a run."""
    record, loaded = read_record(run), load_model(run / "model")
    config = from_dict(record["config"])
    corpus = Corpus.open(config.data, say)
    splits = make_splits(config, corpus)
    path = config.objective.annotation
    out = {
        "model": loaded.name,
        "model_sha256": loaded.sha256,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "data": loaded.card["data"],
        "annotation": Path(path).name,
        "splits": record["splits"],
        "seed": config.schedule.seed,
        "progress": loaded.card["progress"],
        "training": loaded.card["training"],
        "results": judge_labels(loaded.model, path, corpus, splits, say),
        "software": record["software"],
    }
    if augustus:
        annotation = read_annotation(path, corpus.length_of, corpus.label, say)
        other = read_annotation(augustus, corpus.length_of, corpus.label, say)
        found = judge_annotation(other, corpus, annotation, splits["test"])
        out["results"]["test"]["augustus_cds"] = found
    return out


def main() -> None:
    """Parse the command line, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of genomeconv train")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON")
    parser.add_argument("--augustus", type=Path, help="GFF of AUGUSTUS on the test")
    parser.add_argument("--save", type=Path, help="model folder to make")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = results(args.run, args.augustus)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(found, indent=1) + "\n")
    json.dump(found["results"], sys.stdout, indent=1)
    if args.save:
        shutil.copytree(args.run / "model", args.save)


if __name__ == "__main__":
    main()
