"""What an output says of its origin, and what must agree to continue it."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from genomeconv._version import __version__
from genomeconv.device import device_name
from genomeconv.fasta import Genome
from genomeconv.options import EmbedOptions
from genomeconv.rows import RowPlan
from genomeconv.store import OutputPlan
from genomeconv.stream import TrunkStream
from genomeconv.weights import LoadedModel


def output_plan(
    options: EmbedOptions,
    genome: Genome,
    rows: RowPlan,
    model: LoadedModel,
    engine: TrunkStream,
    device: torch.device,
    kernels: str,
) -> OutputPlan:
    """Say what the file will hold, and what decides whether it may be continued."""
    records = genome.records
    numbers: dict[str, Any] = {
        "rows": options.rows,
        "bin": options.bin if options.rows == "bin" else None,
        "regions": _digest(rows),
        "gaps": options.gaps,
        "soft_mask": options.soft_mask,
        "layer": options.layer,
        "precision": options.precision,
        "model": model.sha256,
        "device": device_name(device),
        "kernels": kernels,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "tile": engine.plan.tile,
    }
    provenance = {
        "command": options.command,
        "options": {
            "fasta": options.fasta,
            "regions": list(options.regions),
            "bed": None if options.bed is None else str(options.bed),
            "strand": options.strand,
            "chunk": options.chunk,
            "dtype": options.dtype,
            "compress": options.compress,
            **asdict(options.policy),
            **{k: numbers[k] for k in ("rows", "bin", "layer", "precision", "threads")},
        },
        "model": model.name,
        "model_sha256": model.sha256,
        "device": device_name(device),
        "kernels": kernels,
        "software": {
            "genomeconv": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **_gpu_software(device),
            "numpy": np.__version__,
            "platform": platform.platform(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
        "letters": {
            "n": genome.counts.n,
            "iupac_read_as_n": genome.counts.iupac,
            "u_read_as_t": genome.counts.u,
            "lower_case_read_as_n": genome.counts.masked,
            "gaps": genome.counts.gaps,
        },
        "engine": {
            "tile": engine.plan.tile,
            "rows_per_product": engine.plan.rows,
            "left_context": engine.context[0],
            "right_context": engine.context[1],
        },
    }
    strands = {"forward": "+", "reverse": "-", "both": "both"}
    return OutputPlan(
        rows=rows,
        columns=[f"dim{i}" for i in range(engine.width)],
        dtype=options.dtype,
        strand=strands[options.strand],
        sequences={
            "length": records.lengths,
            "md5": records.md5,
            "description": records.descriptions,
            "n_bases": records.called,
        },
        provenance=provenance,
        fingerprint={"input": records.fingerprint(), **numbers},
        scratch=options.strand == "both",
    )


def _digest(rows: RowPlan) -> str | None:
    """Return a digest of the regions; None for whole records."""
    if rows.whole:
        return None
    parts = (rows.record, rows.start, rows.stop)
    text = b"".join(part.tobytes() for part in parts)
    return hashlib.sha256(text + repr(rows.labels).encode()).hexdigest()


def _gpu_software(device: torch.device) -> dict[str, Any]:
    """Return the versions that matter on a GPU."""
    if device.type != "cuda":
        return {}
    return {
        "triton": version("triton") if find_spec("triton") else None,
        "cuda": torch.version.cuda or torch.version.hip,
    }
