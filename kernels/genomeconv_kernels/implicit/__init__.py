"""Implicit filters: taps synthesised by a network of the position."""

from __future__ import annotations

from genomeconv_kernels.implicit.op import implicit_taps
from genomeconv_kernels.implicit.reference import ImplicitWeights, implicit_encoding

__all__ = ["ImplicitWeights", "implicit_encoding", "implicit_taps"]
