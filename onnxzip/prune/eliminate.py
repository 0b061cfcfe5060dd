"""Exact elimination: channels that do nothing are removed, and the model computes what it did.

1. a channel that is constant 0 goes.
2. a channel that nothing needs goes, with all that only feeds it.
3. a channel that is another constant goes where the biases behind it take it, or merges with another constant one.
4. a channel that is a positive multiple of another one merges with it: the layers behind add their weights up.

Exact means: equal up to the rounding of the sums (the same products are added, fewer of them, zeros left out).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import label
from onnxzip.progress import SILENT, Observer
from onnxzip.prune import slice as slicing
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.balance import arrived
from onnxzip.prune.classes import Decision, decide
from onnxzip.prune.labels import Ids
from onnxzip.prune.record import Elimination
from onnxzip.prune.rules import analyse
from onnxzip.records import Width

ROUNDS = 8
"""One round finds all there is, but for what the merging of constants sets free; each round removes at least one channel."""

_STUCK = "constant, but a layer that reads it can neither fold nor merge it"
_NO_BIAS = "has no bias that takes a constant"
_PADS = "pads with zeros, so that a constant does not fit its bias"


def eliminate(model: ir.Model, *, multiple: int = 1, observer: Observer = SILENT) -> tuple[ir.Model, Elimination]:
    """Remove the channels that provably do nothing.

    Args:
        model: the model. It is not changed; tensors that stay as they are are shared with the result.
        multiple: widths that are multiples of this stay multiples, by keeping the fewest spare channels.
        observer: follows the rounds.

    Returns:
        The smaller model, and the record of what went and why the rest stayed.

    Raises:
        ValueError: `multiple` is less than 1.
    """
    if multiple < 1:
        raise ValueError(f"multiple is {multiple}, but must be at least 1")
    result, record = model.clone(), Elimination()
    with observer.step("remove channels") as advance:
        state = analyse(result)
        exchange = True
        for _ in range(ROUNDS):
            decision = decide(state, multiple, exchange=exchange)
            found = _record(state, decision, multiple)
            if not found.removed:
                record = _combine(record, found)
                break
            result, state, done = _carried_out(result, state, decision)
            if done:
                record = _combine(record, found)
                advance()
            exchange = done  # what stood in the way may be gone after a round without
    return result, record


def _carried_out(model: ir.Model, state: Analysis, decision: Decision) -> tuple[ir.Model, Analysis, bool]:
    """The model without what goes, its analysis, and whether it was done.

    Where channels change places, and shuffles do not bring each of them to its own, the model is given back as it was.
    """
    before = None if decision.moved is None else model.clone()
    slicing.apply(state, decision)
    if before is not None:
        made = frozenset(label(layer.node) for layer in state.layers)
        if not arrived(state, decision.keeps, analyse(model, made)):
            return before, analyse(before), False
    return model, analyse(model), True


def _record(state: Analysis, decision: Decision, multiple: int) -> Elimination:
    rows = tuple(_rows(state, decision, multiple))
    return Elimination(
        widths=tuple(w for w in rows if w.after < w.before),
        whole=tuple(w for w in rows if w.after == w.before),
        notes=tuple(_notes(state, decision)),
        frozen=tuple(dict.fromkeys(f"{s.why}: {_count(s.channels, 'channel')} kept" for s in state.stops)),
    )


def _rows(state: Analysis, decision: Decision, multiple: int) -> Iterator[Width]:
    owners: dict[int, set[str]] = {}
    for layer in state.layers:
        for root in set(decision.roots[layer.ids].tolist()) - {0}:
            owners.setdefault(root, set()).add(label(layer.node))
    order = {label(layer.node): i for i, layer in enumerate(state.layers)}
    for layer in state.layers:
        gone = decision.leaves(layer.ids)
        name = label(layer.node)
        others = {o for root in decision.roots[layer.ids].tolist() for o in owners.get(root, ())}
        yield Width(
            name=name,
            before=len(gone),
            after=int((~gone).sum()),
            tied=tuple(sorted(others - {name}, key=order.__getitem__)),
            stayed=_stayed(state, decision, layer.ids[~gone], multiple),
        )


def _stayed(state: Analysis, decision: Decision, ids: Ids, multiple: int) -> tuple[str, ...]:
    """Why channels stayed: one phrase a reason."""
    spare = f"spare, so that the width stays a multiple of {multiple}" if multiple > 1 else "the last one"
    balanced = {r: f.why for f in decision.families for cell in f.cells for r in cell.tolist()}
    reasons: Counter[str] = Counter()
    for i, root in zip(ids.tolist(), decision.roots[ids].tolist(), strict=True):
        if root == 0:
            reasons.update(state.channels.reasons([i]))
        elif decision.spared[root]:
            reasons[balanced.get(root, spare)] += 1
        else:
            reasons[_STUCK if decision.stuck[root] else "in use"] += 1
    return tuple(f"{count}: {reason}" for reason, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))


def _notes(state: Analysis, decision: Decision) -> Iterator[str]:
    """Constant channels that stay."""
    for stop in state.stops:
        if stop.constant:
            yield f"{stop.why}: {_count(stop.constant, 'constant channel')} kept"
    for read in state.reads:
        why = _PADS if not read.uniform else _NO_BIAS
        held = decision.stuck[decision.roots[read.ids]] & ~decision.leaves(read.ids) & ~read.absorbed
        held &= np.isfinite(read.known)
        if held.any():
            yield f"{label(read.node)} {why}: {_count(int(held.sum()), 'constant channel')} kept"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _combine(first: Elimination, second: Elimination) -> Elimination:
    """The record of two rounds; what stays is known at the end."""
    rows = {w.name: w for w in first.widths}
    for w in second.widths:
        before = rows[w.name].before if w.name in rows else w.before
        rows[w.name] = Width(name=w.name, before=before, after=w.after, tied=w.tied, stayed=w.stayed)
    whole = tuple(w for w in second.whole if w.name not in rows)
    return Elimination(widths=tuple(rows.values()), notes=second.notes, frozen=second.frozen, whole=whole)
