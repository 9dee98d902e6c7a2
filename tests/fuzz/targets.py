"""The targets by name: each takes bytes, and raises where a promise is broken."""

from __future__ import annotations

import fuzz_fasta
import fuzz_models
import fuzz_regions

TARGETS = {
    "bed": fuzz_regions.check_bed,
    "config": fuzz_models.check_config,
    "fasta": fuzz_fasta.check,
    "region": fuzz_regions.check_region,
    "safetensors": fuzz_models.check_safetensors,
}
