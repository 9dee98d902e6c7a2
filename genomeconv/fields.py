"""Values of a stranger's file against the fields of a frozen dataclass.

One form of message for every configuration: where, what was wanted, what came.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from genomeconv.errors import ModelError

_SHOWN = 60
"""Letters of a faulty value that a message repeats."""


def require(ok: bool, field: str, wanted: str, got: object) -> None:
    """Raise ModelError, naming the field, where ``ok`` is false."""
    if not ok:
        raise ModelError(f"config: {field} must be {wanted}, got {shown_value(got)}")


def shown_value(value: object) -> str:
    """Write a value that a stranger's file gave, briefly."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # too many digits, too many brackets
        text = "a huge value"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def checked_keys(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return ``values`` when its keys and scalar types are those of ``cls``.

    Lists of names become tuples.

    Raises
    ------
    ModelError
        For an unknown key, a missing key or a wrong type.
    """
    if not isinstance(values, Mapping):
        raise ModelError(f"{where}: an object was wanted, got {shown_value(values)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in fields:
            known = ", ".join(fields)
            raise ModelError(
                f"{where}: unknown key {shown_value(key)} (known: {known})"
            )
        _check_type(f"{where}.{key}", hints[key], value)
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING:
            raise ModelError(f"{where}: {name} is missing")
    return {
        key: tuple(value) if hints[key] in _LISTS else value
        for key, value in values.items()
    }


_LISTS = {tuple[str, ...]: str, tuple[int, ...]: int, tuple[float, ...]: float}
_ITEMS = {str: "texts", int: "whole numbers", float: "numbers"}


def _check_type(name: str, hint: Any, value: object) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if hint is int:
        ok, wanted = whole, "a whole number"
    elif hint is float:
        ok, wanted = whole or isinstance(value, float), "a finite number"
        ok = ok and abs(cast(float, value)) <= sys.float_info.max
    elif hint is bool:
        ok, wanted = isinstance(value, bool), "true or false"
    elif hint is str:
        ok, wanted = isinstance(value, str), "text"
    elif get_origin(hint) is Literal:
        ok, wanted = value in get_args(hint), "one of " + ", ".join(get_args(hint))
    elif hint in _LISTS:
        kind = _LISTS[hint]
        kinds = (int, float) if kind is float else (kind,)
        ok = isinstance(value, list | tuple) and all(type(v) in kinds for v in value)
        wanted = f"a list of {_ITEMS[kind]}"
    else:
        return
    if not ok:
        raise ModelError(f"{name} must be {wanted}, got {shown_value(value)}")
