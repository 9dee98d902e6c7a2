"""The names of published HyenaDNA weights, in either of the two layouts.

The training code's begin with ``model.`` (with ``.layer`` behind ``.mixer`` and
``.mlp`` if gradients were checkpointed), the hub's with ``hyena.``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from genomeconv.errors import ModelError
from genomeconv.weights.checkpoint import Stored

SHIFTS = {"model.": 0.0, "hyena.": 0.05}
"""Offset of the decay window in the code that goes with each layout's prefix."""
_LAYER = re.compile(r"backbone\.layers\.(\d{1,4})\.(.+)")
BLOCK_NAMES = {
    "mixer.in_proj.weight": "mixer.in_proj.weight",
    "mixer.in_proj.bias": "mixer.in_proj.bias",
    "mixer.out_proj.weight": "mixer.out_proj.weight",
    "mixer.out_proj.bias": "mixer.out_proj.bias",
    "mixer.short_filter.weight": "mixer.short_weight",
    "mixer.short_filter.bias": "mixer.short_bias",
    "mixer.filter_fn.bias": "mixer.skip",
    "mixer.filter_fn.implicit_filter.0.weight": "mixer.filter.inner.0.weight",
    "mixer.filter_fn.implicit_filter.0.bias": "mixer.filter.inner.0.bias",
    "mixer.filter_fn.implicit_filter.1.freq": "mixer.filter.freq",
    "mixer.filter_fn.implicit_filter.2.weight": "mixer.filter.inner.1.weight",
    "mixer.filter_fn.implicit_filter.2.bias": "mixer.filter.inner.1.bias",
    "mixer.filter_fn.implicit_filter.4.weight": "mixer.filter.inner.2.weight",
    "mixer.filter_fn.implicit_filter.4.bias": "mixer.filter.inner.2.bias",
    "mixer.filter_fn.implicit_filter.6.weight": "mixer.filter.last.weight",
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.fc1.weight": "mlp.fc1.weight",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight",
    "mlp.fc2.bias": "mlp.fc2.bias",
}
"""Name in a block of theirs -> name in a block of ours."""
FREQ = "mixer.filter_fn.implicit_filter.1.freq"
FREQ_COPIES = (
    "mixer.filter_fn.implicit_filter.3.freq",
    "mixer.filter_fn.implicit_filter.5.freq",
)
POSITION = "mixer.filter_fn.pos_emb.z"
TIME = "mixer.filter_fn.pos_emb.t"
DELTAS = "mixer.filter_fn.modulation.deltas"
EMBEDDING = "backbone.embeddings.word_embeddings.weight"
HEAD = "lm_head.weight"
NORM = "backbone.ln_f."
_REBUILT = (POSITION, TIME, DELTAS)
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class HyenaTensors:
    """The tensors of a checkpoint under one set of names, whatever its layout."""

    where: str
    prefix: str
    tensors: Mapping[str, Stored]
    """Without the prefix and without `.layer`."""
    ignored: int
    """Tensors that are not the model's (running metrics of its training)."""
    layers: int

    def layer(self, i: int, name: str) -> Stored:
        """Return a tensor of block ``i``."""
        return self.get(f"backbone.layers.{i}.{name}")

    def get(self, name: str) -> Stored:
        """Return a tensor that has to be there."""
        if name not in self.tensors:
            raise ModelError(f"{self.where}: not a whole HyenaDNA: {name} is missing")
        return self.tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a matrix, or of a row of matrices."""
        shape = self.get(name).shape
        if not (2 <= len(shape) <= 3 and min(shape) >= 1):
            raise ModelError(f"{self.where}: {name} has the shape {list(shape)}")
        return shape

    def load(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Read a tensor in float32 if it has the shape wanted."""
        stored = self.get(name)
        if stored.shape != shape:
            raise ModelError(
                f"{self.where}: {name} is {list(stored.shape)}, {list(shape)} was "
                "wanted"
            )
        return stored.load().float()


def recognise(tensors: Mapping[str, Stored], where: str) -> HyenaTensors:
    """Bring the names of either layout to one form.

    Raises
    ------
    ModelError
        If a name of HyenaDNA's is missing or one of the model's is not HyenaDNA's.
    """
    prefix = next((p for p in SHIFTS if f"{p}{EMBEDDING}" in tensors), None)
    if prefix is None:
        some = ", ".join(list(tensors)[:_NAMED]) or "no tensors"
        raise ModelError(
            f"{where}: not HyenaDNA: {' or '.join(p + EMBEDDING for p in SHIFTS)} "
            f"was wanted, found {some}"
        )
    names: dict[str, Stored] = {}
    for name, stored in tensors.items():
        if name.startswith(prefix) or name == HEAD:
            plain = re.sub(
                r"\.(mixer|mlp)\.layer\.", r".\1.", name.removeprefix(prefix)
            )
            if plain in names:
                raise ModelError(f"{where}: {plain} stands there twice")
            names[plain] = stored
    numbers = {int(found[1]) for found in map(_LAYER.fullmatch, names) if found}
    layers = max(numbers, default=-1) + 1
    _check_names(names, layers, where)
    for i in range(layers):
        # Writers of safetensors keep one of several names of one tensor.
        kept = [f"backbone.layers.{i}.{copy}" for copy in (FREQ, *FREQ_COPIES)]
        for name in kept:
            if name in names:
                names.setdefault(kept[0], names[name])
    ignored = len(tensors) - len(names)
    return HyenaTensors(
        where=where, prefix=prefix, tensors=names, ignored=ignored, layers=layers
    )


def _check_names(names: Mapping[str, Stored], layers: int, where: str) -> None:
    """Refuse a name that HyenaDNA as published does not have."""
    inside = {*BLOCK_NAMES, *FREQ_COPIES, *_REBUILT}
    wanted = {EMBEDDING, HEAD, f"{NORM}weight", f"{NORM}bias"} | {
        f"backbone.layers.{i}.{name}" for i in range(layers) for name in inside
    }
    if unknown := [name for name in names if name not in wanted]:
        raise ModelError(
            f"{where}: not HyenaDNA as published: unknown {', '.join(unknown[:_NAMED])}"
        )
