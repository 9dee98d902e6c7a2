"""The results of a run of gene labels, beside AUGUSTUS and by test sequence.

What the run's card says of model and baselines is taken from there.

python recipes/evaluate_genes.py yeast.run -o benchmarks/results/yeast-genes.json
--augustus augustus.gff --save data/genomeconv_data/models/yeast-genes
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from genomeconv.genes import GeneCosts
from genomeconv.train.config import from_dict
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import Splits, make_splits, region_text
from genomeconv.train.folder.record import read_record
from genomeconv.train.labels.annotation import Annotation
from genomeconv.train.labels.baselines import SITE, learn_baselines
from genomeconv.train.labels.evaluate import averages
from genomeconv.train.labels.files import read_annotation
from genomeconv.train.labels.judge import (
    judge_annotation,
    judge_baselines,
    judge_model,
)
from genomeconv.train.labels.labeller import Labeller
from genomeconv.weights import LoadedModel, load_model


def say(level: str, text: str) -> None:
    """Print what the library has to say."""
    print(f"{level}: {text}", file=sys.stderr)


def results(run: Path, augustus: Path | None, each: bool) -> dict[str, Any]:
    """Return data, split, seed, metrics and baselines of a run.

    Parameters
    ----------
    run : Path
    augustus : Path, optional
        What AUGUSTUS found in the test sequences.
    each : bool
        Judge the model on each stretch of the test by itself as well.
    """
    record, loaded = read_record(run), load_model(run / "model")
    config = from_dict(record["config"])
    corpus = Corpus.open(config.data, say)
    splits = make_splits(config, corpus)
    path = config.objective.annotation
    annotation = read_annotation(path, corpus.length_of, corpus.label, say)
    other = None
    if augustus:
        other = read_annotation(augustus, corpus.length_of, corpus.label, say)
    found = loaded.card["results"]
    if other:
        cds = judge_annotation(other, corpus, annotation, splits["test"])
        found["test"]["augustus_cds"] = cds
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
        "results": found,
        "software": record["software"],
        "mean_average_precision_of_sites": {},
    }
    if each:
        out["each"] = judge_each(loaded, corpus, annotation, splits, other)
        for name, parts in (
            ("model", out["each"].values()),
            ("weight_matrix", [found["baselines"] for found in out["each"].values()]),
        ):
            out["mean_average_precision_of_sites"][name] = mean_of_sites(parts)
    return out


def judge_each(
    loaded: LoadedModel,
    corpus: Corpus,
    annotation: Annotation,
    splits: Splits,
    augustus: Annotation | None,
) -> dict[str, Any]:
    """Return the metrics of each stretch of the test, with what the run has chosen."""
    chosen = loaded.card["results"]["test"]
    costs = GeneCosts(**chosen["costs"])
    labeller = Labeller(loaded.model, averages(loaded.card))
    learned = learn_baselines(corpus, annotation, splits["train"])
    out = {}
    for part in splits["test"]:
        data = corpus, annotation, [part]
        threshold = chosen["cds_chosen"]["threshold"]
        found = judge_model(labeller, *data, costs, threshold)
        found["baselines"] = judge_baselines(learned, *data)
        if augustus:
            found["augustus_cds"] = judge_annotation(augustus, *data)
        out[region_text(part, corpus)] = found
    return out


def mean_of_sites(found: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the mean over donors and acceptors, strands and test sequences."""
    values = [
        value
        for part in found
        for name, value in part["average_precision"].items()
        if name[:-1] in SITE and value is not None
    ]
    return round(fmean(values), 4) if values else None


def main() -> None:
    """Parse the command line, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of genomeconv train")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON")
    parser.add_argument("--augustus", type=Path, help="GFF of AUGUSTUS on the test")
    parser.add_argument("--save", type=Path, help="model folder to make")
    parser.add_argument("--each", action="store_true", help="each test stretch as well")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = results(args.run, args.augustus, args.each)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(found, indent=1) + "\n")
    json.dump(found["results"], sys.stdout, indent=1)
    if args.save:
        shutil.copytree(args.run / "model", args.save)


if __name__ == "__main__":
    main()
