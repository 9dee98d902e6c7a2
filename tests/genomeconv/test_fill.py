"""How much is committed together: about a tile, whatever the rows are."""

from __future__ import annotations

import pytest

from genomeconv.fill import MOST_COMMITS, rows_together

TILE = 7168
GENOME = 3_100_000_000


@pytest.mark.parametrize(
    ("tile", "bases", "rows", "together"),
    [
        (TILE, 20_000_000, 20_000_000 // 1024, 8),
        (TILE, 20_000_000, 20_000_000 // 64, 128),
        (TILE, 20_000_000, 20_000_000, 8192),
        (TILE, 60_000_000, 1_000_000, 128),
        (TILE, GENOME, GENOME // 1024, 64),
        (TILE, GENOME, 25, 1),
        (1 << 20, GENOME, GENOME // 1024, 1024),
        (TILE, 1, 1, 8192),
    ],
    ids=["bins", "small", "bases", "reads", "human", "chromosomes", "GPU", "one"],
)
def test_about_a_tile(tile: int, bases: int, rows: int, together: int) -> None:
    assert rows_together(tile, bases, rows) == together
    assert rows // together <= MOST_COMMITS
