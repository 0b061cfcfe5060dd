"""Channels of which equally many must stay: the groups of a Conv, the rows of a channel shuffle.

Any choice will do as long as the numbers agree, for channels that stand in the same places can change places: a permutation
of them, carried out on every weight that knows them, leaves the model as it is. So:

1. a *cell* is a set of classes that lie in the same rows of the same balances, made by the same layers, in the same values (what a
   Split or Gather takes out is a place of its own). With g groups on both sides of a shuffle, cell (i, j) holds what leaves group i
   and arrives in group j.
2. a *family* is a set of cells that share a balance. How many each cell loses is an integer program (solved by HiGHS, through scipy):

       maximize Σ_c w_c k_c    so that    0 ≤ k_c ≤ free_c,    Σ_c n_bc(row) k_c is the same for all rows of each balance b,

   with n_bc(row) the positions that a class of cell c has in a row, and w_c how many channels go with it. Where a row holds
   channels that cannot go, nothing goes: they keep their places, so that others cannot take them.
3. what goes is moved to the end of its cell, so that shuffles, which only know positions, still bring every channel
   to its place: with k channels less in each of the cells (i, 0), (i, 1), ..., the borders between them move by k each, exactly
   as Reshape and Transpose move them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.facts import Keep
from onnxzip.prune.labels import Flags, Ids


@dataclass(frozen=True, eq=False)
class Family:
    """Cells that lose channels together.

    Attributes:
        cells: the classes of each.
        weights: how many channels go with a class of each.
        equations: what must be 0 of the numbers that go, shape (equations, cells); None where nothing can go.
        why: what balances them.
    """

    cells: tuple[Ids, ...]
    weights: Ids
    equations: Ids | None
    why: str

    def spared(self, kept: Flags) -> Flags:
        """`kept`, and the classes that stay because others of the family cannot go."""
        free = [cell[~kept[cell]] for cell in self.cells]
        counts = self._most(np.array([len(f) for f in free], np.int64))
        filled = kept.copy()
        for classes, count in zip(free, counts.tolist(), strict=True):
            filled[classes[: len(classes) - count]] = True
        return filled

    def _most(self, free: Ids) -> Ids:
        """How many of each cell can go when so many of each would."""
        if self.equations is None or not free.any():
            return np.zeros_like(free)
        if not (self.equations @ free).any():
            return free
        from scipy.optimize import Bounds, LinearConstraint, milp

        limits = LinearConstraint(self.equations, 0, 0)
        found = milp(-self.weights, integrality=np.ones(len(free)), bounds=Bounds(0, free), constraints=limits)
        return np.zeros_like(free) if found.x is None else np.round(found.x).astype(np.int64)

    @property
    def unit(self) -> Ids | None:
        """The fewest that each cell can lose when all lose some: one each where that fits, else in proportion to their sizes."""
        sizes = np.array([len(c) for c in self.cells], np.int64)
        ways = (np.ones_like(sizes), sizes // np.gcd.reduce(sizes))
        return next((w for w in ways if self.equations is not None and not (self.equations @ w).any()), None)


def families(state: Analysis, roots: Ids) -> list[Family]:
    """The families of a model, from the balances that its classes do not hold by themselves."""
    every = [(roots[ids], why, rows_stay) for ids, why, rows_stay in state.balances]
    rows = [(r, why) for r, why, rows_stay in every if not _holds(r, rows_stay=rows_stay)]
    if not rows:
        return []
    members, values = _members(state, roots), _values(state, roots)
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, (classes, _) in enumerate(rows):
        for row, line in enumerate(classes.tolist()):
            for root in line:
                places[root].append((number, row))
    cells: dict[object, list[int]] = defaultdict(list)
    for root in sorted(places):
        if root:
            cells[tuple(places[root]), tuple(members[root]), tuple(values[root])].append(root)
    return [_family(list(group.items()), rows) for group in _connected(cells)]


def exchanged(state: Analysis, roots: Ids, found: list[Family], kept: Flags) -> tuple[Flags, Ids] | None:
    """Case 3: which places are vacated, by class, and which label moves into the place of each label; None when nothing moves."""
    if not found:
        return None
    moved, vacant = np.arange(len(roots)), ~kept
    labels = _labels_of(roots)
    for cell in (c for family in found for c in family.cells):
        stays = kept[cell]
        order = np.concatenate([cell[stays], cell[~stays]])
        vacant[cell] = False
        vacant[cell[int(stays.sum()) :]] = True
        for place, content in zip(cell.tolist(), order.tolist(), strict=True):
            moved[labels[place]] = labels[content]
    return (vacant, moved) if (moved != np.arange(len(roots))).any() else None


def arrived(before: Analysis, keeps: Keep, after: Analysis) -> bool:
    """Whether the layers of what is left read the channels that they read before, in the same order.

    Equal numbers in each row are not enough for every mixture of shuffles: the order that Reshape and Transpose make of fewer channels is
    held against the one that the weights were cut for.
    """
    made = {label(layer.node): layer.ids for layer in before.layers}
    names = np.zeros(len(after.channels), np.int64)
    for layer in after.layers:
        if label(layer.node) not in made:  # a depthwise Conv with a single group left
            return False
        kept = made[label(layer.node)]
        names[layer.ids] = kept[keeps(kept)]
    reads = {(label(r.node), r.weight[1]): r.ids for r in before.reads}
    for read in after.reads:
        wanted = reads.get((label(read.node), read.weight[1]))
        if wanted is None:  # a depthwise Conv with a single channel left
            continue
        wanted, found = wanted[keeps(wanted)], names[read.ids]
        if len(wanted) != len(found) or ((wanted != found) & (found != 0)).any():
            return False
    return True


def _holds(classes: Ids, *, rows_stay: bool) -> bool:
    """Whether rows lose equally many whatever goes: all alike, or each of a single class, where whole rows may go."""
    return bool((classes == classes[:1]).all() or (not rows_stay and (classes == classes[:, :1]).all()))


def _members(state: Analysis, roots: Ids) -> dict[int, list[int]]:
    """For each class the layers of its labels, in order."""
    owner = state.channels.owners()
    return {root: owner[ids].tolist() for root, ids in _labels_of(roots).items()}


def _values(state: Analysis, roots: Ids) -> dict[int, list[tuple[int, int]]]:
    """For each class the values that it lies in, equal ones once, and how often it does."""
    vectors = {labels.vector.tobytes(): labels.vector for labels in state.labels.values()}
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, vector in enumerate(vectors.values()):
        for root, count in zip(*(a.tolist() for a in np.unique(roots[vector], return_counts=True)), strict=True):
            found[root].append((number, count))
    return found


def _labels_of(roots: Ids) -> dict[int, Ids]:
    order = np.argsort(roots, kind="stable")
    classes, starts = np.unique(roots[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))


def _connected(cells: dict[object, list[int]]) -> list[dict[object, list[int]]]:
    """Cells that share a balance, directly or through others."""
    pending, found = dict(cells), []
    while pending:
        first = next(iter(pending))
        group = {first: pending.pop(first)}
        touched = {number for number, _ in first[0]}  # type: ignore[index]
        grown = True
        while grown:
            near = [key for key in pending if touched & {number for number, _ in key[0]}]  # type: ignore[index]
            grown = bool(near)
            for key in near:
                group[key] = pending.pop(key)
                touched |= {number for number, _ in key[0]}  # type: ignore[index]
        found.append(group)
    return found


def _family(cells: list[tuple[object, list[int]]], rows: list[tuple[Ids, str]]) -> Family:
    places = [key[0] for key, _ in cells]  # type: ignore[index]
    weights = np.array([len(key[1]) for key, _ in cells], np.int64)  # type: ignore[index]
    numbers = sorted({number for own in places for number, _ in own})
    blocks = []
    for number in numbers:
        held = np.zeros((len(rows[number][0]), len(cells)), np.int64)
        for cell, own in enumerate(places):
            for other, row in own:
                held[row, cell] += other == number
        blocks.append(held[1:] - held[:1])
    fixed = any(not rows[number][0].all() for number in numbers)
    return Family(
        tuple(np.array(c, np.int64) for _, c in cells),
        weights,
        None if fixed else np.concatenate(blocks),
        rows[numbers[0]][1],
    )
