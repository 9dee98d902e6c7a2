"""The trunk: bases in, one vector a base out, and its heads.

Axes: B batch, L positions, D channels, V rows of the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genomeconv.config import ModelConfig
from genomeconv.model.block import Block


class Trunk(nn.Module):
    """Tokens (B, L) -> embeddings (B, L, D): embedding, blocks, final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(
        self,
        tokens: Tensor,
        layer: int | None = None,
        inside: Tensor | None = None,
        *,
        recompute: bool = False,
    ) -> Tensor:
        """Return the embeddings, or the residual after block ``layer``.

        Parameters
        ----------
        tokens : Tensor
            Rows of the embedding table (B, L), int64.
        layer : int, optional
            1-based number of a block: the residual stream behind it, before the
            final norm; 0 is the table itself. None: the final norm's output.
        inside : Tensor, optional
            (B, L) bool: False for padding at the end of a sequence, which then
            changes none of its vectors. None: there is none.
        recompute : bool
            Keep little of each block for the gradient; see :class:`Block`.
        """
        r = self.embedding(tokens)
        for block in self.blocks[:layer]:
            r = block(r, inside, recompute=recompute)
        out: Tensor = r if layer is not None else self.norm(r)
        return out


class Model(nn.Module):
    """A trunk, its next-base head and its per-base outputs, as configured."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.head = _head(config)
        self.outputs = _outputs(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return next-base logits (B, L, V) for tokens (B, L)."""
        x = self.trunk(tokens)
        head = self.trunk.embedding if self.head is None else self.head
        return nn.functional.linear(x, head.weight)


def _head(config: ModelConfig) -> nn.Linear | None:
    if config.head != "free":
        return None
    return nn.Linear(config.width, config.vocabulary, bias=False)


def _outputs(config: ModelConfig) -> nn.Linear | None:
    if not config.outputs:
        return None
    return nn.Linear(config.width, len(config.outputs))


def build_model(config: ModelConfig, seed: int | None = None) -> Model:
    """Return a freshly initialised model; the same seed gives the same weights.

    Dense weights start as N(0, 0.02), those that end a residual branch smaller by
    sqrt(2 layers) (GPT-2's rule, as in HyenaDNA).
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = Model(config)
        for name, parameter in model.named_parameters():
            if name.endswith(
                (
                    "in_proj.weight",
                    "fc1.weight",
                    "embedding.weight",
                    "head.weight",
                    "outputs.weight",
                )
            ):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith(("out_proj.weight", "fc2.weight")):
                nn.init.normal_(parameter, std=0.02 / (2 * config.layers) ** 0.5)
            elif name.endswith(
                (
                    "in_proj.bias",
                    "out_proj.bias",
                    "fc1.bias",
                    "fc2.bias",
                    "outputs.bias",
                )
            ):
                nn.init.zeros_(parameter)
    return model
