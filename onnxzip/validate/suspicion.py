"""What suspect layers mean for the verdict.

A guilty layer fails it: it was changed, beyond doubt (`layers`, `patching`), whatever the outputs look like on the data at hand. A suspect that is not guilty is a
warning: no sound candidate fails by its layers. There are three exceptions:

1. the outputs hold the original's numbers, as exact rewriting must: what was changed is without effect on this data. On inputs that were made up that is
   a warning, for on real ones it may have some;
2. the candidate has weights of its own: where channels were pruned (short of losing half of the signal), or where most layers differ (trained anew), it is on purpose, and only outputs can be judged;
3. the caller wants outputs alone to be judged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from onnxzip.records import LayerError, Verdict
from onnxzip.validate.exact import exact_problem
from onnxzip.validate.layers import Depth

MADE_UP = "made up"
"""What a verdict calls data that nobody gave."""

LOST_DB = 3.0
"""Born error at which even a layer that was pruned and re-fitted has lost what it computes."""

MOST = 3
"""Layers that are named."""


def with_layers(verdict: Verdict, depth: Depth, types: Mapping[str, str]) -> Verdict:
    """The verdict on the outputs, and on the layers.

    Args:
        verdict: on the outputs.
        depth: the layers.
        types: onnxruntime's type of each output.
    """
    layers = depth.layers
    exact = exact_problem(verdict.outputs, {}, types) is None
    if exact:  # case 1
        made_up = verdict.data == MADE_UP
        layers = tuple(dataclasses.replace(e, suspect=e.guilty and made_up, guilty=False) for e in layers)
    verdict = dataclasses.replace(verdict, layers=layers)
    suspects = sorted((e for e in layers if e.suspect), key=lambda e: (not e.guilty, _badness(e)))
    if not suspects:
        return verdict
    if depth.other_weights is not None:  # case 2
        return _warned(verdict, [f"the layers are not judged, only the outputs: {depth.other_weights}"])
    pruned = [e for e in suspects if e.name in depth.pruned and _badness(e) > LOST_DB]
    if pruned:
        text = f"{len(pruned)} layers around pruned channels were re-fitted, so they are judged by the outputs alone"
        verdict = _warned(verdict, [text])
    guilty = [e for e in suspects if e.guilty and e not in pruned]
    doubted = [e for e in suspects if not e.guilty and e not in pruned]
    if guilty:
        return dataclasses.replace(
            verdict, passed=False, reasons=(*verdict.reasons, *_named(guilty, _reason, "more layers were changed"))
        )
    return _warned(verdict, _named(doubted, _doubt, "more layers differ by more than rounding"))


def _warned(verdict: Verdict, texts: Sequence[str]) -> Verdict:
    return dataclasses.replace(verdict, warnings=(*verdict.warnings, *texts))


def _named(layers: Sequence[LayerError], sentence: Callable[[LayerError], str], rest: str) -> list[str]:
    found = [sentence(e) for e in layers[:MOST]]
    return [*found, f"{len(layers) - MOST} {rest}"] if len(layers) > MOST else found


def _badness(error: LayerError) -> float:
    return math.inf if error.born_db is None else error.born_db


def _where(e: LayerError) -> str:
    return e.node if len(e.nodes) < 2 else f"{e.node} or what comes right before it ({', '.join(e.nodes[-4:-1])})"


def _reason(e: LayerError) -> str:
    if e.born_db is None:
        return f"output {e.name!r} is another one, and {_where(e)} is where that begins"
    return f"{_where(e)} was changed: it adds an error of {_db(e.born_db)} to {e.name!r}{_excuse(e)}"


def _doubt(e: LayerError) -> str:
    if e.born_db is None:
        return f"output {e.name!r} differs more than rounding explains, from {_where(e)} on: look at it"
    return f"{_where(e)} differs more than rounding explains: an error of {_db(e.born_db)} in {e.name!r}{_excuse(e)}. It is not sure to be wrong: look at it"


def _excuse(e: LayerError) -> str:
    if e.explained_db is None or e.born_db is None or e.born_db >= e.explained_db:
        return ", all of it in some channels"
    return f", rounding explains {_db(e.explained_db)}"


def _db(value: float) -> str:
    return "all of its signal" if value == -math.inf else f"{value:.1f} dB SQNR"
