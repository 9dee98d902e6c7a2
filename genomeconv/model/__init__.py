"""The partial-convolution DNA model: filters, mixer, block, trunk."""

from __future__ import annotations

from genomeconv.model.trunk import Model, Trunk, build_model

__all__ = ["Model", "Trunk", "build_model"]
