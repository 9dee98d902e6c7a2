"""Convolutions for long sequences: tensors in, tensors out; knows torch and triton."""

from __future__ import annotations

from genomeconv_kernels import backend
from genomeconv_kernels.dense import linear_add, linear_gelu, linear_transposed
from genomeconv_kernels.fftconv.mask import FrequencyMask
from genomeconv_kernels.fftconv.op import fft_conv
from genomeconv_kernels.fftconv.plan import ConvPlan, plan_conv
from genomeconv_kernels.fftconv.prepared import PreparedFilter, prepare_filter
from genomeconv_kernels.fftconv.reference import fft_conv_reference
from genomeconv_kernels.fftconv.sparse_op import sparse_fft_conv
from genomeconv_kernels.implicit import (
    ImplicitWeights,
    implicit_encoding,
    implicit_taps,
)
from genomeconv_kernels.mixer import MixerPast, mixer_conv
from genomeconv_kernels.shortconv.op import short_conv
from genomeconv_kernels.shortconv.reference import short_conv_reference

__all__ = [
    "ConvPlan",
    "FrequencyMask",
    "ImplicitWeights",
    "MixerPast",
    "PreparedFilter",
    "backend",
    "fft_conv",
    "fft_conv_reference",
    "implicit_encoding",
    "implicit_taps",
    "linear_add",
    "linear_gelu",
    "linear_transposed",
    "mixer_conv",
    "plan_conv",
    "prepare_filter",
    "short_conv",
    "short_conv_reference",
    "sparse_fft_conv",
]
