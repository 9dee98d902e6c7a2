"""Means of the embeddings over the bases of each row, tile by tile.

Axes: P positions of a tile, R rows, D channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomeconv.transfer import upload

Edges = Callable[[int, int], npt.NDArray[np.int64]]
"""Begin of rows ``first`` to ``last`` - 1 and the end of the last of them."""


class RowMeans:
    """Turns tiles of per-base vectors into means over rows, in ascending order.

    Sums are float64 and taken tile by tile, so that a mean depends on the rows and
    on the grid of tiles, never on where a run began.

    Parameters
    ----------
    edges : Edges
        Positions of the rows, ascending and gapless.
    rows : int
        Number of rows.
    first : int
        Row to begin with. If it begins before the first tile given, its mean is
        that of the bases seen only: the caller drops it.
    """

    def __init__(self, edges: Edges, rows: int, first: int = 0) -> None:
        self.edges = edges
        self.rows = rows
        self.next = first
        self._open: Tensor | None = None

    def add(self, position: int, x: Tensor) -> tuple[int, Tensor]:
        """Take the vectors of positions from ``position`` on, (P, D).

        Returns
        -------
        first, means : int, Tensor
            Number of the first row they finish, and the means (R, D) in float32.
        """
        first, stop = self.next, position + len(x)
        edges = self.edges(first, min(first + len(x) + 1, self.rows))
        edges = edges[: np.searchsorted(edges, stop, side="right")]
        if not len(edges):
            return first, x[:0]
        cuts = np.maximum(edges - position, 0)
        sums = _segment_sums(x, cuts)
        if self._open is not None and len(sums):
            sums[0] += self._open
            self._open = None
        self.next = first + len(sums)
        if self.next < self.rows and cuts[-1] < len(x):
            rest = x[cuts[-1] :].sum(0, dtype=torch.float64)
            self._open = rest if self._open is None else self._open + rest
        sizes = upload(np.diff(edges), x.device)
        return first, (sums / sizes[:, None]).to(x.dtype)


def _segment_sums(x: Tensor, cuts: npt.NDArray[np.int64]) -> Tensor:
    """Return the sums of x[cuts[i]:cuts[i + 1]], (R, D) in float64."""
    sizes = np.diff(cuts)
    if not len(sizes):
        return x.new_empty(0, x.shape[1], dtype=torch.float64)
    # Segments of one size are summed together: all but the first and the last.
    turns = np.flatnonzero(np.diff(sizes)) + 1
    parts = []
    for low, high in zip([0, *turns], [*turns, len(sizes)], strict=True):
        run = x[cuts[low] : cuts[high]].view(high - low, -1, x.shape[1])
        parts.append(run.sum(1, dtype=torch.float64))
    return torch.cat(parts)
