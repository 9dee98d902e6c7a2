"""The command `genomeconv`: finds the subcommand, runs it, ends with its exit code."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NoReturn

import click

from genomeconv import __version__
from genomeconv.errors import DeviceError
from genomeconv_cli.console import escape
from genomeconv_cli.faults import DEBUG_VARIABLE, report
from genomeconv_cli.signals import clean_stop

PROGRAM = "genomeconv"

# Name of a command -> module that holds it, under the name `command`.
COMMANDS: Mapping[str, str] = {
    "embed": "genomeconv_cli.embed",
    "train": "genomeconv_cli.train",
    "evaluate": "genomeconv_cli.evaluate",
    "info": "genomeconv_cli.info",
    "verify": "genomeconv_cli.verify",
    "models": "genomeconv_cli.models",
    "import": "genomeconv_cli.import_",
    "doctor": "genomeconv_cli.doctor",
    "bench": "genomeconv_cli.bench",
}


AT_ONCE = {
    DeviceError.exit_code,
    *(128 + number for number in (signal.SIGINT, signal.SIGTERM)),
}
"""Exit codes behind which the interpreter is not taken down piece by piece: a lost GPU
can hang that, and who stops a run does not want to wait for it."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None where there is none so called."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with the nearest names."""
        if args[0] in COMMANDS or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        near = get_close_matches(args[0], COMMANDS, n=2) or list(COMMANDS)
        ctx.fail(f"no command {args[0]!r}; there is: {', '.join(near)}")


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        os.environ[DEBUG_VARIABLE] = "1"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`genomeconv COMMAND --help` shows the options of a command, with examples.",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_debug,
    help=f"Show the traceback of an error (as does {DEBUG_VARIABLE}=1).",
)
def cli() -> None:
    """Embeddings for DNA of any length, on the machine you have.

    \b
    Example:
      genomeconv embed genome.fa
    """  # noqa: D301 (\b is click's mark for text that keeps its lines)


def _invoke(args: Sequence[str]) -> int:
    """Run one command line.  Its exit code, or whatever it raises."""
    try:
        with cli.make_context(PROGRAM, list(args)) as context:
            context.obj = escape(shlex.join([PROGRAM, *args]))
            cli.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return 0


def run(args: Sequence[str]) -> int:
    """Run one command line and report what went wrong.

    Parameters
    ----------
    args
        The words after the name of the program.

    Returns
    -------
    int
        The exit code: 0, or that of the error reported on stderr.
    """
    try:
        with clean_stop():
            code = _invoke(args)
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a full disk is still reported
    except BaseException as error:
        return report(error)
    return code


def hold_standard_streams() -> None:
    """Put /dev/null where standard input, output or error is closed.

    Else the next file opened, perhaps the output, would get its number, and every
    library that writes there would write into the file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def main() -> NoReturn:
    """Run the words of the command line (the console script)."""
    hold_standard_streams()
    # Threads that wait for work look for it a few microseconds before they sleep. At
    # GNU OpenMP's own setting a busy machine runs ten times slower than it could.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        completion: dict[str, Any] = {"prog_name": PROGRAM}
        cli.main(**completion)
    code = run(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the work is over, the code stands
    if code in AT_ONCE:
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
