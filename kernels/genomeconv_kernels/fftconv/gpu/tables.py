"""Tables of the transforms, computed in float64 and kept per device.

Axes: N points of a factor, M rows and N columns of a tile.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def dft_matrix(
    N: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    shift: float = 0.0,
    turned: bool = False,
) -> Tensor:
    """Return cosine and sine of 2 pi (i - shift) j / N over sqrt(N), shape (2, N, N).

    With a shift of frequencies the matrix is not symmetric: the way back wants it
    turned, (2, j, i).
    """
    i, j = _indices(N, N)
    phase = (i - shift)[:, None] * j % N
    return _wave(phase.T if turned else phase, N, 1 / math.sqrt(N), dtype, device)


@lru_cache(maxsize=64)
def twiddles(
    M: int, N: int, dtype: torch.dtype, device: torch.device, *, shift: float = 0.0
) -> Tensor:
    """Return cosine and sine of 2 pi (i - shift) j / (M N) at row i, column j."""
    i, j = _indices(M, N)
    return _wave((i - shift)[:, None] * j, M * N, 1.0, dtype, device)


@lru_cache(maxsize=64)
def transform(
    factors: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    *,
    shift: float = 0.0,
    turned: bool = False,
) -> Tensor:
    """Return all a transform on the chip of these factors reads, one after the other.

    The DFT matrices, the twiddles of all F points and, of three factors, the same with
    (n2, n3) turned to (n3, n2), those of N2 N3 points turned so, and as they are. With
    frequencies k - shift the way back wants the first matrix turned.
    """
    N1, *rest = factors
    parts = [dft_matrix(N1, dtype, device, shift=shift, turned=turned)]
    parts += [dft_matrix(N, dtype, device) for N in rest]
    parts.append(twiddles(N1, math.prod(rest), dtype, device, shift=shift))
    if len(rest) == 2:
        N2, N3 = rest
        parts.append(parts[-1].view(2, N1, N2, N3).transpose(2, 3))
        parts += [twiddles(N3, N2, dtype, device), twiddles(N2, N3, dtype, device)]
    return torch.cat([part.reshape(-1) for part in parts])


def _indices(M: int, N: int) -> tuple[Tensor, Tensor]:
    return torch.arange(M, dtype=torch.float64), torch.arange(N, dtype=torch.float64)


def _wave(
    phase: Tensor, period: int, scale: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    angle = phase * (2 * math.pi / period)
    table = torch.stack([angle.cos(), angle.sin()]) * scale
    return table.to(dtype).to(device)
