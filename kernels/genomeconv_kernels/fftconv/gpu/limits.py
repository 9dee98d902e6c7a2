"""What a plan may use of a device, and which band is taken for how many taps.

Both are plain values: a plan is made, printed and tested without a GPU.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

Operand = Literal["float16", "float32"]
Precision = Literal["ieee", "tf32x3", "tf32"]
Method = Literal["short", "toeplitz", "overlap_save", "partitioned", "long"]
METHODS: tuple[Method, ...] = (
    "short",
    "toeplitz",
    "overlap_save",
    "partitioned",
    "long",
)
"""The bands, from few taps to many."""

TABLE = Path(__file__).with_name("crossovers.json")
VARIABLE = "GENOMECONV_CROSSOVERS"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use of a device.

    Attributes
    ----------
    target
        Compute capability as "sm_90", or AMD architecture as "gfx942".
    shared
        Bytes of shared memory a block may take.
    tensor_cores
        Whether products of float16 run on matrix units.
    """

    target: str
    shared: int
    tensor_cores: bool = True

    @property
    def amd(self) -> bool:
        """Whether it is an AMD device."""
        return self.target.startswith("gfx")

    @classmethod
    @functools.cache
    def of(cls, device: torch.device) -> Limits:
        """Read the limits off a device; where there is none, take Hopper's.

        The interpreter runs on a CPU, and launches are recorded on "meta".
        """
        if device.type != "cuda":
            return DATA_CENTRE
        found = torch.cuda.get_device_properties(device)
        if torch.version.hip is not None:
            target = found.gcnArchName.split(":")[0]
        else:
            target = f"sm_{found.major}{found.minor}"
        shared = getattr(found, "shared_memory_per_block_optin", None)
        return cls(
            target=target,
            shared=shared or found.shared_memory_per_block,
            tensor_cores=torch.version.hip is not None or found.major >= 7,
        )


DATA_CENTRE = Limits(target="sm_90", shared=227 << 10)
CONSUMER = Limits(target="sm_89", shared=99 << 10)
AMD = Limits(target="gfx942", shared=64 << 10)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Most taps each band is taken for; beyond the last of them, "long".

    Attributes
    ----------
    short, toeplitz, overlap_save, partitioned
        Taps, each at least that of the band before: an equal one is never taken.
    """

    short: int
    toeplitz: int
    overlap_save: int
    partitioned: int

    def __post_init__(self) -> None:
        """Refuse reaches that are no whole numbers or go down."""
        reaches = list(asdict(self).values())
        whole = all(type(n) is int and n >= 0 for n in reaches)
        if not whole or reaches != sorted(reaches):
            raise ValueError(
                "cross-overs must be whole numbers of taps that do not go down from "
                f"band to band, got {reaches}"
            )

    def band(self, taps: int) -> Method:
        """Return the band for so many taps."""
        reaches = asdict(self).items()
        return next((name for name, most in reaches if taps <= most), "long")  # type: ignore[misc]


@dataclass(frozen=True, kw_only=True)
class CrossOvers:
    """Where one band takes over from another, by the type of the products' operands.

    Attributes
    ----------
    source
        Where the numbers come from: a prediction, or a measurement and its device.
    float16, float32
        One reach each.
    """

    source: str
    float16: Reach
    float32: Reach

    def reach(self, operand: Operand) -> Reach:
        """Return the reach for a type of operands."""
        return self.float16 if operand == "float16" else self.float32

    @classmethod
    def read(cls, path: Path) -> CrossOvers:
        """Read a table as `write` leaves it.

        Raises
        ------
        ValueError
            It is no such table; the message names the file.
        """
        try:
            table: dict[str, Any] = json.loads(path.read_text())
            return cls(
                source=str(table["source"]),
                float16=Reach(**table["float16"]),
                float32=Reach(**table["float32"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: not a table of cross-overs ({error}); "
                "`make bench-gpu` writes one"
            ) from error

    def write(self, path: Path) -> None:
        """Write the table as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


@functools.cache
def crossovers_in_force() -> CrossOvers:
    """Return the table in force, read once.

    It is the file that ships beside this module, or the one the environment variable
    GENOMECONV_CROSSOVERS names: what `make bench-gpu` measured on this machine.
    """
    return CrossOvers.read(Path(os.environ.get(VARIABLE) or TABLE))
