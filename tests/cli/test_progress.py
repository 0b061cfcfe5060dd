"""What a person at a terminal, a log file and somebody who wants quiet see of long steps."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from onnxzip.cli import progress
from onnxzip.cli.progress import Bars, Lines

MODELS = Path(__file__).parents[2] / "models"


def test_lines_tell_finished_steps_with_counts_and_seconds():
    file = io.StringIO()
    lines = Lines(file, short=0)
    with lines.step("explore", 2) as outer:
        with lines.step("calibrate", 3) as done:
            for _ in range(3):
                done()
        outer()
        with lines.step("rewrite") as done:
            done()
        outer()
    told = [re.sub(r"\d+\.\d s$", "T s", line) for line in file.getvalue().splitlines()]
    assert told == ["  calibrate: 3 of 3, T s", "  rewrite: T s", "explore: 2 of 2, T s"]
    assert all(c.isprintable() or c == "\n" for c in file.getvalue())


def test_short_steps_and_steps_that_failed_are_no_lines():
    file = io.StringIO()
    with Lines(file).step("quick", 1) as done:
        done()
    with pytest.raises(RuntimeError), Lines(file, short=0).step("broken"):
        raise RuntimeError
    assert file.getvalue() == ""


def test_a_log_that_cannot_be_written_stops_nothing():
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with Lines(Full(), short=0).step("calibrate") as done:
        done()


def test_bars_nest_show_what_is_left_and_vanish():
    file = io.StringIO()
    bars = Bars(Console(file=file, force_terminal=True, width=100))
    with bars.step("explore [x]", 2) as outer:
        with bars.step("calibrate", 3) as done:
            done()
            progress_shown = bars._progress
            assert progress_shown is not None
            assert [(t.description, t.completed, t.total) for t in progress_shown.tasks] == [
                ("explore [x]", 0, 2),
                ("  calibrate", 1, 3),
            ]
            progress_shown.refresh()
        outer()
        assert [t.description for t in progress_shown.tasks] == ["explore [x]"]
    assert bars._progress is None
    assert "1/3" in file.getvalue()
    assert "explore [x]" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K\x1b[?25h\r")  # wiped, and the cursor is back


def test_a_step_that_fails_takes_its_bar_along():
    bars = Bars(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(RuntimeError), bars.step("outer"), bars.step("inner"):
        raise RuntimeError
    assert bars._progress is None
    with bars.step("next", 1) as done:
        done()


def compare(*args: str, **kwargs):
    """A process that takes every step for a long one."""
    script = "import sys; from onnxzip.cli import progress; progress.Lines.__init__.__defaults__ = (0.0,); from onnxzip.cli.main import main; main()"
    words = ["compare", *[str(MODELS / "digits_resnet.onnx")] * 2, "-c", str(MODELS / "digits_calibration.npz"), *args]
    return subprocess.run([sys.executable, "-c", script, *words], check=True, **kwargs)


def test_a_pipe_gets_lines_and_quiet_gets_nothing():
    run = compare(capture_output=True, text=True)
    told = [re.sub(r"\d+\.\d s$", "T s", line) for line in run.stderr.splitlines()]
    count = told[1].split()[3]
    assert told == [
        "load both models: T s",
        f"run the original: {count} of {count}, T s",
        f"compare with the original: {count} of {count}, T s",
    ]
    assert "run the original" not in run.stdout
    run = compare("--quiet", capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo terminals are a thing of POSIX")
def test_a_terminal_gets_bars():
    ours, theirs = pty.openpty()
    try:
        compare(stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(ours, 65536):
                seen += part
        except OSError:  # Linux says so when the other end is closed
            pass
    finally:
        os.close(ours)
    text = seen.decode()
    assert "run the original" in text
    assert "\x1b[2K" in text
    assert not re.search(r"run the original: \d", text)  # no lines beside them


def test_which_observer(monkeypatch):
    assert progress.observer(quiet=True) is progress.SILENT
    assert isinstance(progress.observer(quiet=False), Lines | Bars)
