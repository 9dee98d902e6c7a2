"""The results of a model of classes as Markdown, beside its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "matthews": "Matthews correlation",
    "auroc": "AUROC",
}


def class_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of a card from what ``judge_classes`` has found."""
    for part, found in results.items():
        shown = [name for name in METRICS if name in found]
        yield f"## {part.capitalize()} ({found['sequences']:,} sequences)\n"
        yield "| | " + " | ".join(METRICS[name] for name in shown) + " |"
        yield "| --- |" + " --- |" * len(shown)
        for label, row in class_rows(found):
            yield f"| {label} | " + " | ".join(_text(row[n]) for n in shown) + " |"
        yield ""


def class_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield who was judged, and the metrics."""
    kmers = found["baselines"]["kmers"]
    yield "**this model**", found
    yield f"{kmers['k']}-mers, logistic regression", kmers
    yield "most frequent class", found["baselines"]["majority"]


def class_summary(results: Mapping[str, Any]) -> str:
    """Return Matthews correlations beside the baseline, for one line of `info`."""
    return "; ".join(
        f"{part} Matthews correlation {found['matthews']:.4f}, k-mers "
        f"{found['baselines']['kmers']['matthews']:.4f}"
        for part, found in results.items()
    )


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
