"""Bits per base on held-out text, beside Markov models of the training text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from genomeconv.alphabet import Codes
from genomeconv.model import Model
from genomeconv.train.bases.bits import Scorer, Totals, markov_bits, tally
from genomeconv.train.bases.markov import Markov, longest_order
from genomeconv.train.config import ObjectiveConfig
from genomeconv.train.data.corpus import Corpus
from genomeconv.train.data.splits import Splits, Stretch, bases

JUDGED_BASES = 4_000_000
"""Most bases of a split that are judged at the end."""


def judge_bits(
    model: Model, objective: ObjectiveConfig, corpus: Corpus, splits: Splits
) -> dict[str, Any]:
    """Return bits per base on the held-out splits, the model's and the baselines'.

    The Markov models learn from the training text; how they are interpolated is
    chosen on the validation text (without one, on the test itself: in their favour).
    """
    two_sided = objective.kind == "mask"
    scorer = Scorer(model, objective.mask_id if two_sided else None)
    held_out = {
        part: limited(splits[part], JUDGED_BASES)
        for part in ("valid", "test")
        if splits[part]
    }
    if not held_out:
        return {}
    markov = Markov(
        longest_order(bases(splits["train"]), two_sided=two_sided), two_sided=two_sided
    )
    for record, start, stop in splits["train"]:
        markov.count(corpus.codes(record, start, stop))
    watched = held_out.get("valid", held_out.get("test", []))
    markov.choose_strengths([np.asarray(corpus.codes(*s)) for s in watched])
    return {
        part: _bits(scorer, markov, corpus, stretches)
        for part, stretches in held_out.items()
    }


def _bits(
    scorer: Scorer, markov: Markov, corpus: Corpus, stretches: Sequence[Stretch]
) -> dict[str, Any]:
    ours, theirs = Totals(), Totals()
    for record, start, stop in stretches:
        read, length = partial(_within, corpus, record, start), stop - start
        ours.add(tally(scorer.bits(read, length), length))
        theirs.add(tally(markov_bits(markov, read, length), length))
    model, baselines = ours.bits(), theirs.bits()
    return {
        "bases": ours.counts().get("all", 0),
        "bits_per_base": _rounded(model["all"][0]) if model else None,
        "markov_bits_per_base": [_rounded(b) for b in baselines.get("all", [])],
    }


def _within(corpus: Corpus, record: int, offset: int, a: int, b: int) -> Codes:
    return corpus.codes(record, offset + a, offset + b)


def limited(stretches: Sequence[Stretch], most: int) -> list[Stretch]:
    """Return the same share of each stretch, ``most`` bases in all."""
    share = min(1.0, most / max(1, bases(stretches)))
    return [Stretch(r, a, a + max(1, round(share * (b - a)))) for r, a, b in stretches]


def _rounded(bits: float) -> float | None:
    return None if math.isnan(bits) else round(bits, 4)
