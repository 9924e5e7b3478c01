"""Progress on stderr: rare lines without a terminal, one bar with it, silence when asked."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hrkd.artifact import StageRecord
from hrkd.metrics import DomainScores
from hrkd.training.observer import Observer, StepReport
from hrkd_cli.bench_progress import bench_progress, line_report
from hrkd_cli.output import Output, print_error
from hrkd_cli.progress import BarObserver, LineObserver, training_observer


def report(step: int) -> StepReport:
    return StepReport(step, 100, {"loss": 1.25, "hidden": 0.5}, 1e-4, 321.0)


def drive(observer: Observer) -> None:
    """Send what a short training sends."""
    observer.started("student", 20, 100)
    for step in range(21, 101):
        observer.step(report(step))
    observer.evaluated(100, DomainScores({"books": 0.5, "films": 0.75}), is_best=True)
    observer.finished(StageRecord("student", "hash", {}), skipped=False)
    observer.message("a [word]")


def test_lines_come_about_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents a log file with a line per step, or none at all, and a time left that counts steps of before."""
    clock = iter(float(second) for second in range(1000))
    drive(LineObserver(Output(), clock=lambda: next(clock)))
    out, err = capsys.readouterr()
    steps = [line for line in err.splitlines() if "step" in line and "/100" in line]
    assert out == ""
    assert len(steps) == 8
    # One step a second since step 20: 70 steps are left after step 30.
    assert steps[0] == "student: step 30/100, loss 1.25 hidden 0.5 lr 1.00e-04 321 ex/s, 1:10 left"
    assert "student: going on at step 20 of 100 steps" in err
    assert "validation accuracy 62.5 % (books 50.0, films 75.0) (best so far)" in err


def test_a_bar_shows_terms_and_keeps_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents progress on stdout, and words in brackets that rich takes for markup."""
    stream = io.StringIO()
    with BarObserver(Console(file=stream, force_terminal=True, width=140)) as observer:
        drive(observer)
    drawn = stream.getvalue()
    assert "validation accuracy 62.5 %" in drawn
    assert "a [word]" in drawn
    assert capsys.readouterr().out == ""


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents `--quiet` from leaving words in a cron mail."""
    with training_observer(Output(quiet=True)) as observer:
        drive(observer)
    with bench_progress(Output(quiet=True)) as progress:
        assert progress is None
    assert capsys.readouterr() == ("", "")


def test_bench_lines_name_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents a measurement of minutes without a word, or with thousands."""
    progress = line_report(Output(), clock=iter(float(second) for second in range(1000)).__next__)
    for done in range(25):
        progress("measuring", done, 25)
    progress("cold starts", 0, 3)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "bench: measuring 0/25",
        "bench: measuring 10/25",
        "bench: measuring 20/25",
        "bench: cold starts 0/3",
    ]


class Terminal(io.StringIO):
    """What rich takes for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_phase_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a model's name from ending a measurement of an hour as broken markup, or from being obeyed."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with bench_progress(Output()) as progress:
        assert progress is not None
        progress("answering (a[/b])\x1b]52;c;ZXZpbA==\x07", 1, 2)
    assert "answering (a[/b])]52;c;" in terminal.getvalue()
    assert "\x1b]52" not in terminal.getvalue()


HOSTILE = "a\x1b]52;c;ZXZpbA==\x07\x9b2J\r\u202eb[/c]\tz\ny"
SHOWN = "a]52;c;ZXZpbA==2Jb[/c]\tz\ny"


def test_words_from_elsewhere_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents a bundle or a device from writing into the clipboard, or over what hrkd said before."""
    output = Output()
    output.note(HOSTILE)
    output.warning(HOSTILE)
    print_error(HOSTILE, HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\nwarning: {SHOWN}\nerror: {SHOWN}\nhint: {SHOWN}\n"
    table = Table(title="t\x1b]52;c[/c]")
    table.add_column("name")
    table.add_row(Text("a\x1b]52;c;ZXZpbA==\x07"))
    output.result({}, HOSTILE, table)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{SHOWN}\n")
    assert "t]52;c[/c]" in shown
    assert "│ a]52;c;ZXZpbA== │" in shown
    assert "\x1b" not in shown


def test_warnings_are_never_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents `--quiet` from hiding that something was left out."""
    Output(quiet=True).warning("left out")
    assert capsys.readouterr() == ("", "warning: left out\n")
