"""Models as folders: safetensors and JSON in and out, and what is at hand by name.

Listing and describing do not import torch; what does is imported when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genomeconv.weights.catalogue import (
    DEFAULT_MODEL,
    ModelInfo,
    describe,
    find_folder,
    list_models,
)

if TYPE_CHECKING:
    from genomeconv.weights.folder import LoadedModel, load_model, save_model
    from genomeconv.weights.hyenadna import import_hyenadna

__all__ = [
    "DEFAULT_MODEL",
    "LoadedModel",
    "ModelInfo",
    "describe",
    "find_folder",
    "import_hyenadna",
    "list_models",
    "load_model",
    "save_model",
]

_NEED_TORCH = {
    "LoadedModel": "genomeconv.weights.folder",
    "load_model": "genomeconv.weights.folder",
    "save_model": "genomeconv.weights.folder",
    "import_hyenadna": "genomeconv.weights.hyenadna",
}


def __getattr__(name: str) -> Any:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NEED_TORCH[name]), name)
