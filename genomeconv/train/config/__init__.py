"""What a training run is, as frozen values: read from TOML, checked, never guessed."""

from genomeconv.train.config.sections import (
    WINDOW_CAP,
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
from genomeconv.train.config.tree import (
    MODEL_DEFAULTS,
    TrainConfig,
    from_dict,
    to_dict,
)

__all__ = [
    "MODEL_DEFAULTS",
    "WINDOW_CAP",
    "CardConfig",
    "CheckpointConfig",
    "ComputeConfig",
    "DataConfig",
    "ObjectiveConfig",
    "OptimiserConfig",
    "ScheduleConfig",
    "SplitConfig",
    "StartConfig",
    "TrainConfig",
    "from_dict",
    "to_dict",
]
