"""Files that a settings file names: relative to it, alone or by a pattern."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnxzip.settings_keys import Table


def matches(table: Table, name: str, text: str, results: Sequence[str]) -> Iterator[tuple[str | None, Path]]:
    """The models that `path` names, in the order of their names.

    Args:
        table: where it stands.
        name: of the table.
        text: a path, or a pattern with `*`, `?`, `[...]` and `**`.
        results: folders of results (`out`, `candidate`), whose files are no models to check.

    Yields:
        What tells the file from others of the pattern (its path behind the part without wildcards, without `.onnx`), or None where
        `path` is no pattern; and the file.

    Raises:
        UsageError: there is no such file, or the pattern matches none.
    """
    folder, single = table.file.parent, table.file.parent / text
    if single.is_file() or not glob.has_magic(text):
        if not single.is_file():
            raise table.error("path", f"{single}: there is no such file")
        yield None, single
        return
    taken = [(folder / r).resolve() for r in results]
    found = sorted(Path(f) for f in glob.glob(str(folder / text), recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
    found = [f for f in found if f.is_file() and not any(f.resolve().is_relative_to(t) for t in taken)]
    if not found:
        raise table.error("path", f"the pattern {text!r} of model {name!r} matches no file in {folder.resolve()}")
    fixed = _fixed(folder / text)
    for file in found:
        yield file.relative_to(fixed).as_posix().removesuffix(".onnx"), file


def place(folder: Path, text: str | None, label: str | None) -> Path | None:
    """A file of results: `text` itself, or, where the table names several models, the one of this label in the folder `text`."""
    if text is None:
        return None
    return folder / text if label is None else folder / text / f"{label}.onnx"


def _fixed(pattern: Path) -> Path:
    """The part of a pattern before its first wildcard."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])
