"""How much each family loses: always the step that costs least for what it saves, until enough is saved.

`gain = Δcost / Δsize` of the next step of every lane (see `families`), smallest first. A lane whose later steps are cheaper than
its next one is judged by the best average over the steps ahead, so that a costly first step does not hide a cheap tail.
Sizes are products over axes, so what a step saves shrinks as its neighbours shrink: it is reckoned anew.

Towards the end only what is still missing counts: `gain = Δcost / min(Δsize, missing)`, so that no large step is taken for a small
rest. Then, while the total cost falls: the last steps of a lane are taken back and others fill the gap, or one more step of a lane
is taken and others are taken back for it; the dearest steps that are not needed after all go back each time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from onnxzip.prune.families import Family, Order, step
from onnxzip.prune.labels import Flags, Ids, Numbers
from onnxzip.prune.sizes import Term

AHEAD = 4
"""Steps of one lane that are looked at together."""

EXCHANGES = 200
"""Exchanges at most."""


@dataclass(eq=False)
class _Lane:
    """Classes of equal profile in the order in which they go; the first `done` of them are gone."""

    family: int
    classes: Ids
    costs: Numbers
    profile: list[int]
    touches: list[tuple[int, int, Ids]] = field(default_factory=list)
    done: int = 0
    steps: list[int] = field(default_factory=list)
    offer: list[tuple[float, float]] | None = None


def allocate(
    families: Sequence[Family],
    orders: Sequence[Order | None],
    terms: Sequence[Term],
    ratio: float,
    round_to: int,
    classes: int,
) -> tuple[Flags, float]:
    """Which classes go so that the terms shrink by `ratio`, or as far as they can.

    Args:
        families: the families.
        orders: the order of each, None for one that stays.
        terms: what to save.
        ratio: how much of it, 0 to 1; exceeded by one step at most.
        round_to: widths become multiples of this.
        classes: how many labels there are.

    Returns:
        Flags by class, and the part of the terms that goes.
    """
    books = _Books(terms, families, orders, classes)
    gone = np.zeros(classes, np.bool_)
    if books.fill(ratio * books.total, round_to):
        _improve(books, ratio * books.total, round_to)
    for lane in books.lanes:
        gone[lane.classes[: lane.done]] = True
    return gone, books.saved / max(books.total, 1e-30)


def _improve(books: _Books, wanted: float, round_to: int) -> None:
    """Exchange steps of one lane for steps of others while the total cost falls (the first exchange found is made)."""
    for _ in range(EXCHANGES):
        before, cost = books.steps(), books.cost()
        for lane, more in product(books.lanes, (-1, -2, 1)):
            if more < 0:
                if len(lane.steps) < -more:
                    continue
                for _ in range(-more):
                    books.take(lane, -lane.steps.pop())
            elif not books.advance(lane, round_to):
                continue
            if books.fill(wanted, round_to, without=lane) and books.cost() < cost * (1 - 1e-9):
                break
            books.restore(before)
        else:
            return


class _Books:
    """What is left of every term and layer."""

    def __init__(
        self, terms: Sequence[Term], families: Sequence[Family], orders: Sequence[Order | None], classes: int
    ) -> None:
        self.terms = terms
        self.kept = [[len(a) for a in t.axes] for t in terms]
        self.total = sum(t.unit * math.prod(k) for t, k in zip(terms, self.kept, strict=True))
        self.saved = 0.0
        self.widths = [list(f.widths) for f in families]
        self.lanes = [
            lane
            for number, (family, order) in enumerate(zip(families, orders, strict=True))
            if order is not None
            for lane in _lanes(number, family, order)
        ]
        self._readers: dict[int, list[_Lane]] = {}
        counts = [[np.bincount(a, minlength=classes) for a in t.axes] for t in terms]
        for lane in self.lanes:
            for t, axes in enumerate(counts):
                for axis, count in enumerate(axes):
                    if count[lane.classes].any():
                        lane.touches.append((t, axis, np.concatenate([[0], np.cumsum(count[lane.classes])])))
                        self._readers.setdefault(t, []).append(lane)

    def cost(self) -> float:
        """Of all that is gone."""
        return sum(float(lane.costs[: lane.done].sum()) for lane in self.lanes)

    def steps(self) -> list[list[int]]:
        """The steps of each lane."""
        return [list(lane.steps) for lane in self.lanes]

    def restore(self, steps: Sequence[Sequence[int]]) -> None:
        """Let these steps, and no others, be taken."""
        for lane, own in zip(self.lanes, steps, strict=True):
            if lane.steps != own:
                lane.steps = list(own)
                self.take(lane, sum(own) - lane.done)

    def fill(self, wanted: float, round_to: int, without: _Lane | None = None) -> bool:
        """Take the best steps until so much is saved, then back those that are not needed; False where there are not enough."""
        while self.saved < wanted:
            lane = self.best(round_to, wanted - self.saved, without)
            if lane is None or not self.advance(lane, round_to):
                return False
        while (spare := self.spare(self.saved - wanted, round_to, without)) is not None:
            self.take(spare, -spare.steps.pop())
        return True

    def advance(self, lane: _Lane, round_to: int) -> bool:
        """Take the next step of a lane, if there is one."""
        count = step(self.widths[lane.family], lane.profile, len(lane.classes) - lane.done, round_to)
        if count:
            lane.steps.append(count)
            self.take(lane, count)
        return count > 0

    def best(self, round_to: int, missing: float, without: _Lane | None) -> _Lane | None:
        """The lane with the best next step; ties go to the first."""
        found: tuple[float, _Lane] | None = None
        for lane in self.lanes:
            if lane is without:
                continue
            if lane.offer is None:
                lane.offer = self._offer(lane, round_to)
            price = min((c / min(s, missing) for c, s in lane.offer), default=np.inf)
            if price < np.inf and (found is None or price < found[0]):
                found = price, lane
        return None if found is None else found[1]

    def spare(self, excess: float, round_to: int, without: _Lane | None) -> _Lane | None:
        """The lane whose last step is the dearest of those that save no more than `excess`."""
        found: tuple[float, _Lane] | None = None
        for lane in self.lanes:
            if not lane.steps or lane is without:
                continue
            count = lane.steps[-1]
            before = zip(self.widths[lane.family], lane.profile, strict=True)
            if any(p and (w + count * p) % round_to and len(lane.steps) > 1 for w, p in before):
                continue
            saving = -self._saving(lane, -count)
            price = float(lane.costs[lane.done - count : lane.done].sum()) / max(saving, 1e-30)
            if saving <= excess and (found is None or price > found[0]):
                found = price, lane
        return None if found is None else found[1]

    def take(self, lane: _Lane, count: int) -> None:
        """Let the next classes of a lane go, or the last come back where `count` is negative."""
        self.saved += self._saving(lane, count)
        for t, axis, sums in lane.touches:
            self.kept[t][axis] -= int(sums[lane.done + count] - sums[lane.done])
        widths = self.widths[lane.family]
        for layer, positions in enumerate(lane.profile):
            widths[layer] -= count * positions
        lane.done += count
        for other in self.lanes:
            if other.family == lane.family:
                other.offer = None
        for t, _, _ in lane.touches:
            for other in self._readers[t]:
                other.offer = None

    def _offer(self, lane: _Lane, round_to: int) -> list[tuple[float, float]]:
        """What the next step costs and saves, and the next few together, where they save anything."""
        widths, ahead, found = list(self.widths[lane.family]), 0, []
        for _ in range(AHEAD):
            count = step(widths, lane.profile, len(lane.classes) - lane.done - ahead, round_to)
            if not count:
                break
            ahead += count
            widths = [w - count * p for w, p in zip(widths, lane.profile, strict=True)]
            saving = self._saving(lane, ahead)
            if saving > 0:
                found.append((float(lane.costs[lane.done : lane.done + ahead].sum()), saving))
        return found

    def _saving(self, lane: _Lane, count: int) -> float:
        less: dict[int, dict[int, int]] = {}
        for t, axis, sums in lane.touches:
            less.setdefault(t, {})[axis] = int(sums[lane.done + count] - sums[lane.done])
        saved = 0.0
        for t, axes in less.items():
            kept = self.kept[t]
            after = math.prod(k - axes.get(a, 0) for a, k in enumerate(kept))
            saved += self.terms[t].unit * (math.prod(kept) - after)
        return saved


def _lanes(number: int, family: Family, order: Order) -> list[_Lane]:
    place = {int(c): i for i, c in enumerate(order.classes.tolist())}
    found = []
    for positions in family.lanes():
        ranked = sorted(place[c] for c in family.classes[positions].tolist() if c in place)
        if ranked:
            profile = [int(p) for p in family.counts[:, positions[0]]]
            found.append(_Lane(number, order.classes[ranked], order.costs[ranked], profile))
    return found
