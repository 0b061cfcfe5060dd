"""Where results go: checked before any work is done, written atomically."""

from __future__ import annotations

from pathlib import Path

from onnxzip.errors import UsageError
from onnxzip.files import write_text


def model_path(model: Path, out: Path | None, *, force: bool) -> Path:
    """The path of the resulting model.

    Raises:
        UsageError: it would overwrite the input, or another file without `force`, or has no folder to land in.
    """
    path = out or model.with_name(f"{model.name.removesuffix('.onnx')}.opt.onnx")
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError(f"{path}: the output would overwrite the input. Choose another name with -o.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists. Choose another name with -o, or overwrite it with --force.")
    _check_folder(path)
    return path


def check_side_file(path: Path | None, *models: Path) -> None:
    """A report or plan needs a folder to land in, and may not land on a model.

    Raises:
        UsageError: it would.
    """
    if path is None:
        return
    if path.resolve() in {m.resolve() for m in models}:
        raise UsageError(f"{path} is the model itself. Choose another name.")
    _check_folder(path)


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
