"""What suspect layers mean for the verdict.

A suspect layer fails it: the error that is born there is more than the number formats of the candidate explain, so it was changed, whatever the
outputs look like on the data at hand. There are three exceptions:

1. the outputs hold the original's numbers on data that was given, as exact rewriting must: what was changed is without effect (on inputs that were made up an
   output may be saturated, so there it counts);
2. the candidate has weights of its own: where channels were pruned (short of losing half of the signal), or where most layers differ (trained anew), it is on purpose, and only outputs can be judged;
3. the caller wants outputs alone to be judged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from onnxzip.records import LayerError, Verdict
from onnxzip.validate.judge import exact_problem
from onnxzip.validate.layers import Depth

MADE_UP = "made up"
"""What a verdict calls data that nobody gave."""

LOST_DB = 3.0
"""Born error at which even a layer that was pruned and re-fitted has lost what it computes."""

MOST = 3
"""Suspect layers that are named."""


def with_layers(verdict: Verdict, depth: Depth, types: Mapping[str, str]) -> Verdict:
    """The verdict on the outputs, and on the layers.

    Args:
        verdict: on the outputs.
        depth: the layers.
        types: onnxruntime's type of each output.
    """
    layers = depth.layers
    if verdict.data != MADE_UP and exact_problem(verdict.outputs, {}, types) is None:  # case 1
        layers = tuple(dataclasses.replace(e, suspect=False) for e in layers)
    suspects = sorted((e for e in layers if e.suspect), key=_badness)
    if not suspects:
        return dataclasses.replace(verdict, layers=layers)
    if depth.other_weights is not None:  # case 2
        warning = f"the layers are not judged, only the outputs: {depth.other_weights}"
        return dataclasses.replace(verdict, layers=layers, warnings=(*verdict.warnings, warning))
    if pruned := [e for e in suspects if e.name in depth.pruned and _badness(e) > LOST_DB]:
        warning = f"{len(pruned)} layers around pruned channels were re-fitted, so they are judged by the outputs alone"
        verdict = dataclasses.replace(verdict, warnings=(*verdict.warnings, warning))
        suspects = [e for e in suspects if e not in pruned]
        if not suspects:
            return dataclasses.replace(verdict, layers=layers)
    reasons = [*verdict.reasons, *map(_reason, suspects[:MOST])]
    if len(suspects) > MOST:
        reasons.append(f"{len(suspects) - MOST} more layers differ by more than rounding")
    return dataclasses.replace(verdict, passed=False, reasons=tuple(reasons), layers=layers)


def _badness(error: LayerError) -> float:
    return math.inf if error.born_db is None else error.born_db


def _reason(e: LayerError) -> str:
    where = e.node if len(e.nodes) < 2 else f"{e.node} or what comes right before it ({', '.join(e.nodes[-4:-1])})"
    if e.born_db is None:
        return f"output {e.name!r} is another one, and {where} is where that begins"
    return f"{where} was changed: it adds an error of {_db(e.born_db)} to {e.name!r}{_excuse(e)}"


def _excuse(e: LayerError) -> str:
    if e.explained_db is None or e.born_db is None or e.born_db >= e.explained_db:
        return ", all of it in some channels"
    return f", rounding explains {_db(e.explained_db)}"


def _db(value: float) -> str:
    return "all of its signal" if value == -math.inf else f"{value:.1f} dB SQNR"
