"""Header lines: names that are kept byte for byte, and what is refused in them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import accumulate
from typing import NoReturn

from genomeconv.errors import DataError
from genomeconv.fasta.blocks import Warn
from genomeconv.fasta.policy import ReadPolicy
from genomeconv.inputs import shown

_BLANKS = b" \t\v\f\r"


class Headers:
    """Names, descriptions and line numbers of the records met so far.

    Parameters
    ----------
    label : str
        Name of the input, for messages.
    warn : callable
        Gets a sentence, once each, where blanks stand between '>' and a name, and
        where names are changed.
    policy : ReadPolicy, optional
        What to do with names that are used before or not UTF-8.
    """

    def __init__(
        self, label: str, warn: Warn, policy: ReadPolicy | None = None
    ) -> None:
        self.names: list[str] = []
        self.descriptions: list[str] = []
        self.lines = array("q")
        self._label = label
        self._warn = warn
        self._policy = policy or ReadPolicy()
        self._seen: set[str] = set()
        self._copies: dict[str, int] = {}
        self._spaced = self._replaced = False

    def add(self, heads: list[bytes], first: int, steps: Iterable[int]) -> None:
        """Take in consecutive header lines, without '>' and line end.

        Parameters
        ----------
        heads : list of bytes
            At least one.
        first : int
            Line number of the first.
        steps : iterable of int
            How many lines each is below the one before, from the second on.

        Raises
        ------
        DataError
            A name is empty, has a NUL byte, or, where the policy does not take
            care of it, is used before or not UTF-8.
        """
        old = len(self.names)
        self.lines.extend(accumulate(steps, initial=first))
        words = [head.split(None, 1) for head in heads]
        if [] in words:
            line = self.lines[old + words.index([])]
            raise DataError(
                f"{self._label}:{line}: a '>' without a name; name the record"
            )
        names = self._decoded([word[0] for word in words], old)
        if self._policy.duplicates == "number":
            names = self._numbered(names, old)
        self.names += names
        self.descriptions += [
            word[1].decode("utf-8", "replace").strip() if len(word) > 1 else ""
            for word in words
        ]
        self._seen.update(names)
        if len(self._seen) != len(self.names):
            self._refuse_duplicate(old)
        if not self._spaced:
            self._look_for_blanks(heads, old)

    def _look_for_blanks(self, heads: list[bytes], old: int) -> None:
        spaced = next((i for i, head in enumerate(heads) if head[0] in _BLANKS), None)
        if spaced is not None:
            self._spaced = True
            self._warn(
                f"{self._label}:{self.lines[old + spaced]}: blanks between '>' and the "
                f"name {shown(self.names[old + spaced])}; ignored here and below"
            )

    def _decoded(self, names: list[bytes], old: int) -> list[str]:
        joined = b"\n".join(names)
        try:
            text = joined.decode()
        except UnicodeDecodeError as error:
            text = joined.decode(errors="replace")
            record = joined.count(b"\n", 0, error.start)
            byte = error.start - joined.rfind(b"\n", 0, error.start)
            what = (
                f"{self._label}:{self.lines[old + record]}: the name "
                f"{shown(names[record])} is not UTF-8 (its byte {byte} is "
                f"0x{joined[error.start]:02X})"
            )
            if self._policy.names == "strict":
                raise DataError(
                    f"{what}; re-encode the file, rename the record, or embed with "
                    "--names replace"
                ) from None
            if not self._replaced:
                self._replaced = True
                new = shown(text.split("\n")[record])
                self._warn(f"{what}; read as {new}, others below likewise")
        if "\0" in text:
            record = text.count("\n", 0, text.index("\0"))
            raise DataError(
                f"{self._label}:{self.lines[old + record]}: a NUL byte in the name "
                f"{shown(names[record])}; a damaged copy: copy the file again"
            )
        return text.split("\n")

    def _numbered(self, names: list[str], old: int) -> list[str]:
        """Put a number behind every name that was used before."""
        numbered = []
        for i, name in enumerate(names):
            new = name
            while new in self._seen:
                self._copies[name] = self._copies.get(name, 1) + 1
                new = f"{name}_{self._copies[name]}"
            if new != name and len(self._copies) == 1 and self._copies[name] == 2:
                self._warn(
                    f"{self._label}:{self.lines[old + i]}: the name {shown(name)} is "
                    f"used before; now {shown(new)}, others below likewise"
                )
            self._seen.add(new)
            numbered.append(new)
        return numbered

    def _refuse_duplicate(self, old: int) -> NoReturn:
        first: dict[str, int] = {}
        for i, name in enumerate(self.names):
            if i >= old and name in first:
                break
            first[name] = i
        raise DataError(
            f"{self._label}:{self.lines[i]}: the name {shown(name)} is used before, on "
            f"line {self.lines[first[name]]}; rename one of the two records, or embed "
            "with --duplicates number"
        )
