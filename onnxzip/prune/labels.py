"""Channel labels: every channel that a layer makes gets a number, and a union-find joins those that must go together.

A label stands for one channel of one layer. `Labels` says, for one value, which label each of its elements carries and
what is known about it. Labels that meet (in a residual Add, in a depthwise Conv) are joined: they form a class, which goes as
a whole or stays as a whole. Freezing a label freezes its class.

Label 0 is nobody's channel: a position that cannot go, such as one of a graph input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxzip.calibrate.arrays import Flags as Flags
from onnxzip.calibrate.arrays import Ids as Ids
from onnxzip.calibrate.arrays import Numbers as Numbers

Move = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Twins:
    """Channels of one value that are the same up to a positive factor.

    Attributes:
        group: equal numbers other than 0 mark twins; the shape of the labels that they belong to.
        factor: the channel is `factor` times what all of its group share; same shape, positive.
    """

    group: Ids
    factor: Numbers


@dataclass(frozen=True, eq=False)
class Labels:
    """The channels of one value.

    Attributes:
        ids: labels, an array with the rank of the value that broadcasts to it: size 1 along axes on which they do not change.
        known: same shape; the number that every element at this position equals, or NaN where that is not known.
        twins: which positions are equal up to a factor, or None when none are.
    """

    ids: Ids
    known: Numbers
    twins: Twins | None = None

    @classmethod
    def along(cls, axis: int, rank: int, ids: Ids, known: Numbers | None = None, twins: Twins | None = None) -> Labels:
        """Labels of a value of the given rank, from vectors along one axis. Nothing is known when `known` is left out."""
        shape = [1] * rank
        shape[axis] = -1
        numbers = np.full(len(ids), np.nan) if known is None else known
        if twins is not None:
            twins = Twins(twins.group.reshape(shape), twins.factor.reshape(shape))
        return cls(ids.reshape(shape), numbers.reshape(shape), twins)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which labels change."""
        return tuple(a for a, size in enumerate(self.ids.shape) if size > 1)

    @property
    def axis(self) -> int:
        """The axis along which they change, where it is a single one."""
        return self.axes[0] if self.axes else max(self.ids.ndim - 1, 0)

    @property
    def rank(self) -> int:
        """The rank of the value."""
        return self.ids.ndim

    @property
    def vector(self) -> Ids:
        """All labels, in order."""
        return self.ids.reshape(-1)

    @property
    def numbers(self) -> Numbers:
        """What is known of each, in order."""
        return self.known.reshape(-1)

    def moved(self, move: Move) -> Labels:
        """Data movement: the operator carried out on the labels themselves, and on all that is known."""
        twins = self.twins
        if twins is not None:
            twins = Twins(move(twins.group).astype(np.int64), move(twins.factor).astype(np.float64))
        return Labels(move(self.ids).astype(np.int64), move(self.known).astype(np.float64), twins)

    def compact(self) -> Labels:
        """The same labels with size 1 along axes on which nothing changes."""
        result = self
        for axis in self.axes:
            first = result.moved(lambda a, axis=axis: a.take([0], axis))  # type: ignore[misc]
            if (result.ids == first.ids).all() and _same(result.known, first.known) and _same_twins(result, first):
                result = first
        return result

    def lifted(self, rank: int) -> Labels:
        """The same labels with as many axes in front as broadcasting to `rank` adds."""
        return self.moved(lambda a: a.reshape((1,) * (rank - self.rank) + a.shape))


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(((left == right) | (np.isnan(left) & np.isnan(right))).all())


def _same_twins(left: Labels, right: Labels) -> bool:
    if left.twins is None or right.twins is None:
        return left.twins is right.twins
    return bool((left.twins.group == right.twins.group).all() and (left.twins.factor == right.twins.factor).all())


