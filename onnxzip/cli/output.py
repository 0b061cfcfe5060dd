"""Where results go: checked before any work is done, written atomically."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from onnxzip import files
from onnxzip.cli.guard import complain
from onnxzip.errors import UsageError

_NO_MODELS = (".npz", ".npy", ".toml", ".json")
"""Names of what is read beside models: data, settings, plans."""


def model_path(model: Path, out: Path | None, *, force: bool) -> Path:
    """The path of the resulting model.

    Raises:
        UsageError: it would overwrite the input or its weights, or another file without `force`, or has no folder to land in that can be written to.
    """
    if model.is_dir():
        raise UsageError(f"{model}: this is a folder. Give the path of the .onnx file inside it.")
    path = out or model.with_name(f"{model.name.removesuffix('.onnx')}.opt.onnx")
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError(f"{path}: the output would overwrite the input. Choose another name with -o.")
    _check_folder(path)
    if path.exists() and not force:
        raise UsageError(f"{path} exists. Choose another name with -o, or overwrite it with --force.")
    if path.is_file():
        _check_weights(path, (model,))
    return path


def check_side_files(
    written: Sequence[Path | None], read: Sequence[Path | None], *, force: bool, new_folders: bool = False
) -> None:
    """Reports and plans need a folder to land in (unless `new_folders` will be made), and may land on nothing that is read or written otherwise.

    Raises:
        UsageError: they would, would overwrite a file without `force` or one that holds weights of a model that is read, or the folder cannot be written to.
    """
    taken = {p.resolve() for p in read if p is not None}
    for path in written:
        if path is None:
            continue
        if path.resolve() in taken:
            raise UsageError(f"{path} is read or written by this command already. Choose another name.")
        if path.is_dir() or not new_folders:
            _check_folder(path)
        if path.exists() and not force:
            raise UsageError(f"{path} exists. Choose another name, or overwrite it with --force.")
        if path.is_file():
            _check_weights(path, read)
        taken.add(path.resolve())


def check_samples(folder: Path | None, *, force: bool) -> None:
    """Samples land in a folder of their own.

    Raises:
        UsageError: it is a file, or not empty without `force`, or has no folder to land in that can be written to.
    """
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: this is a file. Give the name of a folder for the worst samples.")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UsageError(f"{folder} is not empty. Choose another folder, or replace the samples in it with --force.")
    if not folder.parent.is_dir():
        raise UsageError(f"{folder}: the folder {folder.parent} does not exist. Create it first.")
    _check_writable(folder, folder if folder.is_dir() else folder.parent)


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
        console.print(
            content, soft_wrap=True, markup=False
        )  # brackets in names are no markup; commands stay on one line, to be copied
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
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a picture. Errors as for `write`."""
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror or error}). Check the permissions and the free space."
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder that results go to.

    Raises:
        UsageError: it cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the folder cannot be made ({error.strerror or error})") from error
    _check_writable(folder, folder)


def step_summary() -> Path | None:
    """The file that GitHub shows beside a workflow's step, where this runs in one."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(name) if name else None


def is_step_summary(path: Path | None) -> bool:
    """Whether this is that file, which is appended to: other commands of the step write there too."""
    summary = step_summary()
    return path is not None and summary is not None and path.resolve() == summary.resolve()


def write_markdown(path: Path, text: str) -> None:
    """Write Markdown, or append it to the summary of the step.

    Raises:
        UsageError: it cannot be written.
    """
    if not is_step_summary(path):
        return write(path, text)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise UsageError(f"{path} ($GITHUB_STEP_SUMMARY): cannot be written ({error.strerror or error})") from error


def _check_weights(path: Path, read: Sequence[Path | None]) -> None:
    """A file to be overwritten holds no weights of a model that is read; these lie in the model's folder, so that others are not opened."""
    near = [p for p in read if p is not None and p.is_file() and path.resolve().is_relative_to(p.parent.resolve())]
    models = [p for p in near if p.suffix not in _NO_MODELS]
    if not models:
        return
    from onnxzip.model.load import external_files

    for model in models:
        if path.resolve() in external_files(model):
            raise UsageError(f"{path} holds weights of {model}. Choose another name.")


def _check_folder(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path}: this is a folder. Give the name of the file to write.")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist. Create it first.")
    _check_writable(path, path.parent)


def _check_writable(path: Path, folder: Path) -> None:
    """Files are written beside their place and then moved there, so the folder decides."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"{path}: the folder {folder} cannot be written to. Choose another one, or change its permissions."
        )
