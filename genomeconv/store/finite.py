"""Rows that can be stored: finite, also in the type of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomeconv.errors import NonFiniteError
from genomeconv.store import schema
from genomeconv.store.plan import OutputPlan


def stored(plan: OutputPlan, a: int, rows: NDArray[np.float32]) -> NDArray[Any]:
    """Convert rows to the stored type, and refuse what does not fit into it."""
    with np.errstate(over="ignore"):
        cast = np.asarray(rows, schema.DTYPES[plan.dtype])
    check_finite(plan, a, rows, cast)
    return cast


def check_finite(
    plan: OutputPlan, a: int, rows: NDArray[np.float32], cast: NDArray[Any]
) -> None:
    """Refuse rows of which a value is not finite.

    Parameters
    ----------
    plan : OutputPlan
    a : int
        Number of the first row, for the message.
    rows, cast : (R, columns) arrays
        As the model gave them, and as they are to be stored.

    Raises
    ------
    NonFiniteError
        Names the first such value by its region and column.
    """
    finite = np.isfinite(cast)
    if finite.all():
        return
    row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
    value = float(rows[row, column])
    part = plan.rows.slice(a + int(row), a + int(row) + 1)
    name = plan.rows.sequence_names[int(part.sequence[0])]
    where = f"{name}:{int(part.start[0]) + 1:,}-{int(part.end[0]):,}"
    what = f"{where}, column {plan.columns[int(column)]}: "
    if np.isfinite(value):
        raise NonFiniteError(
            f"{what}{value:g} does not fit into float16 (largest 65,504): run again "
            "with --dtype float32 --overwrite"
        )
    raise NonFiniteError(
        f"{what}the model gives {value:g}, wanted a finite number: check its weights, "
        "or run again with --precision float32 --overwrite"
    )
