"""Pictures of an output file.

Axes: R rows of the file, C columns, P principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import genomeconv
from genomeconv.errors import DataError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from genomeconv.store import Reader


Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

HEAT_COMPONENTS = 16
LINE_COMPONENTS = 3
MAX_POSITIONS = 4096  # more than a picture has pixels across
READ_ROWS = 1 << 16
PARTS = 300  # a running mean leaves about so many independent parts of the sequence
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73")  # told apart by every eye
HEAT_COLOURS = "PuOr"
PERCENTILES = (2, 98)
_NONE = np.empty(0, np.int64)


def embeddings_along(
    path: Path | str, out_png: Path | str, sequence: str | None = None
) -> None:
    """Draw the embeddings of one sequence along its positions.

    Above, a heat map of the strongest principal components, each in units of its own
    standard deviation; below, the first three as lines. Long sequences are smoothed.

    Parameters
    ----------
    path
        An output of `genomeconv embed`.
    out_png
        The picture to write; its suffix says in which format.
    sequence
        Name of the sequence; None takes the one with the most rows.

    Raises
    ------
    DataError
        If the file holds no such sequence, or fewer than 3 rows of it.
    UsageError
        If matplotlib is not installed.
    """
    _check_matplotlib()
    with genomeconv.open(path) as reader:
        name = _longest(reader) if sequence is None else sequence
        if name not in reader.sequences:
            raise DataError(
                f"{path}: no sequence {name!r}; `genomeconv info` says what is there"
            )
        track = _pooled(reader, name)
        model = reader.provenance["model"]
    if len(track.start) < LINE_COMPONENTS:
        raise DataError(
            f"{path}: {name!r} has {track.rows} rows, a picture needs at least "
            f"{LINE_COMPONENTS}; embed with a smaller --bin"
        )
    scores, shares = principal_components(track.x, HEAT_COMPONENTS)
    figure = _draw(scores, shares, track)
    figure.suptitle(
        f"{name}: {track.rows:,} rows, {track.x.shape[1]} columns, model {model}",
        parse_math=False,
    )
    figure.savefig(out_png, dpi=150)


def _check_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise UsageError(
            "pictures need matplotlib; install it with pip install 'genomeconv[plot]'"
        )


def _longest(reader: Reader) -> str:
    entries = reader.sequences
    return max(
        entries, key=lambda name: entries[name].row_stop - entries[name].row_start
    )


@dataclass(frozen=True, kw_only=True)
class Track:
    """Rows of one sequence in the order of their positions, few enough to draw.

    Attributes
    ----------
    rows : int
        Rows of the file they stand for.
    x : (R, C) float32
        Embeddings, means of as many neighbours as `rows` has for each.
    start, end : (R,) int64
        Bases each stands for, 0-based half-open.
    """

    rows: int
    x: Floats
    start: Ints
    end: Ints


def _pooled(reader: Reader, name: str) -> Track:
    """Read the rows of a sequence in pieces, so that any number fits in memory."""
    entry = reader.sequences[name]
    group = max(1, -(-(entry.row_stop - entry.row_start) // MAX_POSITIONS))
    read = group * max(1, READ_ROWS // group)
    parts, rows = [], 0
    for a in range(entry.row_start, entry.row_stop, read):
        part = reader.rows(a, min(a + read, entry.row_stop))
        kept = np.flatnonzero(part.sequence == name)
        if not len(kept):
            continue
        rows += len(kept)
        first = np.arange(0, len(kept), group)
        sizes = np.diff(np.append(first, len(kept)))
        sums = np.add.reduceat(part.X[kept].astype(np.float32), first, axis=0)
        start = np.minimum.reduceat(part.start[kept], first)
        end = np.maximum.reduceat(part.end[kept], first)
        parts.append((sums / sizes[:, None].astype(np.float32), start, end))
    if not parts:
        return Track(rows=0, x=np.empty((0, 0), np.float32), start=_NONE, end=_NONE)
    x, start, end = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(start, kind="stable")
    return Track(rows=rows, x=x[order], start=start[order], end=end[order])


def principal_components(x: Floats, count: int) -> tuple[Floats, Floats]:
    """Project rows on their strongest directions (singular vectors of centred rows).

    The sign of a component is chosen so that its largest excursion is positive.

    Parameters
    ----------
    x : (R, C)
        Rows.
    count
        Components wanted; fewer come back where there are fewer rows or columns.

    Returns
    -------
    scores : (R, P)
        Coordinates of the rows, strongest component first.
    shares : (P,)
        The part of the whole variance each component holds, 0 to 1.
    """
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left * strength)[:, :count]
    peaks = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
    variance = strength**2
    shares = variance[:count] / max(variance.sum(), np.finfo(np.float64).tiny)
    signed = scores * np.where(peaks < 0, -1.0, 1.0)
    return signed.astype(np.float32), shares.astype(np.float32)


def running_mean(values: Floats, width: int) -> Floats:
    """Average over `width` neighbours; at the ends over those there are.

    Parameters
    ----------
    values : (R, ...)
        What to smooth, along the first axis.
    width
        Odd number of neighbours, itself included.
    """
    half = width // 2
    total = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=total[1:])
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    count = (last - first).reshape(-1, *[1] * (values.ndim - 1))
    mean: Floats = ((total[last] - total[first]) / count).astype(np.float32)
    return mean


def _draw(scores: Floats, shares: Floats, track: Track) -> Figure:
    """Heat map over lines, with one position axis in Mb or kb."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    start, end = track.start, track.end
    unit, bases = ("Mb", 1e6) if end.max() >= 1e6 else ("kb", 1e3)
    width = 1 + 2 * (len(scores) // PARTS // 2)
    smooth = running_mean(scores, width)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    heat, lines = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    edges = np.append(start, end[-1]) / bases
    _draw_heat(heat, smooth, edges)
    heat.set_title(
        f"the {len(shares)} strongest components ({shares.sum():.0%} of the variance)"
        + (f", running mean of {width} rows" if width > 1 else ""),
        fontsize="medium",
    )
    _draw_lines(lines, scores, smooth, shares, (start + end) / 2 / bases)
    lines.set_xlim(edges[0], edges[-1])
    lines.set_xlabel(f"position ({unit})")
    return figure


def _draw_heat(axes: Axes, smooth: Floats, edges: Any) -> None:
    spread = smooth.std(axis=0)
    scaled = smooth / np.where(spread > 0, spread, 1.0)
    limit = float(np.abs(np.percentile(scaled, PERCENTILES)).max()) or 1.0
    mesh = axes.pcolormesh(
        edges,
        np.arange(scaled.shape[1] + 1) + 0.5,
        scaled.T,
        cmap=HEAT_COLOURS,
        vmin=-limit,
        vmax=limit,
        rasterized=True,
    )
    axes.invert_yaxis()
    axes.set_ylabel("principal component")
    axes.figure.colorbar(mesh, ax=axes, label="standard deviations", pad=0.01)


def _draw_lines(
    axes: Axes, scores: Floats, smooth: Floats, shares: Floats, middle: Any
) -> None:
    for component, colour in zip(range(scores.shape[1]), LINE_COLOURS, strict=False):
        axes.plot(middle, scores[:, component], color=colour, alpha=0.15, linewidth=0.5)
        axes.plot(
            middle,
            smooth[:, component],
            color=colour,
            linewidth=1.2,
            label=f"component {component + 1} ({shares[component]:.0%})",
        )
    limits = np.percentile(scores[:, :LINE_COMPONENTS], (0.2, 99.8))
    axes.set_ylim(*(limits + np.array([-0.08, 0.08]) * (np.ptp(limits) or 1.0)))
    axes.set_ylabel("score")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
