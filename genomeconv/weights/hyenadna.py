"""Published HyenaDNA weights into a model folder.

Axes: D width, L the length the filters were made for, E width of the positional
encoding, F width of the filters' network, V rows of the vocabulary.

The positions and rates of decay that checkpoints store can be computed; they are
compared with ours and left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genomeconv.config import ImplicitFilter, ModelConfig
from genomeconv.errors import ModelError
from genomeconv.model import Model, build_model
from genomeconv.model.block import Block
from genomeconv.model.filters import Implicit
from genomeconv.tokens import HYENA_ROWS, HYENA_UNKNOWN
from genomeconv.weights.checkpoint import open_checkpoint
from genomeconv.weights.files import check_free, open_regular
from genomeconv.weights.folder import check_values, save_model
from genomeconv.weights.hyenadna_names import (
    BLOCK_NAMES,
    DELTAS,
    EMBEDDING,
    FREQ,
    FREQ_COPIES,
    HEAD,
    NORM,
    POSITION,
    SHIFTS,
    TIME,
    HyenaTensors,
    recognise,
)

Notify = Callable[[str, str], None]
"""Takes a level ("info", "warning") and a sentence."""

_TOLERANCE = 1e-5
_AT_ONCE = 1 << 16


def import_hyenadna(
    checkpoint: Path,
    out: Path,
    *,
    l_max: int | None = None,
    shift: float | None = None,
    taps: int | None = None,
    notify: Notify | None = None,
) -> dict[str, Any]:
    """Make a model folder of a published checkpoint; no code of it is run.

    Parameters
    ----------
    checkpoint : Path
        Lightning's .ckpt, another file of torch.save, or .safetensors.
    out : Path
        The folder to make; the model is called as it is.
    l_max : int, optional
        Length in bases that the filters were made for; None: as in the checkpoint.
        The same weights at another length are another model.
    shift : float, optional
        Offset of the decay window; None: 0 for the training layout, 0.05 for the
        hub's.
    taps : int, optional
        Keep so many taps of each filter; None: all ``l_max``. Not free.
    notify : callable, optional
        Told of what is not as published.

    Returns
    -------
    dict
        What was made, for people to read.

    Raises
    ------
    InputMissingError
        If there is no such file.
    ModelError
        If the checkpoint is damaged, or not HyenaDNA as published.
    CannotCreateError, PermissionDeniedError, StorageError
        If the folder cannot be made.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    check_free(out)
    with open_checkpoint(checkpoint) as tensors:
        source = recognise(tensors, str(checkpoint))
        config = _config(source, l_max=l_max, shift=shift, taps=taps)
        model = build_model(config, seed=0)
        notes = [
            *_type_notes(source),
            *_check_rebuilt(source, model),
            *_window_notes(model),
        ]
        _fill(source, model)
    for note in notes:
        if notify:
            notify("warning", note)
    summary = _summary(checkpoint, source, model, notes)
    description = f"HyenaDNA of {checkpoint.name}, l_max {summary['l_max']:,}"
    save_model(model, out, name=out.name, card={"description": description, **summary})
    return {"name": out.name, "folder": str(out), **summary}


def _config(
    source: HyenaTensors, *, l_max: int | None, shift: float | None, taps: int | None
) -> ModelConfig:
    """Read the configuration off the shapes."""
    rows, width = source.shape(EMBEDDING)
    if rows <= max(HYENA_ROWS) or source.layers == 0:
        raise ModelError(
            f"{source.where}: not HyenaDNA: {rows} tokens and {source.layers} layers"
        )
    block = "backbone.layers.0."
    features, emb_dim = source.shape(f"{block}mixer.filter_fn.implicit_filter.0.weight")
    inner, _ = source.shape(f"{block}mlp.fc1.weight")
    if inner % width:
        raise ModelError(f"{source.where}: an MLP of {inner} for a width of {width}")
    length = l_max if l_max is not None else _length(source)
    if taps is not None and not 1 <= taps <= length:
        raise ModelError(f"taps must be 1 to the filters' {length:,}, got {taps:,}")
    long = ImplicitFilter(
        taps=taps or length,
        l_max=length,
        emb_dim=emb_dim,
        width=features,
        shift=SHIFTS[source.prefix] if shift is None else shift,
    )
    return ModelConfig(
        width=width,
        layers=source.layers,
        filters=(long,),
        expand=inner // width,
        vocabulary=rows,
        token_ids=HYENA_ROWS,
        unknown_id=HYENA_UNKNOWN,
        head="tied" if _tied(source) else "free",
    )


def _length(source: HyenaTensors) -> int:
    """Return l_max as the positions stored in each block have it."""
    name = f"backbone.layers.0.{POSITION}"
    if name not in source.tensors:
        raise ModelError(
            f"{source.where}: {name} is missing, so the filters' length is unknown: "
            "say it with --l-max (the length the model was trained with, plus 2)"
        )
    length: int = source.shape(name)[-2]
    return length


def _tied(source: HyenaTensors) -> bool:
    if HEAD not in source.tensors:
        return True
    head, table = source.get(HEAD), source.get(EMBEDDING)
    return head.shape == table.shape and torch.equal(head.load(), table.load())


