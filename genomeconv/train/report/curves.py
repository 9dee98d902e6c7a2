"""The course of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLOURS = {"train": "#0072B2", "valid": "#D55E00"}  # told apart by every eye
_MARKOV = "#777777"


def draw_curves(
    lines: Sequence[Mapping[str, Any]], card: Mapping[str, Any], path: Path
) -> None:
    """Draw what was learned over the steps, beside the best baseline, and the rates.

    Bits per base where the lines have them, else the loss.

    Parameters
    ----------
    lines : sequence
        Lines of metrics.jsonl.
    card : Mapping
        The model card.
    path : Path
        The picture to write; its suffix says in which format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bits = any("bits_per_base" in x for x in lines)
    key, unit = ("bits_per_base", "bits per base") if bits else ("loss", "loss a base")
    for kind, label in (("train", "training"), ("valid", "validation")):
        chosen = [x for x in lines if x.get("kind") == kind and x.get(key)]
        above.plot(
            [x["step"] for x in chosen],
            [x[key] for x in chosen],
            color=_COLOURS[kind],
            label=label,
            marker="o" if kind == "valid" else None,
            markersize=4,
        )
    _draw_baseline(above, card["results"])
    step = card["progress"]["model_step"]
    above.axvline(step, color="black", linewidth=0.8, linestyle=":")
    above.annotate(
        "the model",
        (step, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        rotation=90,
    )
    above.set_ylabel(unit)
    above.legend(frameon=False)
    rates = [x for x in lines if x.get("kind") == "train"]
    below.plot([x["step"] for x in rates], [x["rate"] for x in rates], color="black")
    below.set_ylabel("rate / highest")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{card['name']}: {card['parameters']:,} parameters", parse_math=False
    )
    figure.savefig(path, dpi=150)


def _draw_baseline(axes: Any, results: Mapping[str, Any]) -> None:
    """Draw the best Markov model on the validation text as a line."""
    orders = results.get("valid", {}).get("markov_bits_per_base", [])
    known = [(bits, order) for order, bits in enumerate(orders) if bits is not None]
    if known:
        bits, order = min(known)
        axes.axhline(
            bits,
            color=_MARKOV,
            linestyle="--",
            label=f"Markov, order {order}, on the validation text",
        )
