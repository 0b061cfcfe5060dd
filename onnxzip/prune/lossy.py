"""Lossy pruning without training: rank on data, remove what costs least for what it saves, re-fit what is left.

1. `rank`: in which order classes of channels go, and what each costs (`importance`); once for any number of ratios.
2. `shrink`: take the cheapest steps over all families until the ratio is reached (`allocate`), cut the tensors (`slice`).
3. `refit`: closed-form least squares, layer by layer, toward the original (`refit`).
4. `search` (a file of its own): the largest ratio that a judge accepts.

The models that are given are never changed; equal calls give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.gather import ROWS, View
from onnxzip.calibrate.probe import Passes, token_mask, values
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.walk import label
from onnxzip.progress import SILENT, Observer
from onnxzip.prune import importance
from onnxzip.prune import refit as refitting
from onnxzip.prune import slice as slicing
from onnxzip.prune.allocate import allocate
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.balance import arrived
from onnxzip.prune.bundles import bundle
from onnxzip.prune.bundles import decision as bundled
from onnxzip.prune.classes import Decision
from onnxzip.prune.facts import Read
from onnxzip.prune.families import Family, families
from onnxzip.prune.fits import Kept
from onnxzip.prune.importance import Ranked
from onnxzip.prune.labels import Flags, Ids
from onnxzip.prune.reduction import Reduction
from onnxzip.prune.rules import analyse
from onnxzip.prune.sizes import Shape, Sizes, needed, sizes
from onnxzip.records import Width
from onnxzip.runtime import Batch, Session
from onnxzip.validate.inputs import make_inputs

BY = ("multiply-adds", "parameters")
"""What a ratio can be of."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """What is known about a model before it is decided how much goes.

    Attributes:
        families: its families.
        ranked: their orders.
        sizes: its costs.
        passes: what the ranking ran.
    """

    families: tuple[Family, ...]
    ranked: Ranked
    sizes: Sizes
    passes: Passes


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A pruned model, what was done, and what is left of each layer (by the name of its output), for `refit`."""

    model: ir.Model
    record: Reduction
    kept: dict[str, Kept]


def rank(model: ir.Model, data: Iterable[Batch], *, rows: int = ROWS, observer: Observer = SILENT) -> Ranking:
    """Rank the channels of a model by what the layers that read them lose on this data.

    Args:
        model: the model, rewritten exactly. It is not changed.
        data: batches of its inputs, the same at each iteration.
        rows: at most so many rows of each layer's input are looked at.
        observer: follows it.

    Raises:
        DataError: there is no batch, or an activation is not finite.
        ModelError: the model does not run.
    """
    state = analyse(model)
    bundle(state)
    roots = state.channels.roots()
    found, passes = families(state, roots), Passes()
    shapes = _shapes(model, data, passes)
    view = View(data, token_mask(model, data), rows, passes, observer)
    ranked = importance.by_output_error(state, roots, found, view)
    return Ranking(tuple(found), ranked, sizes(state, roots, shapes), passes)


def rank_by_magnitude(model: ir.Model) -> Ranking:
    """Rank the channels of a model by the norms of their weights, without data.

    Raises:
        ModelError: no inputs can be made up that the model runs on (which tell how often weights are used).
    """
    state = analyse(model)
    bundle(state)
    roots = state.channels.roots()
    found = families(state, roots)
    shapes = _shapes(model, make_inputs(model, Session(model, level="none"), wanted=1), Passes())
    return Ranking(tuple(found), importance.by_magnitude(state, roots, found), sizes(state, roots, shapes), Passes())


def shrink(model: ir.Model, ranking: Ranking, *, ratio: float, by: str = BY[0], round_to: int = 8) -> Shrunk:
    """Remove the channels that cost least, by a ranking of this very model.

    Args:
        model: the model that was ranked. It is not changed.
        ranking: its ranking.
        ratio: the part of `by` to remove, more than 0 and less than 1.
        by: "multiply-adds" or "parameters".
        round_to: layers that lose channels end at a multiple of this.

    Raises:
        UsageError: a setting is out of range.
    """
    _check(ratio, by, round_to)
    result = model.clone()
    state = analyse(result)
    before = bundle(state)
    gone, _ = allocate(
        ranking.families, ranking.ranked.orders, ranking.sizes.terms(by), ratio, round_to, len(state.channels)
    )
    decision = bundled(state, before, gone)
    kept = {r.node.outputs[0].name or "": _left(decision, r) for r in state.reads}
    record = Reduction(
        by=by,
        asked=ratio,
        multiply_adds=_part(ranking.sizes, "multiply-adds", gone),
        parameters=_part(ranking.sizes, "parameters", gone),
        widths=tuple(_widths(state, decision, round_to)),
        notes=ranking.ranked.notes,
        sweeps=ranking.passes.sweeps,
        passes=ranking.passes.cost,
    )
    slicing.apply(state, decision)
    made = frozenset(label(layer.node) for layer in state.layers)
    if decision.moved is not None and not arrived(state, decision.keeps, analyse(result, made)):
        raise ModelError(
            "channels of grouped layers cannot be told apart behind its shuffles: this model cannot be pruned"
        )
    return Shrunk(result, record, kept)


