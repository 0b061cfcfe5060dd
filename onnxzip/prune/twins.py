"""Channels of one value that are equal up to a positive factor: `x_a = f · x_b` on every input.

1. a layer whose rows (weights and bias) are multiples of each other makes twins.
2. what is linear or positively homogeneous, `g(f · x) = f · g(x)` for f > 0 (Relu, pooling), keeps the factor.
3. other operators of one operand keep twins whose factors are equal.
4. a sum keeps twins where both operands are twins in the same proportion, a product where both are: factors multiply.
5. constants take part as numbers: a sum needs them in the proportion of the factors, a product takes their sign.

Groups compare positions of the same value only. Numbers count as equal when they differ by rounding (`TOLERANCE`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxzip.prune.analysis import Analysis
from onnxzip.prune.labels import Ids, Labels, Numbers, Twins

TOLERANCE = 1e-6
"""Relative to the largest number of a row."""

_NEAR = 5e-6
"""How close single precision must bring the projections of two rows for a closer look, for each root of an entry: rounding errors
have either sign."""

HOMOGENEOUS = frozenset({"Abs", "Identity", "LeakyRelu", "Neg", "Relu"})
"""Operators of case 2."""


def of_rows(state: Analysis, blocks: Sequence[np.ndarray], where: np.ndarray, exact: Ids) -> Twins | None:
    """Case 1.

    Args:
        state: gives numbers to groups.
        blocks: all that the values of a channel depend on, linearly, side by side: arrays of shape (channels, any).
        where: channels that may be twins.
        exact: what must be the same besides, one number for each channel.
    """
    sizes = np.asarray([np.abs(b).max(axis=1, initial=0.0) for b in blocks], np.float64)
    factor = np.asarray(sizes.max(axis=0))
    chosen = np.flatnonzero(where & (factor > 0) & np.isfinite(factor))
    chosen = chosen[_crowded(blocks, factor, chosen, exact)]
    if len(chosen) < 2:
        return None
    rows = np.concatenate([b[chosen].astype(np.float64) for b in blocks], axis=1)
    found = _clusters(exact[chosen, None], rows / factor[chosen, None])
    return _numbered(state, found, chosen, factor)


def _crowded(blocks: Sequence[np.ndarray], factor: Numbers, chosen: Ids, exact: Ids) -> np.ndarray:
    """Which of the chosen channels have a neighbour on one line through all of them: the others can have no twin."""
    rng = np.random.default_rng(0)
    place = np.sum([b @ np.asarray(rng.uniform(0.5, 1.5, b.shape[1]), b.dtype) for b in blocks], axis=0)[chosen]
    place = place / factor[chosen]
    order = np.lexsort((place, exact[chosen]))
    size = sum(b.shape[1] for b in blocks)
    near = (np.diff(place[order]) <= _NEAR * np.sqrt(size)) & (np.diff(exact[chosen][order]) == 0)
    found = np.zeros(len(chosen), np.bool_)
    found[order] = np.concatenate([near, [False]]) | np.concatenate([[False], near]) if len(order) else False
    return found


def refined(state: Analysis, twins: Twins | None, *keys: np.ndarray) -> Twins | None:
    """Twins that agree in these numbers as well (one for each position), and are equal, not only proportional: case 3."""
    if twins is None:
        return None
    flat = [np.broadcast_to(k, twins.group.shape).reshape(-1).astype(np.float64) for k in keys]
    rows = np.stack([twins.factor.reshape(-1), *flat], axis=1)
    return _regrouped(state, twins, rows, np.ones(twins.group.size))


def proportional(state: Analysis, twins: Twins | None, key: np.ndarray, factor: np.ndarray) -> Twins | None:
    """Twins that agree in `key`, with a new factor; arrays of the shape of the labels. Cases 4, 5."""
    if twins is None:
        return None
    rows = key.reshape(twins.group.size, -1).astype(np.float64)
    return _regrouped(state, twins, rows, factor.reshape(-1))


def paired(left: Twins | None, right: Twins | None) -> Twins | None:
    """Positions that are twins on both sides: groups of pairs, with the factors of the left side."""
    if left is None or right is None:
        return None
    group, other = np.broadcast_arrays(left.group, right.group)
    both = (group > 0) & (other > 0)
    pairs = np.where(both, group * (int(other.max(initial=0)) + 1) + other, 0)
    return Twins(pairs, np.broadcast_to(left.factor, pairs.shape)) if both.any() else None


def stacked(parts: Sequence[Labels], axis: int) -> Twins | None:
    """Twins in a Concat: of the same part."""
    if all(p.twins is None for p in parts):
        return None
    groups, factors, start = [], [], 0
    for part in parts:
        twins = part.twins or Twins(np.zeros_like(part.ids), np.ones_like(part.known))
        groups.append(np.where(twins.group > 0, twins.group + start, 0))
        factors.append(twins.factor)
        start += int(twins.group.max(initial=0))
    return Twins(np.concatenate(groups, axis), np.concatenate(factors, axis))


def apart(twins: Twins | None, times: int) -> Twins | None:
    """Twins along axis 1, whose positions are repeated as a whole: each copy holds other pixels, and has groups of its own."""
    if twins is None:
        return None
    copy = np.arange(twins.group.shape[1]) // (twins.group.shape[1] // times)
    own = twins.group * times + copy.reshape(-1, *[1] * (twins.group.ndim - 2))
    return Twins(np.where(twins.group > 0, own, 0), twins.factor)


def flat(twins: Twins | None) -> Twins | None:
    """The same as vectors."""
    return None if twins is None else Twins(twins.group.reshape(-1), twins.factor.reshape(-1))


def _regrouped(state: Analysis, twins: Twins, rows: np.ndarray, factor: np.ndarray) -> Twins | None:
    group = twins.group.reshape(-1)
    chosen = np.flatnonzero((group > 0) & np.isfinite(rows).all(axis=1) & (factor > 0) & np.isfinite(factor))
    if len(chosen) < 2:
        return None
    flat = _numbered(state, _clusters(group[chosen, None], rows[chosen]), chosen, factor)
    if flat is None:
        return None
    return Twins(flat.group.reshape(twins.group.shape), flat.factor.reshape(twins.group.shape))


def _numbered(state: Analysis, found: Ids, chosen: Ids, factor: Numbers) -> Twins | None:
    if not found.any():
        return None
    numbers = np.concatenate([[0], state.groups(int(found.max()))])
    group = np.zeros(len(factor), np.int64)
    group[chosen] = numbers[found]
    return Twins(group, np.where(group > 0, factor, 1.0))


def _clusters(exact: Ids, rows: np.ndarray) -> Ids:
    """For each row the number of its cluster, from 1; 0 where a row is alone. Neighbours along a seeded projection are compared."""
    code = np.unique(exact, axis=0, return_inverse=True)[1].reshape(-1)
    direction = np.asarray(np.random.default_rng(0).uniform(0.5, 1.5, rows.shape[1]))
    place = rows @ direction
    order = np.lexsort((place, code))
    size = np.abs(rows).max(axis=1, initial=0.0)[order]
    near = code[order][1:] == code[order][:-1]
    near &= np.abs(np.diff(place[order])) <= TOLERANCE * direction.sum() * size[1:]
    pairs = np.flatnonzero(near)
    if len(pairs):
        distance = np.abs(rows[order[pairs + 1]] - rows[order[pairs]]).max(axis=1)
        near[pairs] = distance <= TOLERANCE * size[pairs]
    number = np.concatenate([[0], np.cumsum(~near)])
    count = np.bincount(number)
    names = np.zeros(len(count), np.int64)
    names[count > 1] = np.arange(1, int((count > 1).sum()) + 1)
    found = np.zeros(len(rows), np.int64)
    found[order] = names[number]
    return found
