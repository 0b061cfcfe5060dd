"""Channel labels: every channel that a layer makes gets a number, and a union-find joins those that must go together.

A label stands for one channel of one layer. `Labels` says, for one value, which label each position of its channel axis
carries and whether the position is known to be constant. Labels that meet (in a residual Add, in a depthwise Conv) are
joined: they form a class, which goes as a whole or stays as a whole. Freezing a label freezes its class.

Label 0 is nobody's channel: a position that cannot go, such as one of a graph input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Labels:
    """The channels of one value.

    Attributes:
        ids: labels, an array with the rank of the value that broadcasts to it: size 1 wherever they do not change.
            They change along one axis at most.
        known: same shape; the number that every element at this position equals, or NaN where that is not known.
    """

    ids: Ids
    known: Numbers

    @classmethod
    def along(cls, axis: int, rank: int, ids: Ids, known: Numbers | None = None) -> Labels:
        """Labels of a value of the given rank, from vectors along one axis. Nothing is known when `known` is left out."""
        shape = [1] * rank
        shape[axis] = -1
        numbers = np.full(len(ids), np.nan) if known is None else known
        return cls(ids.reshape(shape), numbers.reshape(shape))

    @property
    def axis(self) -> int:
        """The axis along which the channels lie."""
        return max(range(self.ids.ndim), key=lambda a: self.ids.shape[a])

    @property
    def rank(self) -> int:
        """The rank of the value."""
        return self.ids.ndim

    @property
    def vector(self) -> Ids:
        """The labels along the channel axis."""
        return self.ids.reshape(-1)

    @property
    def numbers(self) -> Numbers:
        """What is known along the channel axis."""
        return self.known.reshape(-1)

    def moved(self, move: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]) -> Labels:
        """Data movement: the operator carried out on the labels themselves, and on what is known."""
        return Labels(move(self.ids).astype(np.int64), move(self.known).astype(np.float64))


class Channels:
    """The union-find over labels. Joining and freezing are monotone: their order does not change the classes."""

    def __init__(self) -> None:
        self._parent = [0]
        self._why: dict[int, str] = {}

    def __len__(self) -> int:
        """Number of labels, label 0 included."""
        return len(self._parent)

    def fresh(self, count: int) -> Ids:
        """New labels, each a class of its own."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def join(self, left: Ids, right: Ids, why: str) -> None:
        """Let the labels at equal positions go together; what meets label 0 is frozen, for the reason `why`."""
        if left is right or np.array_equal(left, right):
            return
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            if a == 0 or b == 0:
                self._freeze(a or b, why)
            else:
                self._unite(self._find(a), self._find(b))

    def freeze(self, ids: Ids, why: str) -> None:
        """Let the classes of these labels stay. The first reason given to a class is the one that is reported."""
        for a in np.unique(ids).tolist():
            self._freeze(a, why)

    def roots(self) -> Ids:
        """For each label the number of its class, which is its smallest label; 0 where the class is frozen."""
        found = (self._find(a) for a in range(len(self._parent)))
        return np.fromiter((0 if a in self._why else a for a in found), np.int64, len(self._parent))

    def reasons(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Why these labels are frozen, in the order of the labels, each reason once. Label 0 has none."""
        found = (self._why.get(self._find(a)) for a in ids)
        return tuple(dict.fromkeys(w for w in found if w is not None))

    def _find(self, a: int) -> int:
        parent = self._parent
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    def _unite(self, a: int, b: int) -> None:
        low, high = min(a, b), max(a, b)
        if low == high:
            return
        self._parent[high] = low
        why = self._why.pop(high, None)
        if why is not None:
            self._why.setdefault(low, why)

    def _freeze(self, a: int, why: str) -> None:
        if a != 0:
            self._why.setdefault(self._find(a), why)
