"""`onnxzip inspect`."""

from __future__ import annotations

from onnxzip.cli import options, output
from onnxzip.cli.guard import guarded


@guarded
def inspect(model: options.Model, json: options.Json = None) -> None:
    """Show what is in a model, and what could be gained."""
    output.check_side_file(json, model)
    from rich.console import Console

    from onnxzip.inspection import inspect as run
    from onnxzip.report.inspection import show, to_json

    found = run(model)
    Console().print(show(found), soft_wrap=True)
    if json:
        output.write(json, to_json(found))
