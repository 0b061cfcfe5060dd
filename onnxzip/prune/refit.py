"""Re-fitting the layers of a pruned model in closed form, on data, without training.

In topological order, each layer on the input that the pruned model gives it by then, toward the original's output (see `fits`):

    W = W₀ + (S_yx − W₀ S_xx)(S_xx + λI)⁻¹,    b = mean(y) − W mean(x),    λ = s · (d / n) · mean diagonal of S_xx

with centred moments where there is a bias, uncentred ones and no b where there is none. W₀ are the weights that pruning left. How
far to go from them is asked of the data, layer by layer: s is the one of `STRENGTHS` that is best by two-fold cross-validation
(fit on one half of the rows, judge on the other, and the reverse). It is asymmetric (Xiao et al. 2023; Frantar & Alistarh 2022 for
the form): the input carries the errors of earlier layers, the target does not, and each layer makes up for what it can. Grouped
layers are solved group by group. A layer with fewer than d / 2 rows keeps its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.gather import Look, View, gather
from onnxzip.calibrate.moments import LIMIT_BYTES, Moments, ridge
from onnxzip.calibrate.patches import sample
from onnxzip.calibrate.probe import real_tokens, values
from onnxzip.model import edit
from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.fits import Fit, Kept, plan
from onnxzip.prune.labels import Numbers
from onnxzip.prune.write import put, put_weights

ENOUGH = 0.5
"""Rows for each input of a layer, for it to be re-fitted."""

STRENGTHS = (3.0, 1.0, 0.3, 0.03, 0.001)
"""Candidates for s. Stronger ones changed nothing that could be measured; to leave a layer alone where no fit carries over from half to
half was worse."""

_Halves = tuple[Moments, Moments]

_Stored = dict[str, list[np.ndarray]]


def refit(original: ir.Model, state: Analysis, kept: Mapping[str, Kept], view: View) -> tuple[int, list[str]]:
    """Re-fit the analysed (pruned) model in place.

    Args:
        original: the model that was pruned; values have the same names.
        state: the analysis of the pruned model.
        kept: what is left of each layer, by the name of its output.
        view: the data.

    Returns:
        How many layers were re-fitted, and why others were not.
    """
    fits, notes = plan(state, kept)
    names = edit.Names(state.model)
    done = 0
    with view.observer.step("re-fit layers", len(fits)) as advance:
        for part in _within_memory(fits, lambda f: 4 * view.rows * f.channels):  # one pass over the original for each
            stored = _targets(original, part, view)
            for level in dict.fromkeys(f.level for f in part):
                own = [f for f in part if f.level == level]
                for together in _within_memory(own, lambda f: f.look.bytes):
                    found = _look(state.model, together, stored, view)
                    for fit in together:
                        why = _solve(state, fit, found[fit.look.name], names)
                        if why:
                            notes.append(f"{label(fit.read.node)}: not re-fitted, for {why}")
                        done += not why
                        advance()
    return done, notes


def _within_memory(fits: Sequence[Fit], size: Callable[[Fit], int]) -> list[list[Fit]]:
    """Layers in sets that fit into memory together, in order; a layer that does not fit at all is a set of its own."""
    found: list[list[Fit]] = []
    room = 0
    for fit in fits:
        if not found or size(fit) > room:
            found.append([])
            room = LIMIT_BYTES
        found[-1].append(fit)
        room -= size(fit)
    return found


def _targets(original: ir.Model, fits: Sequence[Fit], view: View) -> _Stored:
    """What the original computes, at the places where the layers are looked at; a list by batch for each layer."""
    stored: _Stored = {f.look.name: [] for f in fits}
    points = [f.point for f in fits]
    looking = values(original, points, view.data, view.passes, view.observer, "look at the original")
    for number, (batch, arrays) in enumerate(looking):
        for fit in fits:
            site, array = fit.look.site, arrays[fit.point]
            grid = site.grid_of_outputs(array.shape)
            where = sample(grid, view.limit(), number, real_tokens(batch, view.mask, grid))
            stored[fit.look.name].append(site.targets(array, where)[:, fit.outs])
    return stored


def _look(model: ir.Model, fits: Sequence[Fit], stored: _Stored, view: View) -> dict[str, _Halves]:
    """Moments of inputs and targets of layers on the pruned model as it is."""
    by_name = {f.look.name: f for f in fits}

    def targets(look: Look, number: int, where: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        fit = by_name[look.name]
        aim = stored[look.name][number].astype(np.float64)
        if fit.shortcut is None:
            return aim
        grid = look.site.grid(arrays[look.value].shape)
        other = np.broadcast_to(arrays[fit.shortcut], look.site.shape_of_outputs(grid, fit.channels))
        return np.asarray(aim - look.site.targets(other, where))

    return gather(
        model,
        [f.look for f in fits],
        view,
        "look at the pruned model",
        outputs={f.look.name: f.channels for f in fits},
        more=[f.shortcut for f in fits if f.shortcut is not None],
        targets=targets,
    )


def _solve(state: Analysis, fit: Fit, halves: _Halves, names: edit.Names) -> str:
    """Fit one layer and write it into the model; why not, where it cannot be."""
    read, moments = fit.read, halves[0].joined(halves[1])
    width = moments.width // moments.groups
    if moments.diagonal:
        return f"its {width} inputs are too many"
    if moments.count < ENOUGH * width:
        return f"its {width} inputs were seen in {moments.count} rows only"
    old = read.node.inputs[1]
    tensor = None if old is None else old.const_value
    if old is None or tensor is None:
        return "its weights are not there"
    start = read.alpha * read.taps.astype(np.float64).reshape(moments.groups, -1, width)
    strength = _strength(start, halves, centred=fit.bias is not None)
    solved = [_solution(w, moments, g, strength, centred=fit.bias is not None) for g, w in enumerate(start)]
    weights = np.concatenate([w for w, _ in solved]).reshape(read.taps.shape) / read.alpha
    bias = np.concatenate([b for _, b in solved]) / read.beta
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        return "the fit is not finite"
    put_weights(state.model, read.node, read, weights, names)
    if fit.bias is not None:
        put(state.model, fit.bias, bias.astype(tensor.dtype.numpy()), names)
    return ""


def _strength(start: Numbers, halves: _Halves, *, centred: bool) -> float:
    """The best of `STRENGTHS` by cross-validation; ties go to the stronger."""
    if min(h.count for h in halves) < 2:
        return STRENGTHS[0]
    errors = []
    for strength in STRENGTHS:
        error = 0.0
        for mine, other in (halves, halves[::-1]):
            for g, old in enumerate(start):
                weights, bias = _solution(old, mine, g, strength, centred=centred)
                error += other.error(weights, bias, g)
        errors.append(error)
    return STRENGTHS[int(np.argmin(errors))]


def _solution(
    start: Numbers, moments: Moments, group: int, strength: float, *, centred: bool
) -> tuple[Numbers, Numbers]:
    """W and b of one group."""
    covariance = moments.covariance(group, centred=centred)
    cross = moments.covariance_with_target(group, centred=centred)
    damped = covariance + ridge(covariance, moments.count, strength) * np.eye(len(covariance))
    weights = start + np.linalg.solve(damped, cross - covariance @ start.T).T
    if not centred:
        return weights, np.zeros(len(start))
    return weights, (moments.aim[group] - weights @ moments.total[group]) / moments.count
