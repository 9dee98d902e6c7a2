"""Types of option values: functions from text, each saying what it accepts."""

from __future__ import annotations

import re

import click

_SIZE = re.compile(r"([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)([kKmM]?)")
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
_SUFFIXES = {"": 1, "k": 1_000, "m": 1_000_000}


def size(text: str) -> int:
    """Read a positive number of bases: 8192, 1,000, 64k or 1M, as in regions.

    Raises
    ------
    click.BadParameter
        If the text is no size, or the size is 0.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise click.BadParameter(
            f"{text!r} is not a size; write 8192, 1,000, 64k (64,000) or 1M (1,000,000)"
        )
    value = int(match[1].replace(",", "")) * _SUFFIXES[match[2].lower()]
    if not 1 <= value < 1 << 62:
        raise click.BadParameter(f"{text!r} is out of range; 1 is the smallest")
    return value


def device(text: str) -> str:
    """Check the form of a device name; whether it exists is for the library to say.

    Raises
    ------
    click.BadParameter
        If it is none of auto, cpu, cuda and cuda:I.
    """
    if not _DEVICE.fullmatch(text):
        raise click.BadParameter(
            f"{text!r} is not a device; write auto, cpu, cuda or cuda:0"
        )
    return text


def layer(text: str) -> str | int:
    """Read `last`, or the number of a layer.

    Raises
    ------
    click.BadParameter
        If it is neither.
    """
    if text == "last":
        return text
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise click.BadParameter(f"{text!r} is not a layer; write last or a number")
    return int(text)
