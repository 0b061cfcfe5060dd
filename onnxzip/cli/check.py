"""`onnxzip check`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onnxzip.checked import CheckRun
from onnxzip.cli import options, output
from onnxzip.cli.guard import MISSED, WRONG, complain, guarded
from onnxzip.errors import Interrupted, UsageError
from onnxzip.settings import ModelSettings, choose, find, read

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Models to check, by the name of their table or by path. Default: all.", show_default=False),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="DIR", help="Write every result that passes to DIR/NAME.onnx.", show_default=False
    ),
]


@guarded
def check(
    names: Names = None,
    config: options.Settings = None,
    out: Folder = None,
    json: options.Json = None,
    junit: options.Junit = None,
    markdown: options.Markdown = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Check all models of a settings file: exit code 0 when all passed, 1 when some missed, 2 when some could not be judged.

    The file is onnxzip.toml, or pyproject.toml with a table tool.onnxzip, here or in a folder above; `onnxzip init` writes one.
    What is wrong in the file is found before any model runs.
    """
    file = config or find(Path())
    entries = _placed(choose(read(file), names or (), file), out)
    _check_files(entries, (json, junit, None if output.is_step_summary(markdown) else markdown), file, force=force)
    from onnxzip.checks import check as run
    from onnxzip.cli.progress import observer
    from onnxzip.report.checks import summary

    for path in (e.out for e in entries if e.out is not None):
        output.make_folder(path.parent)
    try:
        record = run(entries, file, observer=observer(quiet=quiet))
    except Interrupted as stop:
        if not quiet and isinstance(stop.done, CheckRun):
            output.show(summary(stop.done))
        raise
    if not quiet:
        output.show(summary(record))  # before the reports, which may not fit on the disk
    _report(record, json, junit, markdown or output.step_summary())
    if not record.passed:
        bad = [m for m in record.models if not m.accepted]
        why = [f"{m.name} ({'; '.join(m.reasons)})" for m in bad] if quiet else [m.name for m in bad]
        complain(f"{len(bad)} of {len(record.models)} models did not pass: {', '.join(why)}")
        raise typer.Exit(WRONG if record.failed else MISSED)


def _placed(entries: Sequence[ModelSettings], folder: Path | None) -> tuple[ModelSettings, ...]:
    """The entries, their results in this folder where one is given.

    Raises:
        UsageError: a name leads out of it.
    """
    if folder is None:
        return tuple(entries)
    for e in entries:
        if not e.name or ".." in Path(e.name).parts or Path(e.name).is_absolute():
            raise UsageError(
                f"--out: the result of model {e.name!r} would not lie in {folder}. Give its table another name."
            )
    return tuple(
        e if e.candidate is not None else dataclasses.replace(e, out=folder / f"{e.name}.onnx") for e in entries
    )


def _check_files(entries: Sequence[ModelSettings], reports: Sequence[Path | None], file: Path, *, force: bool) -> None:
    """Nothing that is written may land on what is read, or twice on the same place."""
    models = [p for e in entries for p in (e.path, e.candidate)]
    data = [Path(d) for e in entries for d in (e.calibration, e.evaluation) if d]
    results = [e.out for e in entries]
    output.check_side_files(reports, (file, *models, *data, *results), force=force)
    output.check_side_files(results, (file, *models, *data), force=force, new_folders=True)


def _report(record: CheckRun, json: Path | None, junit: Path | None, markdown: Path | None) -> None:
    from onnxzip.report import document
    from onnxzip.report import junit as xml
    from onnxzip.report import markdown as text

    if json:
        output.write(json, document.to_json(record))
    if junit:
        output.write(junit, xml.checks(record))
    if markdown:
        output.write_markdown(markdown, text.checks(record))
