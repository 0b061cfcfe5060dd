"""`inspect`: what is in a model, and what could be gained, without writing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError, first_line, root_cause
from onnxzip.inspected import Inspection
from onnxzip.model.contents import dynamic_axes, types_of, weights_of
from onnxzip.model.facts import facts
from onnxzip.model.load import load
from onnxzip.model.signature import signature
from onnxzip.passes.runner import run
from onnxzip.progress import SILENT, Observer
from onnxzip.prune import eliminate
from onnxzip.prune.record import Elimination
from onnxzip.quantize.plan import quantizable
from onnxzip.quantize.targets import target_row
from onnxzip.records import PassRecord
from onnxzip.runtime import Session

T = TypeVar("T")


def inspect(model: Any, *, observer: Observer = SILENT) -> Inspection:
    """Look into a model: interface, operators, weights, and what each stage would gain. Numbers are not checked.

    What fails on the way is noted; the rest is still found out.

    Raises:
        ModelError: the model cannot be read.
    """
    loaded = load(model)
    original, names, notes = loaded.model, signature(loaded.model), list(loaded.notes)
    weights = weights_of(original)

    def attempt(what: str, look: Callable[[], T], otherwise: T) -> T:
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - a look must not end where one of its parts does
            notes.append(f"{what} failed and is left out: {type(error).__name__}: {first_line(root_cause(error))}")
            return otherwise

    untouched: tuple[ir.Model | None, tuple[PassRecord, ...]] = (None, ())
    rewritten, passes = attempt("rewriting", lambda: run(original, observer=observer), untouched)
    multiple = target_row(Config().target).channel_multiple  # as `optimize` does by default
    base = original if rewritten is None else rewritten
    unpruned: tuple[ir.Model | None, Elimination] = (None, Elimination())
    pruned, elimination = attempt("pruning", lambda: eliminate(base, multiple=multiple, observer=observer), unpruned)
    nothing: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    ready, left = attempt("quantization", lambda: quantizable(base if pruned is None else pruned), nothing)
    return Inspection(
        source=loaded.name,
        facts=facts(original),
        producer=" ".join(filter(None, (original.producer_name, original.producer_version))),
        ir_version=original.ir_version or 0,
        opsets=dict(original.graph.opset_imports),
        inputs=tuple(map(str, names.inputs)),
        defaults=tuple(map(str, names.defaults)),
        outputs=tuple(map(str, names.outputs)),
        dynamic=dynamic_axes(original),
        weights=weights,
        types=types_of(weights),
        refused=_refused(original),
        after_rewrite=None if rewritten is None else facts(rewritten),
        passes=passes,
        after_prune=None if pruned is None else facts(pruned),
        removable_channels=elimination.removed,
        quantizable=ready,
        left_float=left,
        rewrite_leaves=_left_by(passes),
        prune_leaves=(*elimination.notes, *elimination.frozen),
        notes=tuple(notes),
    )


def _refused(model: ir.Model) -> str | None:
    try:
        Session(model, level="none")
    except ModelError as error:
        return str(error)
    return None


def _left_by(passes: tuple[PassRecord, ...]) -> tuple[str, ...]:
    """What the passes refused, and the passes that went wrong."""
    taken_back = tuple(f"{p.name} was taken back: {p.taken_back}" for p in passes if p.taken_back)
    return tuple(dict.fromkeys((*taken_back, *(note for p in passes for note in p.notes))))
