"""Exact rewriting as a stage: run the passes, check the numbers, and trace a failure to the very step that made it.

The numbers are checked once, at the end. Only when they differ the run is repeated with a limit on its steps, halved
until one step is left (`onnxzip.validate.blame`); its pass is taken back, named with the node, and the rest goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import onnx_ir as ir

from onnxzip.errors import PassError
from onnxzip.passes.context import ALLOWED, Allowed, Fuel
from onnxzip.passes.runner import run
from onnxzip.progress import SILENT, Observer
from onnxzip.records import PassRecord
from onnxzip.validate.blame import first_bad

Check = Callable[[ir.Model], str | None]


def rewrite(
    model: ir.Model,
    check: Check,
    *,
    allowed: Allowed = ALLOWED,
    each: bool = False,
    strict: bool = False,
    observer: Observer = SILENT,
) -> tuple[ir.Model, tuple[PassRecord, ...], str | None]:
    """Rewrite a model exactly.

    Args:
        model: never touched.
        check: what is wrong with a candidate, or None.
        allowed: what passes may do.
        each: check after every pass instead of once at the end.
        strict: raise instead of taking a pass back.
        observer: told each pass that ran.

    Returns:
        The new model, one record per pass, and what is wrong when no pass is to blame (None when nothing is).

    Raises:
        PassError: under `strict`, a pass went wrong; the message names it and its node.
    """
    attempt = functools.partial(run, model, allowed=allowed, verify=check if each else None, strict=strict)
    left_out: dict[str, str] = {}
    while True:
        fuel = Fuel()
        result, records = attempt(fuel=fuel, left_out=left_out, observer=observer)
        if check(result) is None:
            return result, records, None

        def after(steps: int) -> str | None:
            return check(attempt(fuel=Fuel(steps), left_out=left_out)[0])

        found = first_bad(len(fuel.steps), after)
        if found is None:
            return model, records, check(result)
        name, where = fuel.steps[found[0] - 1]
        reason = f"at {where}: {found[1]}" if where else found[1]
        if strict:
            raise PassError(f"pass {name} was taken back: {reason}")
        left_out[name] = reason
