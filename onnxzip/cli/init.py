"""`onnxzip init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxzip.cli import options, output
from onnxzip.cli.guard import guarded
from onnxzip.errors import UsageError
from onnxzip.settings import FILE, PROJECT, read

Target = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The settings file.")]
Add = Annotated[bool, typer.Option("--add", help="Add the model to a settings file that is there.")]


@guarded
def init(
    model: options.Model,
    calibration: options.Data = None,
    out: Target = Path(FILE),
    add: Add = False,
    force: options.Force = False,
) -> None:
    """Write a commented settings file for a model, to edit and then to `onnxzip check`."""
    if out.name == PROJECT:
        raise UsageError(
            f"{out}: is not written by onnxzip. Write {FILE}, or copy its tables to [tool.onnxzip] yourself."
        )
    if add:
        names = tuple(dict.fromkeys(e.name.split("/")[0] for e in read(out)))
        before = out.read_text(encoding="utf-8")
    else:
        output.check_side_files((out,), (model, Path(calibration) if calibration else None), force=force)
    from onnxzip.starting import settings_text, table_text

    if add:
        output.write(out, before + table_text(model, calibration, out.parent, names))
    else:
        output.write(out, settings_text(model, calibration, out.parent))
    output.show(f"wrote {out}: edit it, then run: onnxzip check{'' if out == Path(FILE) else f' --config {out}'}")
