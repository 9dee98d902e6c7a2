"""Convolutions for long sequences: tensors in, tensors out; knows torch only."""

from __future__ import annotations

from genomeconv_kernels.dense import linear_add, linear_gelu, linear_transposed
from genomeconv_kernels.fftconv.op import fft_conv
from genomeconv_kernels.fftconv.plan import ConvPlan, plan_conv
from genomeconv_kernels.fftconv.prepared import PreparedFilter, prepare_filter
from genomeconv_kernels.fftconv.reference import fft_conv_reference
from genomeconv_kernels.shortconv.op import short_conv
from genomeconv_kernels.shortconv.reference import short_conv_reference

__all__ = [
    "ConvPlan",
    "PreparedFilter",
    "fft_conv",
    "fft_conv_reference",
    "linear_add",
    "linear_gelu",
    "linear_transposed",
    "plan_conv",
    "prepare_filter",
    "short_conv",
    "short_conv_reference",
]
