"""The results of a model of tracks as Markdown, beside its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BASELINES = {"mean": "mean of the training text", "gc": "regression on GC"}


def track_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of a card from what ``judge_tracks`` has found."""
    for part, found in results.items():
        yield f"## {part.capitalize()} ({found['bases']:,} bases)\n"
        yield "| track | bins | | Pearson | Poisson deviance |"
        yield "| --- | --- | --- | --- | --- |"
        for name, track in found["tracks"].items():
            for label, row in track_rows(track):
                numbers = " | ".join(_text(row[x]) for x in ("pearson", "deviance"))
                yield f"| {name} | {track['bins']:,} | {label} | {numbers} |"
        yield ""


def track_rows(track: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield who was judged, and the metrics."""
    yield "**this model**", track
    for name, label in BASELINES.items():
        yield label, track["baselines"][name]


def track_summary(results: Mapping[str, Any]) -> str:
    """Return mean Pearson correlations, for one line of `info`."""
    return "; ".join(
        f"{part} Pearson {_mean(found, None)}, regression on GC {_mean(found, 'gc')}"
        for part, found in results.items()
    )


def _mean(found: Mapping[str, Any], baseline: str | None) -> str:
    tracks = found["tracks"].values()
    rows = [t["baselines"][baseline] if baseline else t for t in tracks]
    known = [row["pearson"] for row in rows if row["pearson"] is not None]
    return _text(sum(known) / len(known) if known else None)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
