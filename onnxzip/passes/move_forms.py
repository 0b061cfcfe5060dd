"""The one operator that moves elements as an array of indices says.

Given what each trial's source and result are (see `index_map`), `form_of` names the cheapest of
1. Keep: nothing moves and the shape stays;
2. Reshape: nothing moves, the shape changes;
3. Transpose: the result's axes are those of the source in another order;
4. Slice: along each axis every k-th element from a start to an end, the number of axes stays;
5. Take: along one axis the elements of a list (Gather), the number of axes stays;
and None when none of them does it in every trial. Symbolic axes are never sliced or taken from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxzip.passes.index_map import Trials


@dataclass(frozen=True)
class Keep:
    """The source itself."""


@dataclass(frozen=True)
class Reshape:
    """To `target`, which may hold 0 (the axis of the source) and one -1."""

    target: tuple[int, ...]


@dataclass(frozen=True)
class Transpose:
    """By `perm`."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """`starts`, `ends` and `steps` along `axes`."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Take:
    """The elements `indices` of `axis`."""

    axis: int
    indices: tuple[int, ...]


Form = Keep | Reshape | Transpose | Slice | Take


def form_of(given: Trials, result: Trials) -> Form | None:
    """The form that gives `result` of `given` in every trial."""
    fixed = _fixed([x.shape for x in given])
    for find in (_reshaped, _transposed, _sliced, _taken):
        found = find(given, result, fixed)
        if found is not None:
            return found
    return None


def _fixed(shapes: Sequence[tuple[int, ...]]) -> tuple[bool, ...]:
    """Which axes have one size in all trials."""
    return (
        tuple(len(set(sizes)) == 1 for sizes in zip(*shapes, strict=True))
        if len(shapes) > 1
        else (True,) * len(shapes[0])
    )


def _reshaped(given: Trials, result: Trials, fixed: tuple[bool, ...]) -> Form | None:
    if any(not np.array_equal(x.reshape(-1), y.reshape(-1)) for x, y in zip(given, result, strict=True)):
        return None
    if all(x.shape == y.shape for x, y in zip(given, result, strict=True)):
        return Keep()
    target: list[int] = []
    for axis, sizes in enumerate(zip(*(y.shape for y in result), strict=True)):
        copied = all(axis < x.ndim and x.shape[axis] == size for x, size in zip(given, sizes, strict=True))
        if len(set(sizes)) == 1:
            target.append(sizes[0])
        else:
            target.append(0 if copied else -1)
    return Reshape(tuple(target)) if target.count(-1) <= 1 else None


def _transposed(given: Trials, result: Trials, fixed: tuple[bool, ...]) -> Form | None:
    perms = {_perm(x, y) for x, y in zip(given, result, strict=True) if 1 not in x.shape} or {
        _perm(given[0], result[0])
    }
    perm = next(iter(perms))
    if len(perms) != 1 or perm is None:
        return None
    same = all(np.array_equal(x.transpose(perm), y) for x, y in zip(given, result, strict=True))
    return Transpose(perm) if same else None


def _perm(x: np.ndarray, y: np.ndarray) -> tuple[int, ...] | None:
    """The order of axes, read from how far one step along each axis of the result goes in the source."""
    if x.ndim != y.ndim or x.size != y.size:
        return None
    stride = [int(np.prod(x.shape[axis + 1 :], dtype=np.int64)) for axis in range(x.ndim)]
    left, perm = list(range(x.ndim)), list[int]()
    for axis, size in enumerate(y.shape):
        step = int(np.take(y, 1, axis).reshape(-1)[0] - y.reshape(-1)[0]) if size > 1 else None
        match = next((a for a in left if x.shape[a] == size and (step is None or stride[a] == step)), None)
        if match is None:
            return None
        left.remove(match)
        perm.append(match)
    return tuple(perm)


def _sliced(given: Trials, result: Trials, fixed: tuple[bool, ...]) -> Form | None:
    cuts = _grids(given, result)
    if cuts is None:
        return None
    axes, starts, ends, steps = list[int](), list[int](), list[int](), list[int]()
    for axis in range(given[0].ndim):
        lists = [c[axis] for c in cuts]
        first = lists[0]
        if all(np.array_equal(c, np.arange(x.shape[axis])) for c, x in zip(lists, given, strict=True)):
            continue
        step = int(first[1] - first[0]) if len(first) > 1 else 1
        if (
            not fixed[axis]
            or step < 1
            or (np.diff(first) != step).any()
            or any(not np.array_equal(c, first) for c in lists)
        ):
            return None
        axes.append(axis)
        starts.append(int(first[0]))
        ends.append(min(int(first[-1]) + step, given[0].shape[axis]))
        steps.append(step)
    return Slice(tuple(axes), tuple(starts), tuple(ends), tuple(steps)) if axes else None


def _taken(given: Trials, result: Trials, fixed: tuple[bool, ...]) -> Form | None:
    cuts = _grids(given, result)
    if cuts is None:
        return None
    found: Take | None = None
    for axis in range(given[0].ndim):
        lists = [c[axis] for c in cuts]
        first = lists[0]
        if all(np.array_equal(c, np.arange(x.shape[axis])) for c, x in zip(lists, given, strict=True)):
            continue
        if found is not None or not fixed[axis] or any(not np.array_equal(c, first) for c in lists):
            return None
        found = Take(axis, tuple(int(i) for i in first))
    return found


def _grids(given: Trials, result: Trials) -> list[list[np.ndarray]] | None:
    """For each trial, which positions of each axis the result has; None when it is no grid in one of them."""
    found = [_grid(x, y) for x, y in zip(given, result, strict=True)]
    grids = [g for g in found if g is not None]
    return grids if len(grids) == len(found) else None


def _grid(x: np.ndarray, y: np.ndarray) -> list[np.ndarray] | None:
    """Which positions of each axis of the source the result is the grid of, in order; None when it is no grid."""
    if x.ndim != y.ndim or y.size == 0:
        return None
    here = np.unravel_index(y, x.shape)
    lists = [np.moveaxis(c, axis, 0).reshape(y.shape[axis], -1)[:, 0] for axis, c in enumerate(here)]
    return lists if np.array_equal(x[np.ix_(*lists)], y) else None