def _left(decision: Decision, read: Read) -> Kept:
    """What is left of a layer."""
    return Kept(bool(decision.keeps(read.ids).all()), decision.sources(read.outs)[decision.keeps(read.outs)])


def refit(
    original: ir.Model, shrunk: Shrunk, data: Iterable[Batch], *, rows: int = ROWS, observer: Observer = SILENT
) -> tuple[ir.Model, Reduction]:
    """Re-fit what `shrink` left so that it computes what the original does, as nearly as it can.

    Raises:
        DataError: there is no batch, or an activation is not finite.
        ModelError: a model does not run.
    """
    result, passes = shrunk.model.clone(), Passes()
    view = View(data, token_mask(original, data), rows, passes, observer)
    done, notes = refitting.refit(original, analyse(result), shrunk.kept, view)
    old = shrunk.record
    record = replace(
        old,
        refitted=done,
        notes=(*old.notes, *notes),
        sweeps=old.sweeps + passes.sweeps,
        passes=old.passes + passes.cost,
    )
    return result, record


def prune(
    model: ir.Model,
    data: Iterable[Batch],
    *,
    ratio: float,
    by: str = BY[0],
    round_to: int = 8,
    refit: bool = True,
    rows: int = ROWS,
    observer: Observer = SILENT,
) -> tuple[ir.Model, Reduction]:
    """Rank, shrink and re-fit: see there."""
    _check(ratio, by, round_to)
    shrunk = shrink(model, rank(model, data, rows=rows, observer=observer), ratio=ratio, by=by, round_to=round_to)
    if not refit:
        return shrunk.model, shrunk.record
    return _refit(model, shrunk, data, rows=rows, observer=observer)


def prune_by_magnitude(
    model: ir.Model, *, ratio: float, by: str = BY[0], round_to: int = 8
) -> tuple[ir.Model, Reduction]:
    """Prune without data: by the norms of the weights, and nothing is re-fitted."""
    _check(ratio, by, round_to)
    shrunk = shrink(model, rank_by_magnitude(model), ratio=ratio, by=by, round_to=round_to)
    return shrunk.model, shrunk.record


_refit = refit


def _check(ratio: float, by: str, round_to: int) -> None:
    if not 0 < ratio < 1:
        raise UsageError(f"the ratio to prune is {ratio}, but must lie between 0 and 1")
    if by not in BY:
        raise UsageError(f"pruning by {by!r} is not known. Choose {' or '.join(BY)}.")
    if round_to < 1:
        raise UsageError(f"widths cannot be multiples of {round_to}: give 1 or more")


def _shapes(model: ir.Model, data: Iterable[Batch], passes: Passes) -> dict[str, Shape]:
    """Shapes of what layers read and make, on the first batch."""
    first = list(islice(data, 1))
    for _, arrays in values(model, needed(model), first, passes):
        return {name: tuple(array.shape) for name, array in arrays.items()}
    return {}


def _part(found: Sizes, by: str, gone: Flags) -> float:
    whole = found.total(by, np.zeros(len(gone), np.bool_))
    return 1 - found.total(by, gone) / whole if whole else 0.0


def _widths(state: Analysis, decision: Decision, round_to: int) -> Iterator[Width]:
    """A row for each layer that loses channels."""
    owners: dict[int, list[str]] = {}
    for layer in state.layers:
        for root in set(decision.roots[layer.ids].tolist()) - {0}:
            owners.setdefault(root, []).append(label(layer.node))
    for layer in state.layers:
        gone = decision.leaves(layer.ids)
        if gone.any():
            name = label(layer.node)
            others = dict.fromkeys(o for c in decision.roots[layer.ids].tolist() for o in owners.get(c, ()))
            yield Width(
                name=name,
                before=len(gone),
                after=int((~gone).sum()),
                tied=tuple(o for o in others if o != name),
                stayed=_stayed(state, decision.roots, layer.ids[~gone], round_to),
            )


def _stayed(state: Analysis, roots: Ids, ids: Ids, round_to: int) -> tuple[str, ...]:
    frozen = [i for i in ids.tolist() if roots[i] == 0]
    reasons = [f"{len(frozen)}: {'; '.join(state.channels.reasons(frozen))}"] if frozen else []
    free = len(ids) - len(frozen)
    rounded = f", at a width that is a multiple of {round_to}" if len(ids) % round_to == 0 and round_to > 1 else ""
    return (*([f"{free}: in use{rounded}"] if free else []), *reasons)
