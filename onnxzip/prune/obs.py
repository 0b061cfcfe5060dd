"""Greedy group OBS (optimal brain surgeon): the order in which columns of a linear layer go, the rest making up for them.

For weights W (M, d) and the covariance H = C + λI of the input, removing the columns g and letting the others adapt costs

    Δ(g) = tr(W_g · (H⁻¹_gg)⁻¹ · W_gᵀ),    W ← W − W_g (H⁻¹_gg)⁻¹ H⁻¹_g:,    H⁻¹ ← H⁻¹ − H⁻¹_:g (H⁻¹_gg)⁻¹ H⁻¹_g:

(Hassibi & Stork 1993; groups as in Frantar & Alistarh 2022), which is exact: the costs of one removal after the other add
up to the error of the least-squares fit on what stays. The least of the sums over all readers goes first.

Large families go in blocks: within a block the choice is exact among the cheapest candidates, all others follow once it is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxzip.prune.labels import Flags, Ids, Numbers

BLOCKS = 24
"""The part of the remaining groups that goes at once, as a divisor; one by one below this many."""

CANDIDATES = 4
"""Candidates for a block, in blocks."""


class Reader:
    """A linear layer as it stands, some of its columns removed.

    Args:
        weights: W, shape (M, d).
        inverse: H⁻¹, shape (d, d).
        owners: by column, the group that owns it, or -1 for columns that always stay.
        scale: what costs are divided by.
    """

    def __init__(self, weights: Numbers, inverse: Numbers, owners: Ids, scale: float) -> None:
        self.weights, self.inverse, self.owners, self.scale = weights, inverse, owners, scale

    def costs(self, groups: int) -> Numbers:
        """Δ of each group, 0 for groups that have no column here."""
        found = np.zeros(groups)
        for members, columns in _alike(self.owners):
            if columns.shape[1] == 1:
                at = columns[:, 0]
                power = np.einsum("mk,mk->k", self.weights[:, at], self.weights[:, at])
                found[members] += power / self.inverse[at, at]
                continue
            own = self.inverse[columns[:, :, None], columns[:, None, :]]
            picked = self.weights.T[columns]
            found[members] += np.trace(np.linalg.solve(own, picked @ picked.swapaxes(1, 2)), axis1=1, axis2=2)
        return found / self.scale

    def remove(self, groups: Ids) -> None:
        """Let groups go, and the others adapt."""
        out = np.isin(self.owners, groups)
        if not out.any():
            return
        keep = ~out
        rows = self.inverse[out]
        pull = np.linalg.solve(rows[:, out], rows[:, keep])
        self.weights = self.weights[:, keep] - self.weights[:, out] @ pull
        push, self.inverse = self.inverse[keep][:, out], self.inverse[keep][:, keep]
        self.inverse -= push @ pull
        self.owners = self.owners[keep]

    def restricted(self, groups: Ids) -> Reader:
        """The part that says what removals among these groups cost."""
        at = np.flatnonzero(np.isin(self.owners, groups))
        return Reader(self.weights[:, at], self.inverse[np.ix_(at, at)], self.owners[at], self.scale)


def greedy(readers: Sequence[Reader], groups: int, stay: int) -> tuple[Ids, Numbers]:
    """Remove all groups but `stay`, cheapest first; their numbers in that order and what each cost."""
    order: list[int] = []
    costs: list[float] = []
    alive = np.ones(groups, np.bool_)
    while (left := int(alive.sum())) > stay:
        size = min(max(1, left // BLOCKS), left - stay)
        if size == 1:
            chosen, prices = _cheapest(readers, alive, 1)
        else:
            total = np.where(alive, sum_of(readers, groups), np.inf)
            candidates = np.argsort(total, kind="stable")[: min(left, CANDIDATES * size)]
            among = np.zeros(groups, np.bool_)
            among[candidates] = True
            chosen, prices = _cheapest([r.restricted(candidates) for r in readers], among, size)
        order += chosen
        costs += prices
        alive[chosen] = False
        for reader in readers:
            reader.remove(np.array(chosen))
    return np.array(order, np.int64), np.array(costs)


def sum_of(readers: Sequence[Reader], groups: int) -> Numbers:
    """Δ of each group over all readers."""
    total = np.zeros(groups)
    for reader in readers:
        total += reader.costs(groups)
    return total


def _cheapest(readers: Sequence[Reader], alive: Flags, count: int) -> tuple[list[int], list[float]]:
    """The next `count` groups one by one; readers are changed when there are several."""
    chosen: list[int] = []
    prices: list[float] = []
    left = alive.copy()
    while len(chosen) < count:
        total = np.where(left, sum_of(readers, len(left)), np.inf)
        pick = int(np.argmin(total))
        chosen.append(pick)
        prices.append(max(0.0, float(total[pick])))
        left[pick] = False
        if len(chosen) < count:
            for reader in readers:
                reader.remove(np.array([pick]))
    return chosen, prices


def _alike(owners: Ids) -> list[tuple[Ids, Ids]]:
    """Groups with equally many columns: their numbers and their columns (groups, columns each)."""
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] >= 0]
    members, starts, counts = np.unique(owners[order], return_index=True, return_counts=True)
    found = []
    for size in np.unique(counts).tolist():
        which = counts == size
        found.append((members[which], order[starts[which][:, None] + np.arange(size)]))
    return found


class Separate(Reader):
    """A reader whose inputs are taken to be independent, for those too wide for a covariance: `Δ(g) = Σ_k∈g |W_k|² · C_kk`."""

    def __init__(self, weights: Numbers, variances: Numbers, owners: Ids, scale: float) -> None:
        super().__init__(weights, variances, owners, scale)
        self.power = np.einsum("mk,mk->k", weights, weights) * variances

    def costs(self, groups: int) -> Numbers:
        """Δ of each group, 0 for groups that have no column here."""
        own = self.owners >= 0
        return np.asarray(np.bincount(self.owners[own], self.power[own], groups) / self.scale)

    def remove(self, groups: Ids) -> None:
        """Nothing adapts."""

    def restricted(self, groups: Ids) -> Reader:
        """The same."""
        return self
