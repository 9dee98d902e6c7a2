"""Settings as text: a TOML file, and `a.b=c` of the command line over it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genomeconv.errors import (
    InputMissingError,
    ModelError,
    PermissionDeniedError,
    UsageError,
)
from genomeconv.inputs import shown


def read_toml(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises
    ------
    InputMissingError, PermissionDeniedError
        It cannot be read.
    ModelError
        It is not TOML; the message has line and column.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputMissingError(
            f"{path}: no such file; `genomeconv train --init lm > {path}` makes one"
        ) from None
    except PermissionError:
        raise PermissionDeniedError(f"{path}: no permission to read it") from None
    except OSError as error:
        raise InputMissingError(f"{path}: cannot be read: {error.strerror}") from None
    # TOMLDecodeError and UnicodeDecodeError are ValueErrors; brackets can be too deep.
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not TOML: {error}") from None


def apply(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return ``values`` with each setting put in; lists are addressed by number.

    What follows the sign is read as TOML; what is not TOML is taken as text, so that
    words need no quotation marks.

    Raises
    ------
    UsageError
        A setting is not of the form ``section.key=value``, or leads nowhere.
    """
    out: dict[str, Any] = _copy(values)
    for setting in settings:
        path, sign, text = setting.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not sign or len(keys) < 2 or not all(keys):
            raise UsageError(
                f"--set {shown(setting)}: write section.key=value, as "
                "schedule.steps=500"
            )
        _put(out, keys, _value(text.strip()), setting)
    return out


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _put(out: Any, keys: Sequence[str], value: Any, setting: str) -> None:
    *path, last = keys
    for key in path:
        if isinstance(out, dict):
            out = out.setdefault(key, {})
        else:
            out = out[_index(out, key, setting)]
    if isinstance(out, dict):
        out[last] = value
    else:
        out[_index(out, last, setting)] = value


def _index(out: Any, key: str, setting: str) -> int:
    """Return the number of an entry of a list that is there."""
    if isinstance(out, list) and key in map(str, range(len(out))):
        return int(key)
    raise UsageError(f"--set {shown(setting)}: there is no {shown(key)} to be set")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):
        return text
