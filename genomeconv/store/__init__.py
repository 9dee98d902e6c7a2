"""Outputs: the only place that knows HDF5. The format is in `docs/format.md`."""

from genomeconv.store.plan import OutputPlan, Rows, RowSlice, predicted_bytes
from genomeconv.store.reader import Reader, describe
from genomeconv.store.scratch import RowScratch
from genomeconv.store.selection import Selection, SequenceEntry
from genomeconv.store.writer import OutputWriter, check_target

__all__ = [
    "OutputPlan",
    "OutputWriter",
    "Reader",
    "RowScratch",
    "RowSlice",
    "Rows",
    "Selection",
    "SequenceEntry",
    "check_target",
    "describe",
    "predicted_bytes",
]
