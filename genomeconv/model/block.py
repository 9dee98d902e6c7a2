"""A pre-norm residual block: mix positions, then channels.

Axes: B batch, L positions, T positions of a tile, R rows at a time, D channels.

    r = r + mixer(norm1(r));  r = r + mlp(norm2(r))          (B, L, D) -> (B, L, D)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from genomeconv.config import ModelConfig
from genomeconv.model.by_rows import by_rows, runs_by_rows
from genomeconv.model.mixer import Buffers, Mixer, MixerState, MixerStream
from genomeconv_kernels import linear_add, linear_gelu


class Mlp(nn.Module):
    """Mixes channels: D -> expand D -> D with tanh-GELU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner = config.expand * config.width
        self.fc1 = nn.Linear(config.width, inner)
        self.fc2 = nn.Linear(inner, config.width)


class Block(nn.Module):
    """One block of the trunk; the residual stays in float32."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mixer = Mixer(config, layer)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = Mlp(config)

    def forward(
        self, r: Tensor, inside: Tensor | None = None, *, recompute: bool = False
    ) -> Tensor:
        """(B, L, D) -> (B, L, D).

        Parameters
        ----------
        r : Tensor
        inside : Tensor, optional
            (B, L), False for padding.
        recompute : bool
            Keep what enters a half, or the block where that is enough, and compute
            the rest again for the gradient.
        """
        if not recompute:
            return self._both(r, inside)
        rows = r.flatten(0, 1)
        if runs_by_rows(rows):  # the second half keeps but what enters it
            y = checkpoint(self._mixed, r, inside, use_reentrant=False)
            return self._after(rows, y).view_as(r)
        out: Tensor = checkpoint(self._both, r, inside, use_reentrant=False)
        return out

    def _both(self, r: Tensor, inside: Tensor | None) -> Tensor:
        return self._after(r.flatten(0, 1), self._mixed(r, inside)).view_as(r)

    def _mixed(self, r: Tensor, inside: Tensor | None) -> Tensor:
        """Return what the mixer's last product takes, as rows (N, D)."""
        B, L, D = r.shape
        norm = self.norm1

        def project(
            r: Tensor, scale: Tensor, shift: Tensor, w: Tensor, b: Tensor
        ) -> Tensor:
            x = F.layer_norm(r, (D,), scale, shift, norm.eps)
            return torch.addmm(b[:, None], w, x.T).T

        weights = (*_weights(norm), *_weights(self.mixer.in_proj))
        z = by_rows(project, (r.flatten(0, 1),), weights)
        y = self.mixer.mix(z.T.view(-1, B, L).transpose(0, 1), inside)
        return y.transpose(0, 1).reshape(D, B * L).T

    def _after(self, r: Tensor, y: Tensor) -> Tensor:
        """Return the block's output from its input r and what is mixed; all (N, D)."""
        norm = self.norm2

        def after(r: Tensor, y: Tensor, *weights: Tensor) -> Tensor:
            w0, b0, scale, shift, w1, b1, w2, b2 = weights
            r = r + F.linear(y, w0, b0)
            x = F.layer_norm(r, norm.normalized_shape, scale, shift, norm.eps)
            return r + F.linear(linear_gelu(x, w1, b1), w2, b2)

        parts = (self.mixer.out_proj, norm, self.mlp.fc1, self.mlp.fc2)
        weights = tuple(w for part in parts for w in _weights(part))
        return by_rows(after, (r, y), weights)


def _weights(part: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return part.weight, part.bias


@dataclass
class BlockState:
    """A mixer's state and, in two-sided models, residual rows that wait."""

    mixer: MixerState
    residual: Tensor
    """Rows (B, right, D) whose mixing needs bases still to come."""


class BlockStream:
    """A block laid out for tiles of one length, without gradients.

    All of a tile's rows pass through the norms, products and the short filter a
    few at a time (``rows``), so that what is made on the way stays in the cache.
    """

    def __init__(
        self,
        block: Block,
        *,
        tile: int,
        rows: int,
        dtype: torch.dtype,
        continues: bool,
        buffers: Buffers,
    ) -> None:
        self.block = block
        self.tile = tile
        self.rows = rows
        self.dtype = dtype
        self.buffers = buffers
        self.mixer = MixerStream(
            block.mixer,
            tile=tile,
            dtype=dtype,
            continues=continues,
            buffers=buffers,
        )
        mlp = block.mlp
        self.fc1 = mlp.fc1.weight.detach().to(dtype), mlp.fc1.bias.detach().to(dtype)
        self.fc2 = mlp.fc2.weight.detach().to(dtype), mlp.fc2.bias.detach().to(dtype)

    def initial_state(self, batch: int) -> BlockState:
        """Return the state before the first position."""
        residual = self.block.norm1.weight.new_zeros(
            batch, self.mixer.right, self.mixer.width
        )
        return BlockState(self.mixer.initial_state(batch), residual)

    def _pieces(self, batch: int) -> Iterator[tuple[slice, slice]]:
        """Yield (batch rows, positions) of at most ``rows`` rows together."""
        together = max(1, self.rows // self.tile)
        for b in range(0, batch, together):
            for t in range(0, self.tile, self.rows):
                yield (
                    slice(b, min(b + together, batch)),
                    slice(t, min(t + self.rows, self.tile)),
                )

    def step(self, r: Tensor, state: BlockState, inside: Tensor | None) -> Tensor:
        """Run one tile; ``r`` (B, T, D) is overwritten.

        Returns the residual of positions ``right`` to the left of the input's.
        ``inside`` (B, T) is 1 for positions of the sequence, 0 elsewhere; None
        where all are, or where it does not matter (causal models).
        """
        y = self._mix(r, state, inside)
        if self.mixer.right:
            rows = torch.cat([state.residual, r], dim=1)
            r, state.residual = rows[:, : self.tile], rows[:, self.tile :].clone()
        for b, t in self._pieces(len(r)):
            piece = r[b, t]
            flat = piece.reshape(-1, piece.shape[-1])
            self.mixer.add_output(y[:, b, t].reshape(len(y), -1), flat)
            r[b, t] = self._mlp(flat).view_as(piece)
        return r

    def _mix(self, r: Tensor, state: BlockState, inside: Tensor | None) -> Tensor:
        """Return the gated convolution's output, channel-first (D, B, T)."""
        B, T, D = r.shape
        norm, mixer = self.block.norm1, self.mixer
        if mixer.fuses(inside):
            x = F.layer_norm(r, (D,), norm.weight, norm.bias, norm.eps)
            return mixer.mix(x, state.mixer).transpose(0, 1)
        gate = self.buffers.get("gate", (D, B, T)).transpose(0, 1)
        gated = self.buffers.get("gated", (D, B, T)).transpose(0, 1)
        for b, t in self._pieces(B):
            x = F.layer_norm(r[b, t], (D,), norm.weight, norm.bias, norm.eps)
            mask = None if inside is None else inside[b, t]
            mixer.project(x, state.mixer, b, mask, (gate[b, :, t], gated[b, :, t]))
        return mixer.convolve(gated, gate, state.mixer).transpose(0, 1)

    def _mlp(self, r: Tensor) -> Tensor:
        norm = self.block.norm2
        x = F.layer_norm(r, r.shape[-1:], norm.weight, norm.bias, norm.eps)
        hidden = linear_gelu(x.to(self.dtype), *self.fc1)
        if self.dtype == r.dtype:
            return linear_add(hidden, *self.fc2, r)
        return r + F.linear(hidden, *self.fc2)
