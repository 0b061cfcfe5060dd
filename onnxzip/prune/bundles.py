"""Classes that must go together because something is balanced, for pruning by importance.

Exact elimination takes what does nothing, wherever it lies (`onnxzip.prune.balance`). Pruning has a choice: of each cell of a family the
least important classes make a bundle, then the next ones, and so on, so that a bundle goes as if it were one class.
"""

from __future__ import annotations

import numpy as np

from onnxzip.prune.analysis import Analysis
from onnxzip.prune.balance import Family, exchanged, families
from onnxzip.prune.classes import Decision
from onnxzip.prune.labels import Flags, Ids, Numbers


def bundle(state: Analysis) -> tuple[Ids, list[Family]]:
    """Join the classes of each bundle in the analysis, and freeze those that cannot be pruned.

    Returns:
        The classes as they were before, and their families, for `decision`.
    """
    roots = state.channels.roots()
    found = families(state, roots)
    norms = magnitudes(state, roots) if found else np.zeros(0)
    for family in found:
        unit = family.unit
        if unit is None:
            state.channels.freeze(np.concatenate(family.cells), family.why)
            continue
        ordered = [cell[np.argsort(norms[cell], kind="stable")] for cell in family.cells]
        count = min(len(cell) // n for cell, n in zip(ordered, unit.tolist(), strict=True))
        for k in range(count):
            own = np.concatenate([c[k * n : (k + 1) * n] for c, n in zip(ordered, unit.tolist(), strict=True)])
            state.channels.join(own[:-1], own[1:], family.why)
        rest = np.concatenate([c[count * n :] for c, n in zip(ordered, unit.tolist(), strict=True)])
        state.channels.freeze(rest, family.why)
    for ids in state.used:
        state.channels.freeze(ids, "a product of two computed operands takes it up")
    return roots, found


def decision(state: Analysis, before: tuple[Ids, list[Family]], gone: Flags) -> Decision:
    """What goes, in terms of the classes before bundling; `gone` is indexed by those after it."""
    roots, found = before
    away = gone[state.channels.roots()]
    away[0] = False
    none = np.zeros(len(roots), np.bool_)
    vacant, moved = exchanged(state, roots, found, ~away) or (None, None)
    return Decision(roots, away, none, none, {}, vacant, moved, tuple(found))


def magnitudes(state: Analysis, roots: Ids) -> Numbers:
    """By class, the mean squared norm of all weights that make or read it, each weight relative to the mean over its classes."""
    norms, used = np.zeros(len(roots)), np.zeros(len(roots))
    for (node, index), cuts in state.cuts.items():
        content = state.floats(node.inputs[index]) if index < len(node.inputs) else None
        if content is None or content.ndim < 2:
            continue
        for cut in cuts:
            view = content.reshape(cut.groups, -1, *content.shape[1:]) if cut.groups > 1 else content
            lines = np.moveaxis(view, cut.axes, range(len(cut.axes))).reshape(cut.ids.size, -1).astype(np.float64)
            classes = roots[cut.ids.reshape(-1)]
            own = np.bincount(classes, (lines**2).sum(axis=1), len(roots))
            here = np.unique(classes)
            norms[here] += own[here] / max(float(own[here].mean()), 1e-30)
            used[here] += 1
    return np.asarray(norms / np.maximum(used, 1))
