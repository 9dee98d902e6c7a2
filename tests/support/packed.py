"""Packed files that tests write."""

from __future__ import annotations

import io

from Bio import bgzf


def bgzipped(content: bytes) -> bytes:
    """Return content as bgzip packs it, its empty last block included."""
    packed = io.BytesIO()
    with bgzf.BgzfWriter(fileobj=packed) as file:
        file.write(content)
        file.flush()
        return packed.getvalue() + bgzf._bgzf_eof
