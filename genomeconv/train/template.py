"""The commented config that `genomeconv train --init` prints; it runs as written."""

from __future__ import annotations

import json
from typing import Literal

Kind = Literal["lm", "mask", "labels"]

_HEAD = {
    "lm": "A causal model that predicts the next base.",
    "mask": "A two-sided model that predicts hidden bases from both sides.",
    "labels": "A two-sided model that labels bases: donor, acceptor, CDS, UTR, ...",
}
_MODEL = {
    "lm": """\
vocabulary = 5            # rows of the embedding table: A C G T N
filters = [{family = "sgconv", taps = 1024}]  # repeated over the blocks""",
    "mask": """\
vocabulary = 6            # rows of the embedding table: A C G T N and "hidden"
filters = [{family = "sgconv", taps = 1025, right = 512}]  # 512 look right""",
    "labels": """\
vocabulary = 5            # rows of the embedding table: A C G T N
filters = [{family = "squash", taps = 65, right = 32},  # free taps: codons have a
           {family = "squash", taps = 769, right = 384},  # period of three
           {family = "squash", taps = 257, right = 128}]
outputs = ["donor+", "acceptor+", "CDS+", "UTR+", "intron+", "intergenic+",
           "donor-", "acceptor-", "CDS-", "UTR-", "intron-", "intergenic-"]""",
}
_NEXT_HEAD = (
    'head = "tied"             # next base; or "free": its own weights',
    'head = "none"             # no next base; "tied" or "free" keep one',
)
_TEMPLATE = """\
# {head}
#   genomeconv train genomeconv.toml -o RUN      starts;  --resume continues
#   --set schedule.steps=500                     changes one value
# Every value below is the default: a line can be left out.

[data]
fasta = {fasta}
window = 2048             # bases of a window
windows = 8               # windows a step, all processes together
reverse_complement = true # half of the windows from the other strand
soft_mask = "keep"        # or "n": lower-case letters are not learned from
gaps = "error"            # or "n": '-' and '.' are read as N
cache = ""                # folder for encoded genomes; "": ~/.cache/genomeconv
workers = 1               # threads that prepare batches ahead

[split]
by = "fractions"          # or "regions", or "bed"
train = []                # regions such as "chr20:1-1,000,000", or BED files;
valid = []                #   train = [] takes all that valid and test leave
test = []
valid_fraction = 0.05     # of the blocks, with by = "fractions"
test_fraction = 0.05
block = 0                 # bases of a block; 0: a fiftieth of the genome
gap = 1024                # bases left out between two splits
seed = 0

[model]
width = 128               # channels
layers = 3                # blocks
{model}
short_taps = 3            # taps of the short filter before the gates
expand = 4                # hidden width of the MLP, in widths
token_ids = [0, 1, 2, 3, 4]  # rows of A C G T N
unknown_id = 4            # row of a letter without a row of its own
norm_eps = 1e-5
{next_head}

[objective]
kind = "{kind}"
annotation = "{annotation}"  # GTF, GFF3 or BED file (labels)
share = 0.15              # of the bases that are hidden (mask)
mask_id = 5               # row of a hidden base (mask)

[optimiser]
kind = "muon"             # for the dense matrices; or "adamw"
lr = 0.003                # AdamW
filter_lr = 0.006         # AdamW, long filters
matrix_lr = 0.02          # Muon
momentum = 0.95           # Muon
beta1 = 0.9               # AdamW
beta2 = 0.98
weight_decay = 0.1        # dense matrices only
clip = 1.0                # largest norm of the gradient
accumulate = 1            # parts of a step: less memory, same result
ema = 0.0                 # decay of the mean of the weights; 0: none
nonfinite_limit = 5       # steps in a row without a finite loss, then stop

[schedule]
steps = 0                 # 0: two passes over the text, 200 to 5,000 steps
warmup = 0.01             # share of the steps in which the rates rise
final_lr = 0.05           # last rates, as a share of the highest
first_window = 0          # first windows, doubled up to data.window; 0: none
growth = 0.3              # share of the steps in which windows grow
seed = 0

[checkpoint]
every = 200               # steps; each checkpoint is validated first
keep = 2                  # newest ones kept, and the best
best = true               # the model is the best checkpoint, not the last
valid_windows = 64        # windows of the validation text
log_every = 10            # steps to a line of metrics.jsonl

[compute]
device = "auto"           # cpu, cuda, cuda:I
threads = 0               # 0: as torch chooses
precision = "float32"     # or "bfloat16" for the products
recompute = false         # less memory for long windows, a third more time
compile = false           # torch.compile; on a CPU needs a C++ compiler
timeout = 300.0           # seconds until a silent process ends the run

[card]
name = ""                 # letters, digits, '.', '_', '-'; "": as the run folder
description = ""          # one sentence
licence = ""              # of the weights and the data
"""


def template(kind: Kind, fasta: str = "genome.fa") -> str:
    """Return the commented TOML for an objective and a FASTA file."""
    return _TEMPLATE.format(
        head=_HEAD[kind],
        kind=kind,
        model=_MODEL[kind],
        next_head=_NEXT_HEAD[kind == "labels"],
        annotation="genes.gtf" if kind == "labels" else "",
        fasta=json.dumps([fasta], ensure_ascii=False),
    )
