"""What a user chose to do with input that is doubtful rather than wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True, kw_only=True)
class ReadPolicy:
    """Choices about a FASTA file; the defaults refuse what could mislead.

    Attributes
    ----------
    empty : "error" or "skip"
        What becomes of a record without a single base.
    gaps : "error", "n" or "remove"
        How the gap signs '-' and '.' are read: refused, as the unknown base, or not
        at all, which moves every base behind them.
    soft_mask : "keep" or "n"
        How lower-case letters are read: as the bases they are, or as the unknown base.
    duplicates : "error" or "number"
        What becomes of a name that was used before: refused, or ``_2``, ``_3`` and so
        on put behind it.
    names : "strict" or "replace"
        What becomes of bytes in a name that are not UTF-8: refused, or U+FFFD.
    max_length : int or None
        The most bases a record may have.
    allow_truncated : bool
        Whether bgzip data may lack their end-of-file block.
    """

    empty: Literal["error", "skip"] = "error"
    gaps: Literal["error", "n", "remove"] = "error"
    soft_mask: Literal["keep", "n"] = "keep"
    duplicates: Literal["error", "number"] = "error"
    names: Literal["strict", "replace"] = "strict"
    max_length: int | None = None
    allow_truncated: bool = False

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value, allowed = getattr(self, name), get_args(kind)
            if get_origin(kind) is Literal and value not in allowed:
                wanted = " or ".join(map(repr, allowed))
                raise ValueError(f"{name} must be {wanted}, not {value!r}")

    @property
    def whole_files_only(self) -> list[str]:
        """Options in use that change what an index counts or calls records."""
        chosen = {
            "--empty skip": self.empty == "skip",
            "--gaps remove": self.gaps == "remove",
            "--duplicates number": self.duplicates == "number",
            "--names replace": self.names == "replace",
        }
        return [option for option, used in chosen.items() if used]
