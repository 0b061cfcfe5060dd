"""In which order the classes of each family go, and what each costs.

With data: what the layers that read a class lose by least squares (see `obs`), relative to the variance of what they make, summed
over them. Where a bias takes the mean, the covariance is centred. Ridge: λ = 3 (d / n) · mean diagonal, so that noise in few
rows is no reason to trust. A family with a reader that has fewer than d / 2 rows stays.

Without data: the L2 norm of all weights that make or read a class, each weight relative to the mean over its classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxzip.calibrate.gather import Look, View, chunks, gather
from onnxzip.calibrate.moments import Moments, ridge
from onnxzip.calibrate.patches import site_of
from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.bundles import magnitudes
from onnxzip.prune.facts import Read
from onnxzip.prune.families import Family, Order
from onnxzip.prune.labels import Ids, Numbers
from onnxzip.prune.obs import Reader, Separate, greedy, sum_of
from onnxzip.prune.sensitivity import TRIED, Change, Few, Trial, every, scaled
from onnxzip.prune.write import held_bias

ENOUGH = 0.5
"""Rows for each input of a layer, for its family to be pruned by what they say."""

STAY = 16
"""The part of a family that is never ranked, as a divisor."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """The order of each family, None for those that stay, and why those do."""

    orders: tuple[Order | None, ...]
    notes: tuple[str, ...] = ()


def by_output_error(state: Analysis, roots: Ids, families: Sequence[Family], view: View) -> Ranked:
    """Rank all families by what their readers lose on the data.

    Raises:
        DataError: there is no batch, or an activation is not finite.
        ModelError: the model does not run.
    """
    reads = [_readers(state, roots, f) for f in families]
    looks = [[_look(r) for r in own] for own in reads]
    orders: list[Order | None] = [None] * len(families)
    trials: list[Trial | None] = [None] * len(families)
    notes: list[str] = []
    for numbers in chunks(looks):
        unique = {k.name: k for n in numbers for k in looks[n]}
        pairs = gather(state.model, list(unique.values()), view, "look at what layers read") if unique else {}
        found = {name: pair[0].joined(pair[1]) for name, pair in pairs.items()}
        with view.observer.step("rank channels", len(numbers)) as done:
            for n in numbers:
                why = _stays(state, roots, families[n], reads[n], found)
                if why is None:
                    own = [reader for r in reads[n] for reader in _columns(r, found[_name(r)], roots, families[n])]
                    orders[n] = order = _order(families[n], own)
                    trials[n] = _trial(order, reads[n], found, roots, families[n])
                else:
                    notes.append(f"{families[n].name}: stays, for {why}")
                done()
    few = Few(view.data, every(view.data))
    return Ranked(tuple(scaled(state.model, orders, trials, few, view)), tuple(notes))


def _stays(
    state: Analysis, roots: Ids, family: Family, reads: Sequence[Read], found: Mapping[str, Moments]
) -> str | None:
    """Why a family cannot be ranked by what was seen, or None."""
    strange = _unseen(state, roots, family)
    if strange is not None:
        return strange
    short = next((r for r in reads if _too_few(r, found[_name(r)])), None)
    if short is None:
        return None
    rows, width = found[_name(short)].count, _width(short) // short.groups
    return f"{label(short.node)} reads {width} inputs and there are {rows} rows only"


def by_magnitude(state: Analysis, roots: Ids, families: Sequence[Family]) -> Ranked:
    """Rank all families by the norms of their weights."""
    norms = magnitudes(state, roots)
    orders = []
    for family in families:
        costs = norms[family.classes]
        order = np.argsort(costs, kind="stable")[: len(costs) - max(1, len(costs) // STAY)]
        orders.append(Order(family.classes[order], costs[order]))
    return Ranked(tuple(orders))


def _order(family: Family, readers: Sequence[Reader]) -> Order:
    count = len(family.classes)
    stay = max(1, count // STAY)
    if all(isinstance(r, Separate) for r in readers):
        costs = sum_of(readers, count)
        order = np.argsort(costs, kind="stable")[: count - stay]
        return Order(family.classes[order], costs[order])
    order, costs = greedy(readers, count, stay)
    return Order(family.classes[order], costs)


def _trial(order: Order, reads: Sequence[Read], found: Mapping[str, Moments], roots: Ids, family: Family) -> Trial:
    """The readers without the first classes to go, for `sensitivity`."""
    size = min(max(1, len(family.classes) // TRIED), len(order.classes))
    gone = np.searchsorted(family.classes, order.classes[:size])
    changes = []
    for read in reads:
        moments, taps = found[_name(read)], read.taps
        new, shift = [], []
        for group, reader in enumerate(_columns(read, moments, roots, family)):
            full, out = reader.weights.copy(), np.isin(reader.owners, gone)
            reader.remove(gone)
            full[:, out] = 0
            if not isinstance(reader, Separate):
                full[:, ~out] = reader.weights
            new.append(full)
            shift.append((_blocks(read)[group] - full) @ (moments.total[group] / moments.count))
        matrix = np.concatenate(new)
        if _points(read):
            matrix = matrix.reshape(len(taps), -1, len(read.ids)).swapaxes(1, 2)
        bias = None
        if read.bias is not None:
            bias = held_bias(read.bias, len(read.outs)) + read.alpha / read.beta * np.concatenate(shift)
        changes.append(Change(read, matrix.reshape(taps.shape), bias))
    return Trial(tuple(changes), float(order.costs[:size].sum()))


def _readers(state: Analysis, roots: Ids, family: Family) -> list[Read]:
    return [r for r in state.reads if np.isin(roots[r.ids], family.classes).any() and site_of(r.node) is not None]


def _unseen(state: Analysis, roots: Ids, family: Family) -> str | None:
    """Why the loss of a reader cannot be told or made up for, or None when it can for all of them."""
    for read in state.reads:
        strange = site_of(read.node) is None
        if (strange or read.quantized) and np.isin(roots[read.ids], family.classes).any():
            name = label(read.node)
            return f"what {name} makes of it is not known" if strange else f"{name} is quantized: prune the float model"
    return None


def _name(read: Read) -> str:
    return read.node.outputs[0].name or ""


def _points(read: Read) -> bool:
    return read.node.op_type == "ConvTranspose"


def _width(read: Read) -> int:
    return len(read.ids) * (1 if _points(read) else read.taps.shape[2])


def _look(read: Read) -> Look:
    site, value = site_of(read.node), read.node.inputs[0]
    if site is None or value is None:
        raise ValueError(f"{label(read.node)} reads nothing")
    return Look(_name(read), value.name or "", site, _width(read), read.groups)


def _too_few(read: Read, moments: Moments) -> bool:
    return moments.count < ENOUGH * _width(read) / read.groups


def _columns(read: Read, moments: Moments, roots: Ids, family: Family) -> list[Reader]:
    """The groups of one layer, each as a reader of this family."""
    taps = 1 if _points(read) else read.taps.shape[2]
    index = np.full(len(roots), -1, np.int64)
    index[family.classes] = np.arange(len(family.classes))
    owners = np.repeat(index[roots[read.ids]], taps).reshape(read.groups, -1)
    blocks = _blocks(read)
    centred = read.bias is not None
    found = [moments.covariance(g, centred=centred) for g in range(read.groups)]
    scale = sum(_energy(w, c) for w, c in zip(blocks, found, strict=True))
    return [_reader(w, c, o, max(scale, 1e-30), moments.count) for w, c, o in zip(blocks, found, owners, strict=True)]


def _blocks(read: Read) -> Numbers:
    """The weights of each group, shape (groups, outputs, inputs)."""
    weights = read.taps.astype(np.float64)
    weights = weights.swapaxes(1, 2).reshape(-1, len(read.ids)) if _points(read) else weights.reshape(len(weights), -1)
    return np.asarray(weights.reshape(read.groups, -1, weights.shape[1]))


def _energy(weights: Numbers, covariance: Numbers) -> float:
    """`tr(W C Wᵀ)`."""
    if covariance.ndim == 1:
        return float((weights**2).sum(axis=0) @ covariance)
    return float(((weights @ covariance) * weights).sum())


def _reader(weights: Numbers, covariance: Numbers, owners: Ids, scale: float, count: int) -> Reader:
    if covariance.ndim == 1:
        return Separate(weights, covariance, owners, scale)
    inverse = np.linalg.inv(covariance + ridge(covariance, count) * np.eye(len(covariance)))
    return Reader(weights, (inverse + inverse.T) / 2, owners, scale)
