"""Families of long filters: parameters in, taps out.

Axes: H channels, K taps, E width of the positional encoding, S octaves, N modes.

Every class has the same interface: ``taps()`` returns (H, K), tap j being the
weight of the input j positions back. A two-sided filter is two of them
(:class:`TwoSided`), one per direction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genomeconv.config import (
    ExplicitFilter,
    FilterConfig,
    ImplicitFilter,
    ModalFilter,
    SGConvFilter,
    SquashFilter,
)
from genomeconv_kernels import ImplicitWeights, implicit_encoding, implicit_taps


class LongFilter(nn.Module):
    """Interface of the families; ``K`` is ``self.n_taps``."""

    n_taps: int

    def taps(self) -> Tensor:
        """Return the taps, shape (H, K)."""
        raise NotImplementedError

    def no_decay(self) -> list[nn.Parameter]:
        """Return the parameters that weight decay must leave alone: all of them."""
        return list(self.parameters())


class Implicit(LongFilter):
    """Taps as a sine network of the position under a decay window.

    k[h, t] = mlp(z(t))[h] * (exp(-t |delta_h|) + shift), with t in units of
    ``l_max`` and z(t) = [t, cos(f w), -sin(f w)] (Hyena hierarchy, Poli et al.
    2023, section 3.3; constants as in HyenaDNA, Nguyen et al. 2023).
    """

    def __init__(self, channels: int, config: ImplicitFilter, taps: int) -> None:
        super().__init__()
        self.n_taps = taps
        self.l_max = config.l_max or taps
        self.shift = config.shift
        self.bands = (config.emb_dim - 1) // 2
        width = config.width
        self.freq = nn.Parameter(torch.full((1, width), config.frequency))
        self.inner = nn.ModuleList(
            [
                nn.Linear(config.emb_dim, width),
                nn.Linear(width, width),
                nn.Linear(width, width),
            ]
        )
        self.last = nn.Linear(width, channels, bias=False)
        fast = math.log(1e-2) / config.fast_decay
        slow = math.log(1e-2) / config.slow_decay
        deltas = torch.linspace(slow, fast, channels)[None]
        self.register_buffer("deltas", deltas, persistent=False)
        self.deltas: Tensor

    def encoding(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return z (P, E) and time t (P, 1) of positions ``start`` to ``stop``."""
        return implicit_encoding(
            start, stop, l_max=self.l_max, bands=self.bands, like=self.freq
        )

    def taps(self) -> Tensor:
        """Return the taps, shape (H, K); memory is bounded with gradients too."""
        # Weight and bias of each layer, in order.
        weights = ImplicitWeights(
            *[self.freq, *self.inner.parameters(), self.last.weight]
        )
        return implicit_taps(
            weights, self.deltas, self.n_taps, l_max=self.l_max, shift=self.shift
        )


class SGConv(LongFilter):
    """Sub-kernels of equal size, each stretched to twice the length of the last.

    k = concat_s(decay^s * stretch(w_s, scale_taps * 2^s))[:K] / c, where c makes
    the taps of each channel unit-norm at the start and is then kept (SGConv, Li
    et al. 2022, section 3.2).
    """

    def __init__(self, channels: int, config: SGConvFilter, taps: int) -> None:
        super().__init__()
        self.n_taps = taps
        self.size = min(config.scale_taps, taps)
        self.decay = config.decay
        octaves = max(1, math.ceil(math.log2(taps / self.size + 1)))
        self.weight = nn.Parameter(torch.randn(octaves, channels, self.size))
        with torch.no_grad():
            norm = self._stretched().norm(dim=-1, keepdim=True)
        self.register_buffer("norm", norm)
        self.norm: Tensor

    def _stretched(self) -> Tensor:
        parts = [
            F.interpolate(w[None], size=self.size << s, mode="linear")[0]
            * self.decay**s
            for s, w in enumerate(self.weight)
        ]
        return torch.cat(parts, dim=-1)[:, : self.n_taps]

    def taps(self) -> Tensor:
        """Return the taps, shape (H, K)."""
        return self._stretched() / self.norm


