"""Logistic regression on counts of k-mers: what a model of classes is set beside.

Axes: I sequences, M k-mers of all sequences, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from genomeconv.alphabet import Codes, N

SIZES = (4, 5, 6)
STRENGTHS = (1e-3, 1e-2)
"""Of the penalty on squared weights."""
_ROUNDS = 50

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class KmerRegression:
    """P(class) = softmax(sum of the weights of a sequence's k-mers, and a bias)."""

    k: int
    strength: float
    weights: Tensor
    """(4^k, C)."""
    bias: Tensor
    """(C,)."""

    def probabilities(self, sequences: Sequence[Codes]) -> Floats:
        """Return the probability of each class, (I, C)."""
        z = _logits(*_kmers(sequences, self.k), self.weights, self.bias)
        found: Floats = z.double().softmax(1).numpy()
        return found


def fit(
    sequences: Sequence[Codes],
    classes: Sequence[int],
    k: int,
    strength: float,
    size: int,
) -> KmerRegression:
    """Return the regression of least cross-entropy and penalty (L-BFGS, from zero).

    Parameters
    ----------
    sequences : sequence of Codes
        K-mers with an N do not count.
    classes : sequence of int, (I,)
    k : int
    strength : float
        The penalty is strength / 2 times the sum of the squared weights.
    size : int
        Classes there are.
    """
    kmers, starts = _kmers(sequences, k)
    y = torch.tensor(classes)
    weights = torch.zeros(4**k, size, requires_grad=True)
    bias = torch.zeros(size, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=_ROUNDS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        z = _logits(kmers, starts, weights, bias)
        value = F.cross_entropy(z, y) + strength / 2 * weights.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return KmerRegression(
        k=k, strength=strength, weights=weights.detach(), bias=bias.detach()
    )


def best_fit(
    train: Sequence[Codes],
    classes: Sequence[int],
    watched: Sequence[Codes],
    right: Sequence[int],
    size: int,
) -> KmerRegression:
    """Return the regression whose k and strength suit the watched sequences best.

    Judged by their cross-entropy.
    """
    at = np.arange(len(watched)), np.asarray(right)
    fits = [fit(train, classes, k, s, size) for k in SIZES for s in STRENGTHS]
    losses = [-np.log(f.probabilities(watched)[at] + 1e-300).mean() for f in fits]
    return fits[int(np.argmin(losses))]


def _kmers(sequences: Sequence[Codes], k: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of all k-mers, (M,), and where each sequence's begin, (I,)."""
    parts = [_numbers(codes, k) for codes in sequences]
    sizes = [len(part) for part in parts]
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)
    return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(starts)


def _numbers(codes: Codes, k: int) -> npt.NDArray[np.int64]:
    size = max(0, len(codes) - k + 1)
    out, unknown = np.zeros(size, np.int64), np.zeros(size, bool)
    for i in range(k):
        letters = codes[i : i + size]
        out = 4 * out + letters
        unknown |= letters == N
    return out[~unknown]


def _logits(kmers: Tensor, starts: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    return F.embedding_bag(kmers, weights, starts, mode="sum") + bias
