"""What a model is, as frozen values: read from JSON, checked once, never guessed.

Every field has a unit or a meaning beside it. ``from_dict`` refuses unknown keys
and wrong types by name, before anything is allocated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from genomeconv.errors import ModelError
from genomeconv.fields import checked_keys, require, shown_value

PARAMETER_CAP = 2_000_000_000
"""Largest number of parameters a configuration may ask for."""
TAPS_CAP = 1 << 24
"""Longest filter, in taps: four times the longest published DNA model."""


@dataclass(frozen=True, kw_only=True)
class ImplicitFilter:
    """Taps made by a sine network of the position (Hyena; Poli et al. 2023, eq. 7).

    ``taps`` may be shorter than ``l_max`` (partial convolution); the same weights
    at another ``l_max`` mean another filter.
    """

    family: ClassVar[str] = "implicit"

    taps: int
    """Number of taps, right-hand ones included."""
    right: int = 0
    """How many of the taps reach to the right (0: causal)."""
    l_max: int = 0
    """Length in bases that positions are scaled by; 0 means the taps of each side."""
    emb_dim: int = 5
    """Width of the positional encoding: time and (emb_dim - 1) / 2 bands."""
    width: int = 64
    """Hidden width of the sine network."""
    frequency: float = 10.0
    """Start value of the learned frequency of the sine."""
    fast_decay: float = 0.3
    """Share of l_max at which the fastest channel has decayed to 1 %."""
    slow_decay: float = 1.5
    """Share of l_max at which the slowest channel has decayed to 1 %."""
    shift: float = 0.0
    """Added to the decay window (0.05 in HyenaDNA's standalone code)."""

    def __post_init__(self) -> None:
        _check_taps(self)
        require(
            self.emb_dim % 2 == 1 and 3 <= self.emb_dim <= 65,
            "filter.emb_dim",
            "odd, 3 to 65",
            self.emb_dim,
        )
        require(1 <= self.width <= 4096, "filter.width", "1 to 4096", self.width)
        require(
            0 <= self.l_max <= TAPS_CAP, "filter.l_max", f"0 to {TAPS_CAP}", self.l_max
        )
        longest = max(self.taps - self.right, self.right)
        require(
            self.l_max == 0 or self.l_max >= longest,
            "filter.l_max",
            f"0 or at least the {longest} taps of one side",
            self.l_max,
        )
        for name in ("frequency", "fast_decay", "slow_decay"):
            value = getattr(self, name)
            require(
                math.isfinite(value) and value > 0, f"filter.{name}", "positive", value
            )
        require(math.isfinite(self.shift), "filter.shift", "finite", self.shift)


@dataclass(frozen=True, kw_only=True)
class SGConvFilter:
    """Multi-scale taps: short kernels stretched octave by octave (Li et al. 2022)."""

    family: ClassVar[str] = "sgconv"

    taps: int
    """Number of taps, right-hand ones included."""
    right: int = 0
    """How many of the taps reach to the right (0: causal)."""
    scale_taps: int = 32
    """Taps of each sub-kernel before it is stretched."""
    decay: float = 0.5
    """Factor from one octave to the next."""

    def __post_init__(self) -> None:
        _check_taps(self)
        require(
            1 <= self.scale_taps <= TAPS_CAP,
            "filter.scale_taps",
            "at least 1",
            self.scale_taps,
        )
        require(0 < self.decay <= 1, "filter.decay", "in (0, 1]", self.decay)


@dataclass(frozen=True, kw_only=True)
class SquashFilter:
    """Free taps, squashed towards zero (Fu et al. 2023, simple long convolutions)."""

    family: ClassVar[str] = "squash"

    taps: int
    """Number of taps, right-hand ones included."""
    right: int = 0
    """How many of the taps reach to the right (0: causal)."""
    squash: float = 0.003
    """Lambda: magnitudes below it become zero, the others shrink by it."""
    dropout: float = 0.0
    """Share of taps dropped while training."""

    def __post_init__(self) -> None:
        _check_taps(self)
        require(self.squash >= 0, "filter.squash", "not negative", self.squash)
        require(0 <= self.dropout < 1, "filter.dropout", "in [0, 1)", self.dropout)


@dataclass(frozen=True, kw_only=True)
class ModalFilter:
    """A sum of decaying exponentials with real poles (StripedHyena 2 LI, S4D)."""

    family: ClassVar[str] = "modal"

    taps: int
    """Number of taps, right-hand ones included."""
    right: int = 0
    """How many of the taps reach to the right (0: causal)."""
    modes: int = 16
    """Exponentials per channel."""

    def __post_init__(self) -> None:
        _check_taps(self)
        require(1 <= self.modes <= 1024, "filter.modes", "1 to 1024", self.modes)


@dataclass(frozen=True, kw_only=True)
class ExplicitFilter:
    """A few free taps under a decay window (StripedHyena 2 SE and MR)."""

    family: ClassVar[str] = "explicit"

    taps: int = 7
    """Number of taps, right-hand ones included."""
    right: int = 0
    """How many of the taps reach to the right (0: causal)."""
    decay: float = 0.0
    """Decay of the window over the taps, in nepers at the last tap for the fastest
    channel; 0 means no window."""

    def __post_init__(self) -> None:
        _check_taps(self)
        require(self.decay >= 0, "filter.decay", "not negative", self.decay)


FilterConfig = (
    ImplicitFilter | SGConvFilter | SquashFilter | ModalFilter | ExplicitFilter
)
_FAMILIES: dict[str, type[FilterConfig]] = {c.family: c for c in get_args(FilterConfig)}


def _check_taps(config: FilterConfig) -> None:
    require(
        1 <= config.taps <= TAPS_CAP, "filter.taps", f"1 to {TAPS_CAP}", config.taps
    )
    require(
        0 <= config.right < config.taps,
        "filter.right",
        "at least 0 and below filter.taps",
        config.right,
    )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A trunk of gated convolution blocks and its heads."""

    width: int
    """Channels of the residual stream (d)."""
    layers: int
    """Number of blocks."""
    filters: tuple[FilterConfig, ...]
    """Long filters, repeated in this order over the blocks."""
    short_taps: int = 3
    """Taps of the short causal filter before the gates."""
    expand: int = 4
    """Hidden width of the MLP, in units of ``width``."""
    vocabulary: int = 5
    """Rows of the embedding table."""
    token_ids: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Row of A, C, G, T and N in the embedding table."""
    unknown_id: int = 4
    """Row of a letter that has no row of its own (HyenaDNA: soft-masked bases when
    case is not folded)."""
    norm_eps: float = 1e-5
    """Epsilon of the layer norms."""
    head: Literal["tied", "free", "none"] = "tied"
    """Next-base head: weights of the embedding, its own weights, or none."""
    outputs: tuple[str, ...] = ()
    """Names of the per-base outputs, a logit each; empty: the model has none."""

    def __post_init__(self) -> None:
        require(1 <= self.width <= 65_536, "width", "1 to 65536", self.width)
        require(1 <= self.layers <= 1024, "layers", "1 to 1024", self.layers)
        require(1 <= self.expand <= 64, "expand", "1 to 64", self.expand)
        require(1 <= self.short_taps <= 8, "short_taps", "1 to 8", self.short_taps)
        require(
            5 <= self.vocabulary <= 65_536, "vocabulary", "5 to 65536", self.vocabulary
        )
        require(
            len(self.token_ids) == 5,
            "token_ids",
            "five rows: A C G T N",
            self.token_ids,
        )
        for row in (*self.token_ids, self.unknown_id):
            require(
                0 <= row < self.vocabulary,
                "token_ids",
                f"rows below vocabulary {self.vocabulary}",
                row,
            )
        require(
            1 <= len(self.filters) <= self.layers,
            "filters",
            "1 to `layers` filters",
            len(self.filters),
        )
        require(0 < self.norm_eps < 1, "norm_eps", "in (0, 1)", self.norm_eps)
        require(
            len(self.outputs) <= 65_536
            and all(name and name.isprintable() for name in self.outputs)
            and len(set(self.outputs)) == len(self.outputs),
            "outputs",
            "at most 65536 different names that can be printed",
            self.outputs,
        )
        if self.parameters() > PARAMETER_CAP:
            raise ModelError(
                f"config: {self.parameters():,} parameters of width, layers and "
                f"filters, at most {PARAMETER_CAP:,} are allowed"
            )

    def filter(self, layer: int) -> FilterConfig:
        """Return the long filter of block ``layer`` (0-based)."""
        return self.filters[layer % len(self.filters)]

    @property
    def causal(self) -> bool:
        """Whether no position sees what lies to its right."""
        return all(f.right == 0 for f in self.filters)

    def left_context(self, layers: int | None = None) -> int:
        """Bases to the left that an output of block ``layers`` can depend on."""
        depth = self.layers if layers is None else layers
        return sum(
            self.filter(i).taps - self.filter(i).right - 1 + self.short_taps - 1
            for i in range(depth)
        )

    def right_context(self, layers: int | None = None) -> int:
        """Bases to the right that an output of block ``layers`` can depend on."""
        depth = self.layers if layers is None else layers
        return sum(self.filter(i).right for i in range(depth))

    def parameters(self) -> int:
        """Count the numbers that training moves, without building anything."""
        d, inner = self.width, self.expand * self.width
        mixer = 3 * d * (d + 1) + 3 * d * (self.short_taps + 1) + d + d * (d + 1)
        mlp = inner * (d + 1) + d * (inner + 1)
        filters = sum(_filter_parameters(self.filter(i), d) for i in range(self.layers))
        tables = self.vocabulary * d * (2 if self.head == "free" else 1)
        outputs = len(self.outputs) * (d + 1)
        return self.layers * (mixer + mlp + 4 * d) + filters + tables + outputs + 2 * d


def _filter_parameters(config: FilterConfig, channels: int) -> int:
    """Count the numbers of a filter; a two-sided one has those of each side."""
    sides = [taps for taps in (config.taps - config.right, config.right) if taps]
    match config:
        case ImplicitFilter():
            w = config.width
            inner = w * (config.emb_dim + 1) + 2 * w * (w + 1)
            return len(sides) * (w + inner + w * channels)
        case SGConvFilter():
            return channels * sum(_sgconv_numbers(config, taps) for taps in sides)
        case ModalFilter():
            return len(sides) * 2 * config.modes * channels
        case _:
            return config.taps * channels


def _sgconv_numbers(config: SGConvFilter, taps: int) -> int:
    """Count a channel's numbers: sub-kernels, one an octave; the norm is a constant."""
    size = min(config.scale_taps, taps)
    return size * max(1, math.ceil(math.log2(taps / size + 1)))


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """Return the configuration as JSON values."""
    out = dataclasses.asdict(config)
    out["filters"] = [
        {"family": f.family, **dataclasses.asdict(f)} for f in config.filters
    ]
    out["token_ids"] = list(config.token_ids)
    out["outputs"] = list(config.outputs)
    return out


def from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Build a configuration from JSON values.

    Raises
    ------
    ModelError
        For an unknown key, a missing key, a wrong type or an impossible value.
    """
    known = checked_keys(ModelConfig, values, "config")
    filters = known["filters"]
    if not isinstance(filters, list | tuple):
        raise ModelError(f"config: filters must be a list, got {shown_value(filters)}")
    known["filters"] = tuple(_filter_from_dict(item) for item in filters)
    return ModelConfig(**known)


def _filter_from_dict(values: object) -> FilterConfig:
    if not isinstance(values, Mapping):
        raise ModelError(
            f"config: a filter must be an object, got {shown_value(values)}"
        )
    family = values.get("family")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise ModelError(
            f"config: filter.family must be one of {', '.join(_FAMILIES)}, "
            f"got {shown_value(family)}"
        )
    rest = {key: value for key, value in values.items() if key != "family"}
    cls = _FAMILIES[family]
    return cls(**checked_keys(cls, rest, "filter"))
