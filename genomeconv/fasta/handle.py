"""pyfaidx, opened in a way that it neither makes, guesses nor rereads an index."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyfaidx

from genomeconv.errors import CannotCreateError
from genomeconv.fasta.faidx import Entry
from genomeconv.fasta.randomly import BgzipBytes, RandomBytes


def open_handle(
    path: Path, entries: list[Entry], content: RandomBytes
) -> pyfaidx.Faidx:
    """Open a file in pyfaidx with an index of ours, records named "0", "1" and so on.

    pyfaidx wants its index beside the file and tells bgzip by the suffix. So it gets a
    folder of its own, gone again once the file is open.
    """
    packed = isinstance(content, BgzipBytes)
    try:
        with tempfile.TemporaryDirectory(prefix="genomeconv-") as folder:
            link = Path(folder, "genome.fa.gz" if packed else "genome.fa")
            link.symlink_to(path.absolute())
            index, blocks = Path(f"{link}.fai"), Path(f"{link}.gzi")
            index.write_text(
                "".join(
                    "\t".join(map(str, (i, *entry))) + "\n"
                    for i, entry in enumerate(entries)
                )
            )
            blocks.write_bytes(bytes(8))  # no entries: pyfaidx gets our table below
            newer = max(index.stat().st_mtime_ns, path.stat().st_mtime_ns)
            for made in (index, blocks):
                os.utime(made, ns=(newer, newer))
            handle = pyfaidx.Faidx(
                str(link), as_raw=True, strict_bounds=True, rebuild=False
            )
    except OSError as error:
        raise CannotCreateError(
            f"{tempfile.gettempdir()}: no room for a temporary index: {error.strerror}"
        ) from None
    if isinstance(content, BgzipBytes):
        handle.gzi_index = [
            _Block(*pair)
            for pair in zip(content.packed_starts, content.starts, strict=True)
        ]
    return handle


class _Block:
    """A bgzip block in the table of pyfaidx, which bisects it by content offset.

    pyfaidx takes the block left of where ``bisect_left`` points. That is the block
    before the right one if an offset is the first of its block, and fails if that
    block holds 65,536 bytes; counting an equal offset as smaller gives the right one.
    """

    __slots__ = ("cstart", "ustart")

    def __init__(self, cstart: int, ustart: int) -> None:
        self.cstart, self.ustart = cstart, ustart

    def __lt__(self, offset: int) -> bool:
        return self.ustart <= offset
