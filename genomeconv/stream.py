"""Exact piecewise execution of a trunk over sequences of any length.

Axes: B sequences together, T positions of a tile, D channels.

A sequence is cut into tiles of one length on a grid that starts at its first
position. From tile to tile each block carries the last K - 1 gated inputs and the
last inputs of its short filter, nothing else, so memory does not grow with the
sequence. Tiles depend on the sequence and the model alone: however the caller reads
or stores pieces, every tile sees the same numbers and gives the same bits.

A two-sided block answers ``right`` positions late; its grid is shifted by the sum
of the blocks before it, and sequences run that much longer before they are done.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genomeconv.alphabet import Codes, N
from genomeconv.config import ModelConfig
from genomeconv.model.block import Block, BlockState, BlockStream
from genomeconv.model.mixer import Buffers
from genomeconv.model.trunk import Trunk
from genomeconv.tokens import token_table
from genomeconv.transfer import upload

Reader = Callable[[int, int], Codes]
"""Returns the codes from start to stop, both inside the sequence."""

_ROW_BYTES = 4 << 20
"""What the widest row buffer of one product may take: half of it stays in L2."""
_GPU_NUMBERS = 1 << 27
"""Positions times channels of a tile on a GPU: half a gigabyte a float32 buffer."""
_GPU_ROWS = 1 << 17
_SMALLEST_PAD = 64
_LONG_STEP = 1 << 13
"""Padding of sequences beyond 64 k: a power of two would waste too much memory."""
_LAYOUTS_KEPT = 6
"""Tile lengths whose filter spectra are kept; the least used goes first."""
_LONG_FILTER = 1 << 16
"""Taps beyond which tiles are as long as the filter and one layout is kept: it holds
the taps, half a gigabyte a block at a million."""


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """How sequences are cut for one model: a pure function of its configuration.

    Attributes
    ----------
    tile : int
        Positions of a full tile.
    rows : int
        Rows per product inside a tile.
    delay : int
        Positions the output runs behind the input (sum of right-hand taps).
    warmup : tuple of int
        For every block the tiles of its input that decide its state: once it has seen
        so many, the state has the bits it would have had from the first tile on.
    """

    tile: int
    rows: int
    delay: int
    warmup: tuple[int, ...]

    @property
    def batch_limit(self) -> int:
        """Longest sequence that is run in one tile, several of them together."""
        return self.tile - self.delay

    def begins(self, tile: int) -> list[int]:
        """Return the first tile each block has to run, for the output of ``tile``.

        A block's state is right once the block before it has given right tiles, so
        the last starts late, and the first long before.
        """
        return [max(0, tile - sum(self.warmup[i:])) for i in range(len(self.warmup))]

    def padded(self, positions: int) -> int:
        """Return the tile length for so many positions: few sizes, little waste."""
        size = _SMALLEST_PAD
        while size < positions:
            size *= 2
        if size > _LONG_FILTER:
            size = -(-positions // _LONG_STEP) * _LONG_STEP
        return min(size, self.tile)

    def tail(self, positions: int) -> int:
        """Return the length of a tile with so many positions left: eighths, halves."""
        for parts in (8, 4, 2):
            if positions <= self.tile // parts:
                return self.tile // parts
        return self.tile


def plan_tiles(
    config: ModelConfig,
    layers: int | None = None,
    *,
    gpu: bool = False,
    halvings: int = 0,
) -> TilePlan:
    """Choose the tile for a model run up to block ``layers`` (None: all).

    On a GPU it is as long as keeps a tile's numbers within a few gigabytes: launches
    and overlaps then cost next to nothing; ``halvings`` makes do with less. On a CPU
    it has to fit the cache.

    A transform of four times the taps wastes a quarter of itself on overlap and
    still fits the cache; beyond 64 k taps the tile is as long as the filter,
    since each tile touches every tap once.
    """
    depth = config.layers if layers is None else layers
    taps = max((config.filter(i).taps for i in range(depth)), default=1)
    if gpu:
        tile = max(_GPU_NUMBERS // config.width, 1 << (taps - 1).bit_length())
        tile = 1 << max(tile >> halvings, 8192).bit_length() - 1
    elif taps <= _LONG_FILTER:
        points = max(8192, 1 << (4 * taps - 1).bit_length())
        tile = (points - taps + 1) // 1024 * 1024
    else:
        tile = 1 << (taps - 1).bit_length()
    widest = 4 * config.width * max(3, config.expand)
    rows = max(256, min(2048, 1 << (_ROW_BYTES // widest).bit_length() - 1))
    rows = _GPU_ROWS >> halvings if gpu else rows
    delay = config.right_context(depth)
    while tile <= 2 * delay:
        tile *= 2
    # A gated input is made of so many inputs of the short filter.
    past = [config.filter(i).taps + config.short_taps - 2 for i in range(depth)]
    warmup = tuple(-(-positions // tile) for positions in past)
    return TilePlan(tile=tile, rows=rows, delay=delay, warmup=warmup)


class TrunkStream:
    """Runs a trunk over sequences, tile by tile, without gradients.

    Parameters
    ----------
    trunk : Trunk
        Left as it is; its weights are read, not copied, where the type allows.
    layer : int, optional
        Stop behind this block (0: the embedding table) and return its residual;
        None: all blocks and the final norm.
    precision : torch.dtype
        Type of the operands of matrix products: float32 or bfloat16. Sums,
        norms and convolutions are float32 in either case.
    plan : TilePlan, optional
        How to cut sequences; None: :func:`plan_tiles`.
    """

    def __init__(
        self,
        trunk: Trunk,
        *,
        layer: int | None = None,
        precision: torch.dtype = torch.float32,
        plan: TilePlan | None = None,
    ) -> None:
        self.trunk = trunk
        self.precision = precision
        self.depth = trunk.config.layers if layer is None else layer
        self.last = layer is None
        weight = trunk.embedding.weight.detach()
        gpu = weight.device.type == "cuda"
        if plan is None:
            plan = plan_tiles(trunk.config, self.depth, gpu=gpu)
        self.plan = plan
        table = torch.from_numpy(token_table(trunk.config)).to(weight.device)
        self.table = weight[table]
        self.buffers = Buffers(weight.device)
        self._blocks: OrderedDict[tuple[int, bool], list[BlockStream]] = OrderedDict()

    @property
    def width(self) -> int:
        """Columns of the output (D)."""
        return self.table.shape[1]

    @property
    def context(self) -> tuple[int, int]:
        """Bases to the left and to the right that an output can depend on."""
        config = self.trunk.config
        return config.left_context(self.depth), config.right_context(self.depth)

    def memory(self) -> int:
        """Estimate the bytes a run takes beside the program itself.

        Per tile the residual, the gate, the gated input and room for transforms; per
        block the taps' spectra (or the taps) and the carried state.
        """
        config, tile = self.trunk.config, self.plan.tile
        taps = sum(config.filter(i).taps for i in range(self.depth))
        spectra = 0 if tile > _LONG_FILTER else 4 * self.depth * (tile + taps)
        numbers = self.width * (5 * tile + 2 * taps + spectra)
        numbers += self.plan.rows * self.width * 2 * max(3, config.expand)
        return 4 * (numbers + config.parameters())

    def rehearse(self) -> None:
        """Run one tile of nothing: the memory is taken, the kernels are compiled."""
        nothing = self.run(lambda a, b: np.zeros(b - a, np.uint8), 2 * self.plan.tile)
        next(nothing)
        if self.table.is_cuda:
            torch.cuda.synchronize(self.table.device)

    @torch.no_grad()
    def run(
        self, read: Reader, length: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield embeddings of positions ``start`` to ``stop`` of one sequence.

        Parameters
        ----------
        read : Reader
            Gives codes of the sequence, 0-based half-open.
        length : int
            Bases in the sequence.

        Yields
        ------
        position, embeddings : int, Tensor
            First position and (positions, D) float32, tile by tile: whole tiles, so
            the first can begin before ``start`` and the last end behind ``stop``. The
            memory is used again for the next tile.
        """
        plan = self.plan
        stop = length if stop is None else stop
        if length <= plan.batch_limit:
            yield 0, self.run_together([read(0, length)])[0]
            return
        wanted = (start + plan.delay) // plan.tile
        last = (stop - 1 + plan.delay) // plan.tile
        begins = plan.begins(wanted)
        states: list[BlockState] | None = None
        for n in range(min([wanted, *begins]), last + 1):
            begin = n * plan.tile
            size = plan.tail(length + plan.delay - begin)
            blocks: list[BlockStream] = []  # lets the last layout go
            blocks = self._stream(size, continues=True)
            if states is None:
                states = [block.initial_state(1) for block in blocks]
            codes = np.full((1, size), N, dtype=np.uint8)
            inside = max(0, min(length, begin + size) - begin)
            if inside:
                codes[0, :inside] = read(begin, begin + inside)
            ready = sum(tile <= n for tile in begins)
            out = self._tile(codes, blocks[:ready], states[:ready], begin, [length])
            offset = begin - plan.delay
            low, high = max(0, offset), min(length, offset + size)
            if n >= wanted and start < high:
                yield low, out[0, low - offset : high - offset]

    @torch.no_grad()
    def run_together(self, sequences: Sequence[Codes]) -> list[Tensor]:
        """Embed short sequences (at most ``plan.batch_limit`` bases) in one tile.

        Returns one (positions, D) tensor a sequence, in memory that the next call
        uses again. Sequences do not influence each other: each is padded on its right
        with what no output sees.
        """
        plan = self.plan
        lengths = [len(codes) for codes in sequences]
        size = plan.padded(max(lengths) + plan.delay)
        padded = np.full((len(sequences), size), N, dtype=np.uint8)
        for row, codes in zip(padded, sequences, strict=True):
            row[: len(codes)] = codes
        blocks = self._stream(size, continues=False)
        states = [block.initial_state(len(sequences)) for block in blocks]
        out = self._tile(padded, blocks, states, 0, lengths)
        return [
            row[plan.delay : plan.delay + length]
            for row, length in zip(out, lengths, strict=True)
        ]

    def _stream(self, size: int, *, continues: bool) -> list[BlockStream]:
        """Return the blocks laid out for tiles of ``size``, made once."""
        key = (size, continues)
        if key not in self._blocks:
            kept = _LAYOUTS_KEPT if self.plan.tile <= 4 * _LONG_FILTER else 1
            while len(self._blocks) >= kept:
                self._blocks.popitem(last=False)
            self._blocks[key] = [
                BlockStream(
                    block,
                    tile=size,
                    rows=self.plan.rows,
                    dtype=self.precision,
                    continues=continues,
                    buffers=self.buffers,
                )
                for block in self.trunk.blocks[: self.depth]
                if isinstance(block, Block)
            ]
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _tile(
        self,
        codes: Codes,
        blocks: list[BlockStream],
        states: list[BlockState],
        begin: int,
        lengths: list[int],
    ) -> Tensor:
        """Run one tile (B, T) of codes; positions start at ``begin`` - delay."""
        index = upload(codes, self.table.device).int()
        r = self.buffers.get("residual", (*codes.shape, self.width))
        torch.index_select(self.table, 0, index.view(-1), out=r.view(-1, self.width))
        shift = 0
        for block, state in zip(blocks, states, strict=True):
            inside = self._inside(begin - shift, codes.shape[1], lengths)
            r = block.step(r, state, inside)
            shift += block.mixer.right
        if self.last:
            norm, r = self.trunk.norm, r.contiguous()
            for rows in torch.split(r.view(-1, self.width), self.plan.rows):
                rows.copy_(norm(rows))
        return r

    def _inside(self, begin: int, size: int, lengths: list[int]) -> Tensor | None:
        """Return which positions of a tile are inside the sequences, (B, T).

        None where it does not matter: a causal model never looks at what lies
        beyond the end, and no tile of it starts before the beginning.
        """
        if self.plan.delay == 0 or (begin >= 0 and begin + size <= min(lengths)):
            return None
        device = self.table.device
        position = torch.arange(begin, begin + size, device=device)
        stop = upload(np.array(lengths), device)[:, None]
        return ((position >= 0) & (position < stop)).to(self.table.dtype)
