"""`onnxzip inspect`."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxzip.cli import options, output
from onnxzip.cli.guard import guarded

All = Annotated[bool, typer.Option("--all", help="Show every weight, operator and reason instead of a screenful.")]


@guarded
def inspect(
    model: options.Model, everything: All = False, json: options.Json = None, force: options.Force = False
) -> None:
    """Show what is in a model, and what could be gained."""
    output.check_side_files((json,), (model,), force=force)
    from onnxzip.inspection import inspect as run
    from onnxzip.report.inspection import show, to_json

    found = run(model)
    if json:
        output.write(json, to_json(found))
    output.show(show(found, everything=everything))
