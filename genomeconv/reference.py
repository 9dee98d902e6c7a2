"""HyenaDNA's published forward, for tests and benchmarks; never optimised.

Axes: B batch, L positions, D channels, M the length the filters were made for, E
width of the positional encoding, F width of the filters' network, V tokens.

Modules carry the published names, so ``state_dict()`` is the published layout
without its prefix. The convolution is what most people run: one real transform of
2 L points of the whole sequence (Poli et al. 2023; Nguyen et al. 2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HyenaDNAReference(nn.Module):
    """Tokens (B, L), L at most M -> next-token logits (B, L, V).

    Parameters
    ----------
    width, layers
        D, and the number of blocks.
    l_max
        M: positions are scaled by it. Published models have their length plus 2.
    shift
        Added to the decay window: 0 in the training code, 0.05 in the hub's.
    tied
        Whether the head has the embedding's weights, as published by training.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        l_max: int,
        *,
        shift: float = 0.0,
        tied: bool = True,
        vocabulary: int = 16,
    ) -> None:
        super().__init__()
        self.backbone = _Backbone(width, layers, l_max, shift, vocabulary)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.lm_head.weight = self.backbone.embeddings.word_embeddings.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.lm_head(self.backbone(tokens))
        return logits


class _Backbone(nn.Module):
    """Tokens (B, L) -> embeddings (B, L, D)."""

    def __init__(
        self, width: int, layers: int, l_max: int, shift: float, vocabulary: int
    ) -> None:
        super().__init__()
        self.embeddings = _Embeddings(vocabulary, width)
        self.layers = nn.ModuleList(_Block(width, l_max, shift) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.embeddings.word_embeddings(tokens)
        residual = torch.zeros_like(hidden)
        for layer in self.layers:
            hidden, residual = layer(hidden, residual)
        out: Tensor = self.ln_f(residual + hidden)
        return out


class _Embeddings(nn.Module):
    """Holds the table under its published name."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)


class _Mlp(nn.Module):
    """D -> 4 D -> D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class _Block(nn.Module):
    """r += h; h = mixer(norm1(r)); r += h; h = mlp(norm2(r))."""

    def __init__(self, width: int, l_max: int, shift: float) -> None:
        super().__init__()
        self.mixer = _Mixer(width, l_max, shift)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        residual = residual + hidden
        hidden = self.mixer(self.norm1(residual))
        residual = residual + hidden
        return self.mlp(self.norm2(residual)), residual


class _Mixer(nn.Module):
    """The Hyena operator of order 2, (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, l_max: int, shift: float) -> None:
        super().__init__()
        self.in_proj = nn.Linear(width, 3 * width)
        self.short_filter = nn.Conv1d(
            3 * width, 3 * width, 3, groups=3 * width, padding=2
        )
        self.filter_fn = _Filter(width, l_max, shift)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        z = self.short_filter(self.in_proj(x).transpose(1, 2))[..., :length]
        x0, x1, v = z.chunk(3, dim=1)
        v = v * x1
        k = self.filter_fn(length)
        product = torch.fft.rfft(v, n=2 * length) * torch.fft.rfft(k, n=2 * length)
        y = torch.fft.irfft(product, n=2 * length)[..., :length]
        y = y + v * self.filter_fn.bias[:, None]
        out: Tensor = self.out_proj((y * x0).transpose(1, 2))
        return out


class _Sine(nn.Module):
    """sin(freq x); one ``freq`` serves all of a filter's layers."""

    def __init__(self, freq: nn.Parameter) -> None:
        super().__init__()
        self.freq = freq

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.freq * x)


class _Filter(nn.Module):
    """Taps of the long filter, (D, L), from the positions."""

    def __init__(self, width: int, l_max: int, shift: float) -> None:
        super().__init__()
        self.shift = shift
        self.bias = nn.Parameter(torch.randn(width))
        self.pos_emb = _Positions(l_max)
        sine = _Sine(nn.Parameter(torch.full((1, 64), 10.0)))
        self.implicit_filter = nn.Sequential(
            nn.Linear(5, 64),
            sine,
            nn.Linear(64, 64),
            sine,
            nn.Linear(64, 64),
            sine,
            nn.Linear(64, width, bias=False),
        )
        self.modulation = _Modulation(width)

    def forward(self, length: int) -> Tensor:
        z, t = self.pos_emb.z[:, :length], self.pos_emb.t[:, :length]
        window = torch.exp(-t * self.modulation.deltas.abs()) + self.shift
        taps: Tensor = (self.implicit_filter(z) * window)[0].T
        return taps


class _Positions(nn.Module):
    """z (1, M, 5) and t (1, M, 1), in float32 as published."""

    def __init__(self, l_max: int) -> None:
        super().__init__()
        t = torch.linspace(0, 1, l_max)[None, :, None]
        w = 2 * math.pi * torch.arange(l_max).float()[None, :, None] / l_max
        f = torch.linspace(1e-4, 1, 2)[None, None]
        z = torch.cat([t, torch.cos(f * w), -torch.sin(f * w)], dim=-1)
        self.register_buffer("z", z)
        self.register_buffer("t", t)
        self.z: Tensor
        self.t: Tensor


class _Modulation(nn.Module):
    """Rates of decay (1, 1, D), from 1 % at 1.5 M to 1 % at 0.3 M."""

    def __init__(self, width: int) -> None:
        super().__init__()
        slow, fast = math.log(1e-2) / 1.5, math.log(1e-2) / 0.3
        self.register_buffer("deltas", torch.linspace(slow, fast, width)[None, None])
        self.deltas: Tensor
