"""Exceptions become one line on standard error and an exit code."""

from __future__ import annotations

import functools
import platform
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from onnxzip import __version__
from onnxzip.errors import Interrupted, OnnxzipError, PassError

PASSED, MISSED, WRONG, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130

P = ParamSpec("P")
R = TypeVar("R")


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command end with an exit code of its own: 2 for the user's errors, 3 for ours."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
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