class Channels:
    """The union-find over labels. Joining and freezing are monotone: their order does not change the classes.

    Both only take notes; `roots` works all of them in at once, with arrays: pointers go to smaller labels until none changes.
    """

    def __init__(self) -> None:
        self._count = 1
        self._pairs: list[tuple[Ids, Ids]] = []
        self._frozen: list[tuple[Ids, str]] = []
        self._parents: Ids | None = None
        self._first: dict[int, str] | None = None  # the reason of each frozen class, asked for once a channel
        self._starts: list[int] = [0]

    def __len__(self) -> int:
        """Number of labels, label 0 included."""
        return self._count

    def fresh(self, count: int) -> Ids:
        """New labels, each a class of its own."""
        start, self._count = self._count, self._count + count
        self._forget()
        self._starts.append(start)
        return np.arange(start, start + count, dtype=np.int64)

    def owners(self) -> Ids:
        """For each label which call of `fresh` made it, counted from 1; 0 for label 0."""
        return np.searchsorted(self._starts, np.arange(self._count), side="right") - 1

    def join(self, left: Ids, right: Ids, why: str) -> None:
        """Let the labels at equal positions go together; what meets label 0 is frozen, for the reason `why`."""
        if left is right:
            return
        differ = left != right
        if not differ.any():
            return
        left, right = np.broadcast_to(left, differ.shape)[differ], np.broadcast_to(right, differ.shape)[differ]
        lone = (left == 0) | (right == 0)
        self.freeze(left[lone] + right[lone], why)
        self._pairs.append((left[~lone], right[~lone]))
        self._forget()

    def freeze(self, ids: Ids, why: str) -> None:
        """Let the classes of these labels stay. The first reason given to a class is the one that is reported."""
        own = np.unique(ids)
        if own.any():
            self._frozen.append((own[own != 0], why))
            self._first = None

    def roots(self) -> Ids:
        """For each label the number of its class, which is its smallest label; 0 where the class is frozen."""
        parents = self._forest().copy()
        frozen = np.zeros(self._count, np.bool_)
        for ids, _ in self._frozen:
            frozen[parents[ids]] = True
        parents[frozen[parents]] = 0
        return parents

    def reasons(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Why these labels are frozen, in the order of the labels, each reason once. Label 0 has none."""
        parents = self._forest()
        if self._first is None:
            self._first = {}
            for own, why in reversed(self._frozen):
                self._first.update(dict.fromkeys(parents[own].tolist(), why))
        found = [self._first.get(int(parents[a])) for a in ids]
        return tuple(dict.fromkeys(w for w in found if w is not None))

    def _forget(self) -> None:
        """What was worked out of the notes is no longer true."""
        self._parents = self._first = None

    def _forest(self) -> Ids:
        if self._parents is None:
            self._parents = _components(self._count, self._pairs)
        return self._parents


def _components(count: int, pairs: Sequence[tuple[Ids, Ids]]) -> Ids:
    """The smallest label of each label's component: hook larger roots onto smaller ones, then jump pointers."""
    parents = np.arange(count, dtype=np.int64)
    if not pairs:
        return parents
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    while True:
        a, b = parents[left], parents[right]
        if (a == b).all():
            return parents
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
        while (parents[parents] != parents).any():
            parents = parents[parents]


def extents(keep: Flags) -> tuple[int, ...]:
    """The shape of what stays: along each axis how many are kept, each in all rows alike.

    Raises:
        ValueError: what stays is no block: rows that keep something keep different numbers.

    >>> extents(np.array([[True, False, True], [False, False, False], [False, True, True]]))
    (2, 2)
    """
    if keep.ndim == 1:
        return (int(keep.sum()),)
    rows = {extents(row) for row in keep if row.any()}
    if len(rows) > 1:
        raise ValueError(f"rows keep different numbers of channels: {sorted(rows)}")
    return (int(keep.reshape(len(keep), -1).any(axis=1).sum()), *(rows.pop() if rows else (0,) * (keep.ndim - 1)))
