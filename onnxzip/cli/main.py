"""The `onnxzip` command."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxzip import __version__
from onnxzip.cli import check, compare, explore, init, inspect, optimize

app = typer.Typer(
    name="onnxzip",
    help="Smaller, faster ONNX models, proven on real data to do what the original did.",
    epilog="Exit codes: 0 passed, 1 the budget was missed or is not settled by the data, 2 wrong usage or input, 3 internal error, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("optimize")(optimize.optimize)
app.command("compare")(compare.compare)
app.command("inspect")(inspect.inspect)
app.command("explore")(explore.explore)
app.command("check")(check.check)
app.command("init")(init.init)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"onnxzip {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()