class Squash(LongFilter):
    """Free taps: k = sign(w) relu(|w| - lambda) (Fu et al. 2023, eq. 2).

    The start is noise under a geometric decay that differs between channels;
    while training, taps are dropped at random.
    """

    def __init__(self, channels: int, config: SquashFilter, taps: int) -> None:
        super().__init__()
        self.n_taps = taps
        self.squash = config.squash
        self.dropout = config.dropout
        rate = torch.linspace(1.0, 8.0, channels)[:, None]
        envelope = torch.exp(-rate * torch.arange(taps) / taps)
        scale = 1 / math.sqrt(min(taps, 1024))
        self.weight = nn.Parameter(torch.randn(channels, taps) * envelope * scale)

    def taps(self) -> Tensor:
        """Return the taps, shape (H, K)."""
        kept = F.dropout(self.weight, self.dropout, self.training)
        return torch.sign(kept) * torch.relu(kept.abs() - self.squash)


class Modal(LongFilter):
    """k[h, t] = sum_n R[h, n] exp(-rate[h, n] t), real poles (StripedHyena 2 LI).

    Rates are kept as logarithms, so poles never leave the stable side; the start
    spreads time scales evenly in log from 1 to K positions.
    """

    def __init__(self, channels: int, config: ModalFilter, taps: int) -> None:
        super().__init__()
        self.n_taps = taps
        modes = config.modes
        spread = torch.linspace(0, -math.log(max(taps, 2)), modes)
        jitter = 0.1 * torch.randn(channels, modes)
        self.log_rate = nn.Parameter(spread + jitter)
        scale = torch.exp(0.5 * spread) / math.sqrt(modes)
        self.residue = nn.Parameter(torch.randn(channels, modes) * scale)

    def taps(self) -> Tensor:
        """Return the taps, shape (H, K)."""
        t = torch.arange(
            self.n_taps, dtype=self.residue.dtype, device=self.residue.device
        )
        rate = self.log_rate.exp()
        out = torch.zeros_like(t).expand(len(rate), -1)
        # One mode at a time: (H, N, K) would be 16 times the taps.
        for n in range(rate.shape[1]):
            out = out + self.residue[:, n, None] * torch.exp(-rate[:, n, None] * t)
        return out


class Explicit(LongFilter):
    """A few free taps under an exponential window (StripedHyena 2 SE, MR)."""

    def __init__(self, channels: int, config: ExplicitFilter, taps: int) -> None:
        super().__init__()
        self.n_taps = taps
        self.weight = nn.Parameter(torch.randn(channels, taps) / math.sqrt(taps))
        rate = torch.linspace(0, config.decay, channels)[:, None]
        window = torch.exp(-rate * torch.arange(taps) / max(taps - 1, 1))
        self.register_buffer("window", window, persistent=False)
        self.window: Tensor

    def taps(self) -> Tensor:
        """Return the taps, shape (H, K)."""
        return self.weight * self.window


class TwoSided(LongFilter):
    """Two one-sided filters as one: lags -right..-1 from one, 0..K-right-1 the other.

    ``taps()`` runs from the farthest tap to the right (lag -right) to the farthest
    to the left, as :func:`genomeconv_kernels.fft_conv` takes it.
    """

    def __init__(self, left: LongFilter, right: LongFilter) -> None:
        super().__init__()
        self.left = left
        self.right = right
        self.n_taps = left.n_taps + right.n_taps

    def taps(self) -> Tensor:
        """Return the taps, shape (H, K)."""
        return torch.cat([self.right.taps().flip(-1), self.left.taps()], dim=-1)


def build_filter(channels: int, config: FilterConfig) -> LongFilter:
    """Return the filter a configuration describes, freshly initialised."""
    if config.right:
        left = _one_sided(channels, config, config.taps - config.right)
        return TwoSided(left, _one_sided(channels, config, config.right))
    return _one_sided(channels, config, config.taps)


def _one_sided(channels: int, config: FilterConfig, taps: int) -> LongFilter:
    match config:
        case ImplicitFilter():
            return Implicit(channels, config, taps)
        case SGConvFilter():
            return SGConv(channels, config, taps)
        case SquashFilter():
            return Squash(channels, config, taps)
        case ModalFilter():
            return Modal(channels, config, taps)
        case ExplicitFilter():
            return Explicit(channels, config, taps)
