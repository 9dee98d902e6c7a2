"""Progress: log lines, the bar, silence."""

from __future__ import annotations

import sys

import pytest

from genomeconv_cli.progress import (
    BarProgress,
    LogProgress,
    Progress,
    choose_progress,
)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run(clock, *, total, piece, seconds, done=0):
    with LogProgress(clock) as progress:
        progress.start(total, "embed")
        progress.advance(done)
        for _ in range((total - done) // piece):
            clock.now += seconds
            progress.advance(piece)


def test_a_line_at_each_step_of_five_percent(clock, capsys):
    run(clock, total=1000, piece=10, seconds=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 20
    assert lines[0] == (
        "genomeconv: embed: 50 of 1,000 bases (5 %), 20 bases/s, 48 s left"
    )
    assert "(100 %)" in lines[-1]


def test_a_line_every_thirty_seconds_of_a_long_run(clock, capsys):
    run(clock, total=1_200_000, piece=1000, seconds=10)
    assert len(capsys.readouterr().err.splitlines()) == 12_000 // 30


def test_at_most_a_line_a_second(clock, capsys):
    run(clock, total=100, piece=1, seconds=0.03)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_bases_of_an_earlier_run_count_as_done_but_not_as_speed(clock, capsys):
    run(clock, total=1000, piece=10, seconds=1, done=900)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "genomeconv: embed: 910 of 1,000 bases (91 %), 10 bases/s, 9 s left"


def test_an_empty_job_says_nothing(clock, capsys):
    run(clock, total=0, piece=1, seconds=1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", [Progress, BarProgress, LogProgress])
def test_calls_outside_a_job_do_nothing(kind, capsys):
    with kind() as progress:
        progress.advance(10)
        progress.finish()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("quiet", "terminal", "term", "kind"),
    [
        (False, True, "xterm", BarProgress),
        (False, True, "dumb", LogProgress),
        (False, True, None, LogProgress),
        (False, False, "xterm", LogProgress),
        (True, True, "xterm", Progress),
    ],
)
def test_the_display_suits_stderr(monkeypatch, quiet, terminal, term, kind):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    assert type(choose_progress(quiet=quiet)) is kind


@pytest.mark.parametrize("colour", [True, False])
def test_the_bar_shows_bases_and_leaves_nothing(monkeypatch, capfd, colour):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich draws as on a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with BarProgress() as progress:
        progress.start(2_000_000, "[red]chr\x1b1")
        progress.advance(0)
        progress.advance(1_000_000)
    drawn = capfd.readouterr().err
    assert "[red]chr\\x1b1" in drawn
    assert "1,000,000 bases" in drawn
    assert "bases/s" in drawn
    assert drawn.endswith("\x1b[2K")  # the bar's line is erased
    assert ("\x1b[3" in drawn) == colour
