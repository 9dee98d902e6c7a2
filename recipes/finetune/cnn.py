"""A small convolutional network, the other thing people try first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, PASSES, RATE = 64, 6, 2e-3
CHANNELS = 32


class Cnn(nn.Module):
    """Bases (B, L) -> logits (B, C): two convolutions, mean and maximum, a line."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 2 * CHANNELS, 11, padding=5)
        self.second = nn.Conv1d(2 * CHANNELS, CHANNELS, 7, padding=3)
        self.last = nn.Linear(2 * CHANNELS, classes)

    def forward(self, codes: Tensor) -> Tensor:
        """(B, L) -> (B, C)."""
        bases = F.one_hot(codes.long(), 5)[..., :4].float().transpose(1, 2)
        x = F.max_pool1d(F.relu(self.first(bases)), 2)
        x = F.relu(self.second(x))
        return self.last(torch.cat([x.mean(2), x.amax(2)], 1))


def fitted(
    codes: np.ndarray, classes: Sequence[int], seed: int, *, both_strands: bool
) -> Cnn:
    """Return the network trained on sequences of one length, (I, L)."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Cnn(max(classes) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    steps = PASSES * (len(codes) // BATCH)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    y = np.asarray(classes)
    for _ in range(PASSES):
        order = rng.permutation(len(codes))
        for i in range(len(codes) // BATCH):
            at = order[i * BATCH : (i + 1) * BATCH]
            x = codes[at]
            if both_strands:
                flip = rng.random(len(x)) < 0.5
                x[flip] = np.where(x[flip] < 4, 3 - x[flip], 4)[:, ::-1]
            loss = F.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y[at]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
    return model


@torch.no_grad()
def probabilities(model: Cnn, codes: np.ndarray) -> np.ndarray:
    """Return the probability of each class, (I, C)."""
    parts = torch.from_numpy(codes).split(512)
    return torch.cat([model(part).softmax(1) for part in parts]).double().numpy()