def _check_rebuilt(source: HyenaTensors, model: Model) -> list[str]:
    """Compare what is stored but can be computed with what we compute.

    Returns notes of what could not be compared.

    Raises
    ------
    ModelError
        If it differs: such a model is not HyenaDNA, its numbers would be others.
    """
    skipped = False
    for i in range(source.layers):
        implicit = _implicit(model, i)
        for name in (POSITION, TIME):
            stored = source.tensors.get(f"backbone.layers.{i}.{name}")
            if stored is None or stored.shape[1:2] != (implicit.l_max,):
                skipped = True
                continue
            axes = (1, implicit.l_max, 1 if name == TIME else 1 + 2 * implicit.bands)
            value = source.load(f"backbone.layers.{i}.{name}", axes)[0]
            for start in range(0, implicit.l_max, _AT_ONCE):
                part = value[start : start + _AT_ONCE]
                encoding = implicit.encoding(start, start + len(part))
                _compare(source, i, name, part, encoding[name == TIME])
        if f"backbone.layers.{i}.{DELTAS}" in source.tensors:
            deltas = source.load(
                f"backbone.layers.{i}.{DELTAS}", (1, 1, model.config.width)
            )
            _compare(source, i, DELTAS, deltas[0], implicit.deltas)
    if not skipped:
        return []
    return [
        f"{source.where}: stores no positions for l_max = {_long(model).l_max:,}; the "
        "filters are those of that length"
    ]


def _compare(
    source: HyenaTensors, i: int, name: str, found: Tensor, wanted: Tensor
) -> None:
    narrow = source.layer(i, name).dtype in ("F16", "BF16")
    scale = float(wanted.abs().max().clamp(min=1))
    error = float((found - wanted).abs().max()) / scale
    # NaN is no agreement either.
    if not error <= (2**-8 if narrow else _TOLERANCE):
        raise ModelError(
            f"{source.where}: backbone.layers.{i}.{name} is not HyenaDNA's (off by "
            f"{error:.1e}): the model would give other numbers here"
        )


def _type_notes(source: HyenaTensors) -> list[str]:
    types = {stored.dtype for stored in source.tensors.values()} - {"F32"}
    if not types:
        return []
    return [
        f"{source.where}: stored as {', '.join(sorted(types))}, computed in float32"
    ]


def _window_notes(model: Model) -> list[str]:
    """Say how much of the filters' window is cut off, if any."""
    long = _long(model)
    if long.taps == long.l_max:
        return []
    implicit = _implicit(model, 0)
    kept, whole = (_window_sum(implicit, taps) for taps in (long.taps, long.l_max))
    lost = float((1 - kept / whole).mean())
    return [
        f"filters cut to {long.taps:,} of {long.l_max:,} taps: {lost:.0%} of their "
        "window is lost, and the model's numbers with it"
    ]


def _window_sum(implicit: Implicit, taps: int) -> Tensor:
    """Return the window's sum over the first taps of each channel, (D,)."""
    out = torch.zeros(implicit.deltas.shape[-1], dtype=torch.float64)
    for start in range(0, taps, _AT_ONCE):
        _, t = implicit.encoding(start, min(start + _AT_ONCE, taps))
        window = torch.exp(-t.double() * implicit.deltas.abs()) + implicit.shift
        out += window.sum(0)
    return out


@torch.no_grad()
def _fill(source: HyenaTensors, model: Model) -> None:
    """Copy the weights, one tensor at a time."""
    for name, target in _targets(model):
        value = source.load(name, tuple(target.shape))
        check_values(name, value, source.where)
        target.copy_(value)
    for i in range(source.layers):
        freq = source.layer(i, FREQ).load()
        for copy in FREQ_COPIES:
            other = source.tensors.get(f"backbone.layers.{i}.{copy}")
            if other is not None and not torch.equal(other.load(), freq):
                raise ModelError(
                    f"{source.where}: block {i} has more than one frequency of its "
                    "filters; HyenaDNA shares one"
                )


def _targets(model: Model) -> Iterator[tuple[str, Tensor]]:
    """Yield each name of theirs with the tensor of ours, in the shape of theirs."""
    ours = model.state_dict()
    yield EMBEDDING, ours["trunk.embedding.weight"]
    for i in range(model.config.layers):
        for theirs, name in BLOCK_NAMES.items():
            target = ours[f"trunk.blocks.{i}.{name}"]
            if name == "mixer.short_weight":
                target = target[:, None]
            yield f"backbone.layers.{i}.{theirs}", target
    yield f"{NORM}weight", ours["trunk.norm.weight"]
    yield f"{NORM}bias", ours["trunk.norm.bias"]
    if model.head is not None:
        yield HEAD, ours["head.weight"]


def _implicit(model: Model, i: int) -> Implicit:
    block = model.trunk.blocks[i]
    assert isinstance(block, Block)
    assert isinstance(block.mixer.filter, Implicit)
    return block.mixer.filter


def _long(model: Model) -> ImplicitFilter:
    long = model.config.filter(0)
    assert isinstance(long, ImplicitFilter)
    return long


def _summary(
    checkpoint: Path, source: HyenaTensors, model: Model, notes: list[str]
) -> dict[str, Any]:
    """Return where the model comes from and what was made of it."""
    with open_regular(checkpoint) as (file, size):
        digest = hashlib.sha256()
        while data := file.read(1 << 20):
            digest.update(data)
    long = _long(model)
    return {
        "source": checkpoint.name,
        "source_bytes": size,
        "source_sha256": digest.hexdigest(),
        "layout": "training code" if source.prefix == "model." else "hub",
        "parameters": model.config.parameters(),
        "width": model.config.width,
        "layers": model.config.layers,
        "l_max": long.l_max,
        "taps": long.taps,
        "shift": long.shift,
        "head": model.config.head,
        "ignored_tensors": source.ignored,
        "notes": notes,
    }
