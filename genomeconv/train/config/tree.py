"""A whole training config: its sections together, from and to JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genomeconv import config as model_config
from genomeconv.config import ModelConfig
from genomeconv.errors import ModelError
from genomeconv.fields import checked_keys, require, shown_value
from genomeconv.train.config.checks import check_context, check_objective
from genomeconv.train.config.sections import (
    SECTIONS,
    CardConfig,
    CheckpointConfig,
    ComputeConfig,
    DataConfig,
    ObjectiveConfig,
    OptimiserConfig,
    ScheduleConfig,
    SplitConfig,
    StartConfig,
)
from genomeconv.train.config.start import shape_of

MODEL_DEFAULTS: Mapping[str, Any] = {
    "width": 128,
    "layers": 3,
    "filters": [{"family": "sgconv", "taps": 1024}],
}
"""What is not said of the model."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run."""

    data: DataConfig
    model: ModelConfig = field(
        default_factory=lambda: model_config.from_dict(MODEL_DEFAULTS)
    )
    start: StartConfig = field(default_factory=StartConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    card: CardConfig = field(default_factory=CardConfig)

    def __post_init__(self) -> None:
        window, first = self.data.window, self.schedule.first_window
        doublings = window // first if first else 1
        ok = not first or (window == first * doublings and _power_of_two(doublings))
        wanted = f"0, or data.window ({window}) halved some times"
        require(ok, "schedule.first_window", wanted, first)
        check_context(self)
        check_objective(self)


def _power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as JSON values."""
    out = {name: _plain(getattr(config, name)) for name in SECTIONS}
    out["model"] = model_config.to_dict(config.model)
    if config.start.start:
        out["model"] |= _plain(config.start)
    return out


def _plain(section: Any) -> dict[str, Any]:
    values = dataclasses.asdict(section)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from parsed TOML or JSON.

    Raises
    ------
    ModelError
        For an unknown section or key, a wrong type or an impossible value.
    """
    parts: dict[str, Any] = {}
    for name, section in values.items():
        if name == "model":
            table = dict(_table(name, section))
            names = [f.name for f in dataclasses.fields(StartConfig)]
            start = {key: table.pop(key) for key in names if key in table}
            parts["start"] = StartConfig(**checked_keys(StartConfig, start, name))
            shape = shape_of(parts["start"].start, table) or MODEL_DEFAULTS
            parts[name] = model_config.from_dict({**shape, **table})
        elif name in SECTIONS:
            cls = SECTIONS[name]
            parts[name] = cls(**checked_keys(cls, _table(name, section), name))
        else:
            known = ", ".join(["model", *SECTIONS])
            raise ModelError(
                f"config: unknown section {shown_value(name)} (known: {known})"
            )
    if "data" not in parts:
        raise ModelError("config: data.fasta is missing: the files to learn from")
    return TrainConfig(**parts)


def _table(name: str, section: object) -> Mapping[str, Any]:
    if not isinstance(section, Mapping):
        raise ModelError(
            f"config: {name} must be a section [{name}], got {shown_value(section)}"
        )
    return section
