"""The shell around the commands: help, exit codes, signals, streams."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time

import click
import pytest

from genomeconv import __version__, errors
from genomeconv_cli import main
from genomeconv_cli.console import escape
from genomeconv_cli.faults import DEBUG_VARIABLE, exit_code, report
from genomeconv_cli.signals import Terminated

HELP_PAGES = [["--help"], ["-h"], ["--version"]] + [
    [name, "--help"] for name in main.COMMANDS
]

# A program around the real shell whose command `wait` announces itself and sleeps,
# and closes something on the way out.
WAITING = """
import sys, time, types, click
from genomeconv_cli import main

@click.command()
def wait():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("closed", flush=True)
        time.sleep(float(sys.argv[1]))

sys.modules["waiting"] = types.SimpleNamespace(command=wait)
main.COMMANDS = {"wait": "waiting"}
sys.exit(main.run(["wait"]))
"""


def start(*command: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def failing(monkeypatch, genomeconv):
    """Run a command that raises the error it is given."""

    def call(error: BaseException):
        @click.command()
        def command():
            raise error

        module = type(sys)("failing")
        module.command = command
        monkeypatch.setitem(sys.modules, "failing", module)
        monkeypatch.setattr(main, "COMMANDS", {"fail": "failing"})
        return genomeconv("fail")

    return call


def test_help_pages_do_not_import_torch():
    script = (
        "import sys; from genomeconv_cli.main import run\n"
        f"codes = [run(page) for page in {HELP_PAGES!r}]\n"
        "heavy = {'torch', 'h5py', 'numpy', 'rich', 'pyfaidx'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy or any(codes) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"genomeconv {__version__}\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_help_page_has_an_example(genomeconv, name):
    page = [name, "hyenadna", "--help"] if name == "import" else [name, "--help"]
    outcome = genomeconv(*page)
    assert outcome.code == 0
    assert f"genomeconv {name}" in outcome.out.split("Example", 1)[1]


def test_a_bare_call_shows_the_help_page_and_is_a_usage_error(genomeconv):
    outcome = genomeconv()
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: genomeconv [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["embd"], "no command 'embd'; there is: embed (see genomeconv --help)"),
        (["embed"], "Missing argument 'FASTA'. (see genomeconv embed --help)"),
    ],
)
def test_usage_errors_are_one_line(genomeconv, args, line):
    outcome = genomeconv(*args)
    assert outcome.code == 2
    assert outcome.err == f"genomeconv: error: {line}\n"


def test_an_unknown_command_unlike_all_others_lists_them(genomeconv):
    outcome = genomeconv("xyzzy")
    assert ", ".join(main.COMMANDS) in outcome.err


def test_an_unknown_option_is_named(genomeconv):
    outcome = genomeconv("embed", "x.fa", "--nope")
    assert outcome.code == 2
    assert re.fullmatch("genomeconv: error: .*--nope.*\n", outcome.err)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.DataError("x.fa: line 3: 'é'"), 65, "error: x.fa: line 3: 'é'"),
        (errors.LockedError("held"), 75, "error: held"),
        (OSError(errno.ENOENT, "No such file", "x"), 66, "error: x: No such file"),
        (OSError(errno.EISDIR, "Is a directory", "x"), 66, "error: x: Is a directory"),
        (OSError(errno.EACCES, "Denied", "x"), 77, "error: x: Denied"),
        (OSError(errno.EROFS, "Read-only", "x"), 77, "error: x: Read-only"),
        (OSError(errno.ENOSPC, "No space left"), 74, "error: No space left"),
        (OSError(errno.EIO, "Input/output error"), 74, "error: Input/output error"),
        (OSError("no number"), 74, "error: no number"),
        (MemoryError(), 70, "error: out of memory; --dry-run says what a run takes"),
        (KeyboardInterrupt(), 130, "stopped by SIGINT"),
        (Terminated(), 143, "stopped by SIGTERM"),
        (click.Abort(), 130, "stopped by SIGINT"),
        (
            ZeroDivisionError("a\nb"),
            70,
            "error: internal: ZeroDivisionError: a (set GENOMECONV_DEBUG=1 to see the "
            "traceback, and please report it)",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)  # fmt: skip
def test_errors_become_one_line_and_a_code(failing, error, code, line):
    outcome = failing(error)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err == f"genomeconv: {line}\n"


@pytest.mark.parametrize(
    "error",
    [kind for kind in vars(errors).values() if isinstance(kind, type)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_of_the_library_ends_with_its_own_code(error):
    assert exit_code(error("text")) == error.exit_code


def test_a_stop_carries_what_the_command_has_to_add(failing):
    stop = KeyboardInterrupt()
    stop.add_note("the same command continues")
    assert failing(stop).err == (
        "genomeconv: stopped by SIGINT; the same command continues\n"
    )


def test_debug_shows_the_traceback_and_keeps_the_code(failing, monkeypatch):
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    outcome = failing(errors.DataError("bad"))
    assert outcome.code == 65
    assert outcome.err.startswith("Traceback (most recent call last)")
    assert outcome.err.endswith("genomeconv: error: bad\n")


def test_the_debug_option_is_the_debug_variable(genomeconv, monkeypatch):
    monkeypatch.setenv(DEBUG_VARIABLE, "")
    genomeconv("--debug", "nothing")
    assert os.environ[DEBUG_VARIABLE] == "1"


def test_control_characters_never_reach_the_terminal(failing):
    outcome = failing(errors.DataError("record '\x1b[2J\n\u202e\udc80' [bold]"))
    assert outcome.err == (
        "genomeconv: error: record '\\x1b[2J\\n\\u202e\\udc80' [bold]\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("chr1 é e\u0301 HLA/A*01:01", "chr1 é e\u0301 HLA/A*01:01"),
        ("a\tb\r\x00\x7f\x9b", r"a\tb\r\x00\x7f\x9b"),
    ],
)
def test_escape_keeps_what_is_printable(text, shown):
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_closes_what_is_open_and_ends_with_its_code(number, code):
    with start("-c", WAITING, "0") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "closed\n")
    assert err == f"genomeconv: stopped by {signal.Signals(number).name}\n"


def test_a_second_signal_ends_at_once():
    with start("-c", WAITING, "60") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "closed\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT


def test_an_ignored_signal_stays_ignored():
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with start("-c", WAITING, "0", preexec_fn=ignore) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143


def test_handlers_are_put_back(genomeconv):
    before = signal.getsignal(signal.SIGTERM)
    genomeconv("--version")
    assert signal.getsignal(signal.SIGTERM) is before


def shell(script: str, *, stdout: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "genomeconv_cli.main", *script.split()],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_reader_that_leaves_is_no_error_message():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = shell("--help", stdout=gone)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_stdout_is_an_error():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = shell("--help", stdout=full)
    assert done.returncode == 74
    assert "genomeconv: error: No space left on device\n" in done.stderr


def test_reporting_survives_a_closed_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert report(errors.DataError("x")) == 65
