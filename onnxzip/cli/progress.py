"""Progress on standard error: bars where a person watches, a line for each finished step in a log, nothing with `--quiet`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from onnxzip.progress import SILENT, Observer

SHORT = 0.5
"""Seconds: steps that take less are no line of a log."""


class Bars:
    """An observer that draws one bar a step, those inside others below them; when the last one ends, all vanish."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._depth = 0

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """See `Observer.step`."""
        progress = self._shown()
        task = progress.add_task("  " * self._depth + name, total=total)
        self._depth += 1
        try:
            yield lambda: progress.advance(task)
        finally:
            self._depth -= 1
            progress.remove_task(task)
            if self._depth == 0:
                progress.stop()
                self._progress = None

    def _shown(self) -> Progress:
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left", style="dim"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
        return self._progress


class Lines:
    """An observer that writes a plain line for each step that ended well and took at least `short` seconds."""

    def __init__(self, file: TextIO, short: float = SHORT) -> None:
        self._file, self._short = file, short
        self._depth = 0

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """See `Observer.step`."""
        start, count = time.perf_counter(), 0

        def advance() -> None:
            nonlocal count
            count += 1

        self._depth += 1
        try:
            yield advance
        finally:
            self._depth -= 1
        seconds = time.perf_counter() - start
        if seconds >= self._short:
            done = "" if total is None else f"{count} of {total}, "
            self._write(f"{'  ' * self._depth}{name}: {done}{seconds:.1f} s\n")

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # nobody reads it any more: no reason to stop
            self._file.write(line)
            self._file.flush()


def observer(*, quiet: bool) -> Observer:
    """Bars for a terminal, lines for a pipe or a log file, nothing with `--quiet`."""
    if quiet:
        return SILENT
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(sys.stderr)
