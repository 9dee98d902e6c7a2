"""Train human-small: next-base loss on chr20 and chrX:1-40M, both strands.

    python recipes/human_small/train.py DATA -o RUN --minutes 60

RUN gets state.pt (replaced every few minutes) and log.jsonl, a line a minute; the
same command continues a run that was stopped. With --steps instead of --minutes the
schedule follows the steps, and a run can be repeated exactly.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from split import development_text, training_text
from torch import Tensor, nn

from genomeconv.alphabet import Codes, N, reverse_complement
from genomeconv.config import from_dict
from genomeconv.model import Model, build_model

LOG_SECONDS = 60
SAVE_SECONDS = 240
IGNORED = -100
DENSE = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the model is trained."""

    seed: int
    window: int
    """Bases of a window: twice the taps, so half of them see the whole filter."""
    windows: int
    """Windows a step."""
    matrix_lr: float
    """Highest rate of Muon, which moves the dense matrices of the blocks."""
    filter_lr: float
    """Highest rate of AdamW for the long filters."""
    lr: float
    """Highest rate of AdamW for the rest."""
    warmup: float
    """Share of the run in which the rates rise."""
    final_lr: float
    """Last rates as a share of the highest; a cosine leads there."""
    weight_decay: float
    """For the dense matrices; filters, biases, norms and the table have none."""
    clip: float
    """Largest norm of the gradient."""
    bfloat16: bool
    """Products in bfloat16; norms, convolutions and the residual stay float32."""


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    bases: int = 0
    seconds: float = 0.0
    """Wall time, time in which the process was stopped included."""
    cpu_seconds: float = 0.0


class Windows:
    """Random windows of the training text: a function of seed and step alone."""

    def __init__(self, texts: list[Codes], config: Training) -> None:
        self.text = np.concatenate(texts)
        self.ends = np.cumsum([len(t) for t in texts])
        self.config = config

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and the bases that follow them, both (windows, window).

        Windows that are mostly N or cross from one text into the next are drawn
        again; every second one is read from the other strand.
        """
        rng = np.random.default_rng((self.config.seed, step))
        rows: list[Codes] = []
        while len(rows) < self.config.windows:
            start = int(rng.integers(len(self.text) - self.config.window))
            stop = start + self.config.window + 1
            window = self.text[start:stop]
            crosses = np.any((self.ends > start) & (self.ends < stop))
            if crosses or np.mean(window == N) > 0.5:
                continue
            rows.append(reverse_complement(window) if len(rows) % 2 else window)
        tokens = torch.from_numpy(np.stack(rows).astype(np.int64))
        return tokens[:, :-1], tokens[:, 1:]


def mean_bits(model: nn.Module, x: Tensor, y: Tensor, bfloat16: bool) -> Tensor:
    """Return the mean bits a called base, a scalar."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = model(x).float().flatten(0, 1)
    target = y.flatten().masked_fill(y.flatten() == N, IGNORED)
    loss = nn.functional.cross_entropy(logits, target, ignore_index=IGNORED)
    return loss / math.log(2)


@torch.no_grad()
def development_bits(model: nn.Module, codes: Codes, config: Training) -> float:
    """Return bits a base on 64 windows spread over the development region."""
    starts = np.linspace(0, len(codes) - config.window - 1, 64).astype(int)
    rows = np.stack([codes[s : s + config.window + 1] for s in starts])
    parts = torch.from_numpy(rows.astype(np.int64)).view(8, 8, -1)
    losses = [mean_bits(model, p[:, :-1], p[:, 1:], config.bfloat16) for p in parts]
    return float(torch.stack(losses).mean())


