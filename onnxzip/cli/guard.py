"""Exceptions become one line on standard error and an exit code."""

from __future__ import annotations

import _thread
import contextlib
import functools
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import ParamSpec, TypeVar

import typer

from onnxzip import __version__
from onnxzip.errors import Interrupted, OnnxzipError, PassError

IMPORTING = 0.05
"""Seconds after which Ctrl-C in the loading of an extension module is tried again."""

PASSED, MISSED, WRONG, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130

P = ParamSpec("P")
R = TypeVar("R")


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command end with an exit code of its own: 2 for the user's errors, 3 for ours."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _patiently():
                return command(*args, **kwargs)
        except PassError as error:
            raise _internal(error) from error
        except OnnxzipError as error:
            complain(str(error))
            raise typer.Exit(WRONG) from error
        except MemoryError as error:
            complain("there is not enough memory for this model and data")
            raise typer.Exit(WRONG) from error
        except KeyboardInterrupt as error:
            complain(_interrupted(error))
            raise typer.Exit(INTERRUPTED) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            raise _internal(error) from error

    return run


@contextlib.contextmanager
def _patiently() -> Iterator[None]:
    """Ctrl-C waits until an extension module is loaded: some that are interrupted there take the whole process down."""
    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not own or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Raise where that is safe; else come again."""
    at = frame
    while at is not None:
        if isinstance(at.f_locals.get("self"), ExtensionFileLoader):
            again = threading.Timer(IMPORTING, _thread.interrupt_main)
            again.daemon = True
            return again.start()
        at = at.f_back
    raise KeyboardInterrupt


def complain(message: str) -> None:
    """One line on standard error."""
    typer.echo(f"onnxzip: error: {' '.join(message.split())}", err=True)


def _interrupted(error: KeyboardInterrupt) -> str:
    """What was done before, where that is known; commands with a table of their own have shown it."""
    done = error.done if isinstance(error, Interrupted) else None
    if not isinstance(done, tuple):
        return "interrupted"
    stages = "; ".join(f"{s.name}: {s.summary}" for s in done) or "nothing"
    return f"interrupted, no model was written. Done before: {stages}"


def _internal(error: Exception) -> typer.Exit:
    traceback.print_exc(file=sys.stderr)
    complain(
        f"this is a bug of onnxzip ({type(error).__name__}). Please report it with the lines above, the model if you may share it, "
        f"and: onnxzip {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    return typer.Exit(INTERNAL)
