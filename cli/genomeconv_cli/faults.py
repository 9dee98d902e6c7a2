"""From an exception to one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress

import click

from genomeconv.errors import (
    GenomeconvError,
    InputMissingError,
    PermissionDeniedError,
    StorageError,
    UsageError,
)
from genomeconv_cli.console import say
from genomeconv_cli.signals import Interrupted, Terminated

DEBUG_VARIABLE = "GENOMECONV_DEBUG"

_ERRNO_CODES = {
    errno.ENOENT: InputMissingError.exit_code,
    errno.ENOTDIR: InputMissingError.exit_code,
    errno.EISDIR: InputMissingError.exit_code,
    errno.EACCES: PermissionDeniedError.exit_code,
    errno.EPERM: PermissionDeniedError.exit_code,
    errno.EROFS: PermissionDeniedError.exit_code,
}
_STOPS = {
    KeyboardInterrupt: signal.SIGINT,
    Interrupted: signal.SIGINT,
    Terminated: signal.SIGTERM,
}


def report(error: BaseException) -> int:
    """Say on stderr what went wrong, and return the exit code that goes with it."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    code = exit_code(error)
    for line in _lines(error):
        say(line)
    if isinstance(error, OSError):
        _settle_stdout()
    return code


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error (the table is in README.md)."""
    match error:
        case GenomeconvError():
            return error.exit_code
        case click.ClickException():
            return UsageError.exit_code
        case click.Abort():
            return 128 + signal.SIGINT
        case BrokenPipeError():
            return 128 + signal.SIGPIPE
        case OSError():
            return _ERRNO_CODES.get(error.errno or 0, StorageError.exit_code)
    if type(error) in _STOPS:
        return 128 + _STOPS[type(error)]
    return GenomeconvError.exit_code


def _lines(error: BaseException) -> Iterator[str]:
    """Lines for the user: one, or none where there is nothing to say."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            error.show()  # a bare `genomeconv` asks for the help page
        case click.ClickException():
            yield f"error: {error.format_message()}{_help_hint(error)}"
        case BrokenPipeError():
            return  # the reader of a pipe has left: nobody is there to be told
        case GenomeconvError():
            yield f"error: {error}"
        case OSError():
            yield f"error: {_os_message(error)}"
        case MemoryError():
            yield "error: out of memory; --dry-run says what a run takes"
        case KeyboardInterrupt() | Terminated() | click.Abort():
            notes = getattr(error, "__notes__", [])
            yield "; ".join([f"stopped by {_stop_name(error)}", *notes])
        case _:
            first = (str(error).splitlines() or [""])[0]
            yield (
                f"error: internal: {type(error).__name__}: {first} "
                f"(set {DEBUG_VARIABLE}=1 to see the traceback, and please report it)"
            )


def _stop_name(error: BaseException) -> str:
    return signal.Signals(_STOPS.get(type(error), signal.SIGINT)).name


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context else ""


def _os_message(error: OSError) -> str:
    """Put an operating-system error into our form: file, then what is wrong."""
    text = error.strerror or str(error)
    return f"{error.filename}: {text}" if error.filename else text


def _settle_stdout() -> None:
    """Point a broken stdout to nowhere: the interpreter's last flush would fail too.

    It would say so and make the exit code 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, AttributeError):
        return
