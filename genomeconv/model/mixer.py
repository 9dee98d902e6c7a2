"""The gated long convolution between positions (Hyena of order 2).

Axes: B batch, L positions, T positions of a tile, D channels, K taps, N = B * T.

    [x0, x1, v] = short(in_proj(x));  y = out_proj(x0 * (k * (v x1) + skip v x1))

(Poli et al. 2023, definition 3.1 with order 2). (B, L, D) -> (B, L, D). This is
the only module that calls the convolution kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genomeconv.config import ModelConfig
from genomeconv.model.filters import build_filter
from genomeconv_kernels import (
    MixerPast,
    PreparedFilter,
    backend,
    fft_conv,
    linear_transposed,
    mixer_conv,
    prepare_filter,
    short_conv,
)


class Neighbours(Protocol):
    """Who holds the positions on either side of the stretch a mixer is given."""

    def widened(self, x: Tensor, left: int, right: int) -> Tensor:
        """Return x (B, C, L) with so many positions more on either side.

        Where the sequence has none they are zero.
        """
        ...


class Mixer(nn.Module):
    """Mixes positions: (B, L, D) -> (B, L, D), with the block around it.

    Attributes
    ----------
    neighbours : Neighbours or None
        None: what :meth:`mix` is given are whole sequences.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width, taps = config.width, config.short_taps
        self.right = config.filter(layer).right
        self.in_proj = nn.Linear(width, 3 * width)
        self.short_weight = nn.Parameter(torch.empty(3 * width, taps))
        self.short_bias = nn.Parameter(torch.zeros(3 * width))
        nn.init.uniform_(self.short_weight, -1 / math.sqrt(taps), 1 / math.sqrt(taps))
        self.filter = build_filter(width, config.filter(layer))
        self.skip = nn.Parameter(torch.randn(width))
        self.out_proj = nn.Linear(width, width)
        self.neighbours: Neighbours | None = None

    def mix(self, z: Tensor, inside: Tensor | None = None) -> Tensor:
        """Filter and gate what is between the two projections, with gradients.

        Parameters
        ----------
        z : Tensor
            in_proj(x), channels first: (B, 3D, L), as (3D, B, L) in memory.
        inside : Tensor, optional
            (B, L) bool: False for padding at the end, which no base then sees.

        Returns
        -------
        Tensor
            What out_proj takes, (B, D, L).
        """
        if self.neighbours is not None:
            assert inside is None, "stretches have no padding"
            return self._mix_stretch(z, self.neighbours)
        z = short_conv(z, self.short_weight, self.short_bias)
        B, _, L = z.shape
        x0, x1, v = z.transpose(0, 1).view(3, -1, B, L).transpose(1, 2).unbind()
        if inside is not None:
            v = torch.where(inside[:, None], v, 0.0)
        k = self.filter.taps()
        return fft_conv(v, k, pre=x1, post=x0, skip=self.skip, right=self.right)

    def _mix_stretch(self, z: Tensor, neighbours: Neighbours) -> Tensor:
        """Filter and gate a stretch, (B, 3D, L) -> (B, D, L)."""
        past = self.short_weight.shape[1] - 1
        z = neighbours.widened(z, past, 0)
        z = short_conv(z[..., past:], self.short_weight, self.short_bias, z[..., :past])
        # Gated inputs are not rounded: whole sequences gate inside the kernel.
        x0, x1, v = z.to(torch.promote_types(z.dtype, torch.float32)).chunk(3, dim=1)
        k, right = self.filter.taps(), self.right
        past = k.shape[1] - 1
        x = neighbours.widened(x1 * v, past - right, right)
        # Seen from `right` positions on, all taps look back.
        k = k + F.pad(self.skip[:, None], (right, past - right))
        return fft_conv(x[..., past:], k, post=x0, state=x[..., :past])


class Buffers:
    """Memory used again from call to call; fresh pages cost more than the sums."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: dict[tuple[str, torch.dtype], Tensor] = {}

    def get(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return an uninitialised tensor; the last one of that name is overwritten."""
        key, size = (name, dtype), math.prod(shape)
        kept = self._kept.get(key)
        if kept is None or kept.numel() < size:
            kept = torch.empty(size, dtype=dtype, device=self._device)
            self._kept[key] = kept
        return kept[:size].view(shape)


@dataclass
class MixerState:
    """What crosses from one tile to the next; nothing else does."""

    short: Tensor
    """Last inputs of the short filter, their bias left out, (B, 3D, short_taps - 1)."""
    long: Tensor
    """Last gated inputs of the long filter, (B, D, K - 1)."""
    gate: Tensor
    """Outer gates not used yet, (B, D, right)."""


