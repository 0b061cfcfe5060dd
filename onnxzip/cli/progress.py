"""Progress bars on standard error: there when a person watches, silent when not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from onnxzip.progress import SILENT, Observer


class Bars:
    """An observer that draws one bar a step."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """See `Observer.step`."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(name, total=total)
            yield lambda: progress.advance(task)


def observer(*, quiet: bool) -> Observer:
    """Bars for a terminal; nothing for a pipe, a log file, or `--quiet`."""
    console = Console(stderr=True)
    return SILENT if quiet or not console.is_terminal else Bars(console)
