"""The results of a model of gene labels as Markdown, beside its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def label_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of a card from what ``judge_labels`` has found."""
    for part, found in results.items():
        theirs = found["baselines"]
        yield f"## {part.capitalize()} ({found['bases']:,} bases)\n"
        yield "| coding bases | F1 | precision | recall |"
        yield "| --- | --- | --- | --- |"
        chosen = found["cds_chosen"]
        for label, rows in (
            ("logit >= 0", found["cds"]),
            (f"logit >= {chosen['threshold']:.2f}, chosen", chosen),
            ("decoded genes", found["cds_decoded"]),
            (f"open frames of {theirs['shortest_frame']} bases", theirs["cds"]),
        ):
            for which in ("both strands", "either strand"):
                row = rows[which]
                numbers = (row["f1"], row["precision"], row["recall"])
                texts = " | ".join(f"{x:.4f}" for x in numbers)
                yield f"| {label}, {which} | {texts} |"
        yield ""
        yield "| average precision | this model | weight matrix | sites |"
        yield "| --- | --- | --- | --- |"
        for name, count in found["sites"].items():
            mine = found["average_precision"].get(name)
            its = theirs["average_precision"].get(name)
            yield f"| {name} | {_text(mine)} | {_text(its)} | {count:,} |"
        yield ""


def label_summary(results: Mapping[str, Any]) -> str:
    """Return F1 of coding bases beside open frames, for one line of `info`."""
    return "; ".join(
        f"{part} coding bases F1 {found['cds_decoded']['both strands']['f1']:.4f} "
        f"decoded, open frames {found['baselines']['cds']['both strands']['f1']:.4f}"
        for part, found in results.items()
    )


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
