"""Long work prints a few plain lines into a file, and a bar on a terminal."""

import io
import re

import pytest

from lh2face import progress
from lh2face.progress import clock, rate, track


@pytest.fixture
def now(monkeypatch):
    """A clock that the test sets."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def test_lines_are_few_and_end_with_the_last_step(now, capsys):
    for _ in track(range(40), "faces"):
        now[0] += 0.5
    assert capsys.readouterr().out.splitlines() == [
        "faces: 1/40  2/s  0:20 left",
        "faces: 11/40  2/s  0:14 left",
        "faces: 21/40  2/s  0:10 left",
        "faces: 31/40  2/s  0:04 left",
        "faces: 40/40  2/s  0:00 left",
    ]


def test_time_left_follows_a_change_of_speed(now, capsys):
    """From the middle on, the speed is a tenth; after half a minute the time left is right."""
    shown = progress.progress("faces", 2000)
    for step in range(1120):
        now[0] += 0.05 if step < 1000 else 0.5
        shown.advance()
    shown.close()
    assert capsys.readouterr().out.splitlines()[-1] == "faces: 1120/2000  2/s  7:20 left"


def test_the_rate_of_resumed_work_counts_only_its_own_steps(now, capsys):
    shown = progress.progress("faces", 100, done=90)
    now[0] += 2
    shown.advance(4, status="loss 1")
    assert capsys.readouterr().out == "faces: 94/100  2/s  0:03 left  loss 1\n"


def test_an_unknown_total_and_an_error_are_shown(now, capsys):
    def images():
        yield from "abc"
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        for _ in track(images(), "images"):
            now[0] += 1
    assert capsys.readouterr().out.splitlines() == ["images: 1  1/s", "images: 3  1/s"]


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track("abcd", "faces [old] x[/c]\n")) == list("abcd")
    assert r"faces [old] x[/c]\n" in terminal.getvalue()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "faces" in shown and "4/4" in shown and "━" in shown and "/s" in shown
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


def test_names_in_lines_are_escaped(now, capsys):
    shown = progress.progress("embedding [old]\n\x1b[31m", 2)
    shown.advance(status="a\nb")
    assert capsys.readouterr().out == (
        "embedding [old]\\n\\x1b[31m: 1/2  1,000,000,000/s  0:00 left  a\\nb\n"
    )


def test_figures_are_formatted_for_people():
    assert [rate(x) for x in (0.123, 4.56, 12.3, 12345)] == ["0.12/s", "4.6/s", "12/s", "12,345/s"]
    assert [clock(x) for x in (0, 59.6, 61, 3661)] == ["0:00", "1:00", "1:01", "1:01:01"]
