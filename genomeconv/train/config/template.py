"""The commented config that `genomeconv train --init` prints; it runs as written."""

from __future__ import annotations

import json
from typing import Literal

Kind = Literal["lm", "mask", "labels", "classes", "tracks"]

_HEAD = {
    "lm": "A causal model that predicts the next base.",
    "mask": "A two-sided model that predicts hidden bases from both sides.",
    "labels": "A two-sided model that labels bases: donor, acceptor, CDS, UTR, ...",
    "classes": "A model of the class of a sequence, or of a region of a genome.",
    "tracks": "A two-sided model of tracks along a genome, in bins.",
}
_ROWS = "rows of the embedding table: A C G T N"
_MODEL = {
    "lm": f"""\
vocabulary = 5            # {_ROWS}
filters = [{{family = "sgconv", taps = 1024}}]  # repeated over the blocks""",
    "mask": f"""\
vocabulary = 6            # {_ROWS} and "hidden"
filters = [{{family = "sgconv", taps = 1025, right = 512}}]  # 512 look right""",
    "labels": f"""\
vocabulary = 5            # {_ROWS}
filters = [{{family = "squash", taps = 65, right = 32}},  # free taps: codons have a
           {{family = "squash", taps = 769, right = 384}},  # period of three
           {{family = "squash", taps = 257, right = 128}}]
outputs = []              # []: donor, acceptor, CDS, UTR, intron and intergenic of
                          #   either strand""",
    "tracks": f"""\
vocabulary = 5            # {_ROWS}
filters = [{{family = "sgconv", taps = 1025, right = 512}}]  # 512 look right
outputs = []              # names of the tracks; []: as the files""",
}
_HEADS = {
    True: 'head = "tied"             # next base; or "free": its own weights',
    False: 'head = "none"             # no next base; "tied" keeps one',
}
_SHAPE = """\
start = ""                # weights to begin from: a model, its folder, or a run; with
                          #   one, leave the lines of the shape out
freeze = false            # true: only head and outputs learn (probe)
width = 128               # channels
layers = 3                # blocks
{model}
short_taps = 3            # taps of the short filter before the gates
expand = 4                # hidden width of the MLP, in widths
token_ids = [0, 1, 2, 3, 4]  # rows of A C G T N
unknown_id = 4            # row of a letter without a row of its own
norm_eps = 1e-5
{head}"""
_STARTED = """\
start = "human"           # weights to begin from: a model, its folder, or a run; "":
                          #   none, and a shape as `--init lm` prints it
freeze = false            # true: only the outputs learn (probe)
outputs = []              # names of the classes in order; []: as the file has them"""
_OBJECTIVE = {
    "lm": "",
    "mask": "",
    "labels": """
annotation = "genes.gtf"  # GTF, GFF3 or BED file
emphasis = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]  # factors of the losses of donor, acceptor,
                          #   CDS, UTR, intron and intergenic
average = false           # true: judge the mean of the readings of both strands""",
    "classes": """
annotation = {annotation}
column = "name"           # of a BED file the class: column 4, or "score", column 5
pooling = "mean"          # of the vectors of all bases; or "last": the last base's
balance = true            # rare classes weigh more""",
    "tracks": """
tracks = ["track.bw"]     # BigWig files
bin = 128                 # bases of a bin, from the first base of a sequence on
loss = "poisson"          # or "multinomial": shape and sum of a window apart
missing = "skip"          # bases without a value; or "zero": they count as 0""",
}
_BASES = """
share = 0.15              # of the bases that are hidden (mask)
mask_id = 5               # row of a hidden base (mask)"""
_WINDOWS = """\
window = 2048             # bases of a window
windows = 8               # windows a step, all processes together
reverse_complement = true # half of the windows from the other strand{focus}"""
_FOCUS = """
focus = 0.0               # share of the windows drawn around edges of exons"""
_SEQUENCES = """\
window = 2048             # most bases of a sequence
windows = 64              # sequences a step, all processes together
reverse_complement = true # half of them from the other strand; or false"""
_TEMPLATE = """\
# {title}
#   genomeconv train genomeconv.toml -o RUN      starts;  --resume continues
#   --set schedule.steps=500                     changes one value
# {defaults}

[data]
{fasta}
{windows}
soft_mask = "keep"        # or "n": lower-case letters are not learned from
gaps = "error"            # or "n": '-' and '.' are read as N
cache = ""                # folder for encoded genomes; "": ~/.cache/genomeconv
workers = 1               # threads that prepare batches ahead

[split]
by = "fractions"          # or "regions", or "bed"{files}
train = []                # regions such as "chr20:1-1,000,000", or BED files;
valid = []                #   train = [] takes all that valid and test leave
test = []
valid_fraction = 0.05     # of the {parts}, with by = "fractions"
test_fraction = 0.05
block = 0                 # bases of a block; 0: a fiftieth of the genome
gap = 1024                # bases left out between two splits
seed = 0

[model]
{model}

[objective]
kind = "{kind}"{objective}

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
{valid}
log_every = 10            # steps to a line of metrics.jsonl
tensorboard = false       # the same numbers for TensorBoard, in tensorboard/

[compute]
device = "auto"           # cpu, cuda, cuda:I
threads = 0               # 0: as torch chooses
precision = "float32"     # or "bfloat16" for the products
recompute = false         # less memory for long windows, a third more time
compile = false           # torch.compile; on a CPU needs a C++ compiler
shard = false             # torchrun: each process keeps its share of the weights
context = 1               # torchrun: processes that share a sequence
timeout = 300.0           # seconds until a silent process ends the run

[card]
name = ""                 # letters, digits, '.', '_', '-'; "": as the run folder
description = ""          # one sentence
licence = ""              # of the weights and the data
"""


def template(kind: Kind, fasta: str = "") -> str:
    """Return the commented TOML for an objective and a FASTA file.

    Classes without a FASTA file are those of a CSV file.
    """
    classes, bases = kind == "classes", kind in ("lm", "mask")
    return _TEMPLATE.format(
        title=_HEAD[kind],
        defaults="Every value below is the default: a line can be left out."
        if bases
        else "A config to begin with; any value can be changed.",
        fasta=_fasta(fasta, csv=classes and not fasta),
        windows=_SEQUENCES
        if classes
        else _WINDOWS.format(focus=_FOCUS if kind == "labels" else ""),
        files=', or "files" (valid, test)' if classes else "",
        parts="sequences" if classes else "blocks",
        model=_STARTED
        if classes
        else _SHAPE.format(model=_MODEL[kind], head=_HEADS[bases]),
        kind=kind,
        objective=_objective(kind, csv=not fasta) + (_BASES if bases else ""),
        valid="valid_windows = 2048      # sequences of the validation set"
        if classes
        else "valid_windows = 64        # windows of the validation text",
    )


def _fasta(fasta: str, *, csv: bool) -> str:
    if csv:
        return "fasta = []                # none: the sequences are in the CSV file"
    return f"fasta = {json.dumps([fasta or 'genome.fa'], ensure_ascii=False)}"


def _objective(kind: Kind, *, csv: bool) -> str:
    file = (
        '"train.csv"  # CSV file with the columns sequence and label'
        if csv
        else '"regions.bed"  # BED file; the other strand is read where "-"'
    )
    return _OBJECTIVE[kind].format(annotation=file)