def optimizers(model: Model, config: Training) -> list[torch.optim.Optimizer]:
    """Return Muon for the dense matrices of the blocks and AdamW for the rest."""
    dense: list[nn.Parameter] = []
    filters: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.endswith(DENSE):
            dense.append(parameter)
        else:
            (filters if ".filter." in name else rest).append(parameter)
    groups = [
        {"params": rest, "lr": config.lr},
        {"params": filters, "lr": config.filter_lr},
    ]
    return [
        torch.optim.Muon(
            dense, lr=config.matrix_lr, weight_decay=config.weight_decay, momentum=0.95
        ),
        torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_factor(config: Training, share: float) -> float:
    """Return the rate at a share of the run, in units of the highest."""
    if share < config.warmup:
        return share / config.warmup
    angle = math.pi * (share - config.warmup) / (1 - config.warmup)
    return config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(angle))


class Run:
    """A run: model, optimisers, progress, and the folder they are kept in."""

    def __init__(self, folder: Path, values: dict[str, Any], compiled: bool) -> None:
        self.folder = folder
        self.values = values
        self.config = Training(**values["training"])
        self.model = build_model(from_dict(values["model"]), self.config.seed)
        self.forward: Any = torch.compile(self.model) if compiled else self.model
        self.optimizers = optimizers(self.model, self.config)
        self.peaks = [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)

    def step(self, x: Tensor, y: Tensor, share: float) -> Tensor:
        """Take one step and return its loss."""
        loss = mean_bits(self.forward, x, y, self.config.bfloat16)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        factor = rate_factor(self.config, share)
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad()
        self.progress.step += 1
        self.progress.bases += x.numel()
        return loss.detach()

    def save(self) -> None:
        """Replace the state; the file is whole at any moment."""
        state = {
            "config": self.values,
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "progress": asdict(self.progress),
        }
        new = self.folder / "state.new"
        torch.save(state, new)
        new.replace(self.folder / "state.pt")

    def resume(self) -> None:
        """Take up the last state, if there is one."""
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["config"] != self.values:
            raise SystemExit(f"{path}: made with another config; use a new folder")
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.progress = Progress(**state["progress"])

    def log(self, **values: float) -> None:
        """Append a line to the log and show it."""
        line = json.dumps({**asdict(self.progress), **values})
        with (self.folder / "log.jsonl").open("a") as handle:
            handle.write(line + "\n")
        print(line, flush=True)


def train(run: Run, texts: list[Codes], development: Codes, budget: Progress) -> None:
    """Train until the budget, in steps or else in seconds, is spent.

    On a budget of seconds the rates follow the clock, so they have come down when
    the time is over, however fast the machine was.
    """
    windows, progress = Windows(texts, run.config), run.progress
    begin = time.monotonic() - progress.seconds
    cpu_begin = time.process_time() - progress.cpu_seconds
    logged = saved = progress.seconds
    losses: list[Tensor] = []
    share = 0.0
    while share < 1:
        progress.seconds = time.monotonic() - begin
        progress.cpu_seconds = time.process_time() - cpu_begin
        share = min(
            1.0,
            progress.step / budget.step
            if budget.step
            else progress.seconds / budget.seconds,
        )
        if losses and (share == 1 or progress.seconds - logged > LOG_SECONDS):
            run.log(share=share, train=float(torch.stack(losses).mean()))
            losses, logged = [], progress.seconds
        if share == 1 or progress.seconds - saved > SAVE_SECONDS:
            run.log(development=development_bits(run.model, development, run.config))
            run.save()
            saved = progress.seconds
        if share < 1:
            losses.append(run.step(*windows.batch(progress.step), share))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the training FASTA files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder")
    parser.add_argument(
        "--config", type=Path, default=Path(__file__).with_name("config.json")
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, default=0.0, help="wall time to spend")
    length.add_argument("--steps", type=int, default=0, help="steps to take")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = Run(args.output, json.loads(args.config.read_text()), args.compile)
    run.resume()
    budget = Progress(step=args.steps, seconds=60 * args.minutes)
    train(run, training_text(args.data), development_text(args.data), budget)


if __name__ == "__main__":
    main()