class MixerStream:
    """A mixer with its weights laid out for tiles of one length, without gradients.

    Positions run along the last axis inside, so that the transforms read memory in
    order; the products on either side absorb the transposition. A two-sided filter
    runs as a causal one whose output is read ``right`` positions late.

    Parameters
    ----------
    mixer : Mixer
    tile : int
        Positions per call (T).
    dtype : torch.dtype
        Type of the products' operands.
    continues : bool
        Whether states will be carried between tiles; without, taps beyond the tile
        are never reached and are left out.
    buffers : Buffers
        Memory to work in.
    """

    def __init__(
        self,
        mixer: Mixer,
        *,
        tile: int,
        dtype: torch.dtype,
        continues: bool,
        buffers: Buffers,
    ) -> None:
        self.mixer = mixer
        self.right = mixer.right
        self.width = mixer.skip.shape[0]
        self.tile = tile
        self.dtype = dtype
        self.continues = continues
        self.buffers = buffers
        self.in_weight = mixer.in_proj.weight.detach().to(dtype)
        # short(W x + b) is short(W x) + b sum(taps), if what lies before the first
        # position counts as -b: so the bias costs no pass over memory.
        self.in_bias = mixer.in_proj.bias.detach()
        self.short_weight = mixer.short_weight.detach()
        self.short_bias = mixer.short_bias.detach() + (
            self.in_bias * self.short_weight.sum(1)
        )
        self.out_weight = mixer.out_proj.weight.detach().T.to(dtype)
        self.out_bias = mixer.out_proj.bias.detach()
        self.triton = backend.path(mixer.skip) == "triton"
        self.taps: PreparedFilter = self._prepare()

    def _prepare(self) -> PreparedFilter:
        # The skip belongs to lag 0, which stands `right` taps into the filter.
        taps = self.mixer.filter.taps()
        taps[:, self.right] += self.mixer.skip
        return prepare_filter(
            taps,
            length=self.tile,
            history=self.continues,
            dtype=self.dtype if self.triton else torch.float32,
        )

    def initial_state(self, batch: int) -> MixerState:
        """Return the state before the first position: no input yet."""
        new = self.mixer.skip.new_zeros
        taps = self.mixer.filter.n_taps if self.continues else 1
        past = self.short_weight.shape[1] - 1
        return MixerState(
            short=-self.in_bias[None, :, None].repeat(batch, 1, past),
            long=new(batch, self.width, taps - 1),
            gate=new(batch, self.width, self.right),
        )

    def fuses(self, inside: Tensor | None) -> bool:
        """Whether `mix` can take a tile: in Triton, causal, nothing to be left out."""
        return self.triton and not self.right and inside is None

    def mix(self, x: Tensor, state: MixerState) -> Tensor:
        """Run product, short filter, gates and long filter, (B, T, D) -> (B, D, T).

        Between the product and the output nothing is stored.
        """
        B, T, D = x.shape
        z = linear_transposed(x.reshape(B * T, D).to(self.dtype), self.in_weight)
        past = MixerPast(state.short, state.long if self.continues else None)
        y, past = mixer_conv(
            z.view(3 * D, B, T).transpose(0, 1),
            self.short_weight,
            self.short_bias,
            self.taps,
            past,
            out=self.buffers.get("mixed", (D, B, T), self.dtype).transpose(0, 1),
        )
        state.short = past.short
        if past.long is not None:
            state.long = past.long
        return y

    def project(
        self,
        x: Tensor,
        state: MixerState,
        b: slice,
        inside: Tensor | None,
        out: tuple[Tensor, Tensor],
    ) -> None:
        """Run the product, the short filter and the inner gate on some rows.

        Parameters
        ----------
        x : Tensor
            Normalised input (G, R, D).
        state : MixerState
            Its short part is brought up to date.
        b : slice
            Which of the state's sequences these rows belong to.
        inside : Tensor, optional
            (G, R): 1 for positions of the sequence, 0 elsewhere.
        out : tuple[Tensor, Tensor]
            Where to write the outer gate and the gated input, (G, D, R) each.
        """
        G, R, D = x.shape
        z = self._in_product(x.reshape(G * R, D))
        z = z.view(3 * D, G, R).transpose(0, 1)
        if inside is not None:
            z = torch.where(inside[:, None] > 0, z, -self.in_bias[:, None])
        gate, inner = slice(0, D), slice(D, 3 * D)
        short, weight, bias = state.short[b], self.short_weight, self.short_bias
        short_conv(z[:, gate], weight[gate], bias[gate], short[:, gate], out=out[0])
        filtered = self.buffers.get("filtered", (2 * D, G, R)).transpose(0, 1)
        short_conv(
            z[:, inner], weight[inner], bias[inner], short[:, inner], out=filtered
        )
        short.copy_(z[..., R - short.shape[-1] :])
        x1, v = filtered.chunk(2, dim=1)
        torch.mul(v, x1, out=out[1])
        if inside is not None:
            out[1].mul_(inside[:, None])

    def _in_product(self, x: Tensor) -> Tensor:
        """Return W x^T of rows (N, D), channel-first (3D, N), in float32."""
        z = linear_transposed(x.to(self.dtype), self.in_weight)
        if z.dtype == torch.float32:
            return z
        return self.buffers.get("projected", tuple(z.shape)).copy_(z)

    def convolve(self, gated: Tensor, x0: Tensor, state: MixerState) -> Tensor:
        """Run the long filter and the outer gate, (B, D, T) -> (B, D, T).

        The output belongs to positions ``right`` to the left of the input's.
        """
        if self.right:
            gates = torch.cat([state.gate, x0], dim=-1)
            x0, state.gate = gates[..., : self.tile], gates[..., self.tile :].clone()
        # Written over the gate: each output needs its own gate and no other.
        if not self.continues:
            return fft_conv(gated, self.taps, post=x0, out=x0)
        y, state.long = fft_conv(
            gated, self.taps, post=x0, state=state.long, return_state=True, out=x0
        )
        return y

    def add_output(self, y: Tensor, residual: Tensor) -> None:
        """Add out_proj of some columns, (D, N) channel-first, to rows (N, D)."""
        if self.dtype == residual.dtype:
            residual.addmm_(y.T, self.out_weight)
        else:
            residual += torch.mm(y.T.to(self.dtype), self.out_weight)
        residual += self.out_bias
