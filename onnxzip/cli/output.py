"""Where results go: checked before any work is done, written atomically."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from onnxzip.cli.guard import complain
from onnxzip.errors import UsageError
from onnxzip.files import write_text


def model_path(model: Path, out: Path | None, *, force: bool) -> Path:
    """The path of the resulting model.

    Raises:
        UsageError: it would overwrite the input, or another file without `force`, or has no folder to land in.
    """
    if model.is_dir():
        raise UsageError(f"{model}: this is a folder. Give the path of the .onnx file inside it.")
    path = out or model.with_name(f"{model.name.removesuffix('.onnx')}.opt.onnx")
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError(f"{path}: the output would overwrite the input. Choose another name with -o.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists. Choose another name with -o, or overwrite it with --force.")
    _check_folder(path)
    return path


def check_side_files(written: Sequence[Path | None], read: Sequence[Path | None], *, force: bool) -> None:
    """Reports and plans need a folder to land in, and may land on nothing that is read or written otherwise.

    Raises:
        UsageError: they would, or would overwrite a file without `force`.
    """
    taken = {p.resolve() for p in read if p is not None}
    for path in written:
        if path is None:
            continue
        if path.resolve() in taken:
            raise UsageError(f"{path} is read or written by this command already. Choose another name.")
        if path.exists() and not force:
            raise UsageError(f"{path} exists. Choose another name, or overwrite it with --force.")
        _check_folder(path)
        taken.add(path.resolve())


def check_report() -> None:
    """An HTML report needs an extra; that is said before any work is done.

    Raises:
        UsageError: it is not installed.
    """
    from onnxzip.report.charts import needs_extra

    if any(importlib.util.find_spec(name) is None for name in ("jinja2", "matplotlib")):
        raise needs_extra()


def show(content: RenderableType) -> None:
    """Print to standard output; a pipe that nobody reads any more, or a full disk behind it, does not stop the command."""
    console = Console()
    try:
        console.print(content, soft_wrap=True)  # commands stay on one line, to be copied
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains again at its end
        if not isinstance(error, BrokenPipeError):
            complain(f"standard output cannot be written ({error.strerror})")


def write(path: Path, text: str) -> None:
    """Write a report or plan.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror or error}). Check the permissions and the free space."
        ) from error


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist. Create it first.")
    if path.is_dir():
        raise UsageError(f"{path}: this is a folder. Give the name of the file to write.")
