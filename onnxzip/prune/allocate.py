"""How much each family loses: always the step that costs least for what it saves, until enough is saved.

`gain = Δcost / Δsize` of the next step of every lane (see `families`), smallest first. A lane whose later steps are cheaper than
its next one is judged by the best average over the steps ahead, so that a costly first step does not hide a cheap tail.
Sizes are products over axes, so what a step saves shrinks as its neighbours shrink: it is reckoned anew. When enough is saved,
the dearest of the steps that are not needed after all are taken back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxzip.prune.families import Family, Order, step
from onnxzip.prune.labels import Flags, Ids, Numbers
from onnxzip.prune.sizes import Term

AHEAD = 4
"""Steps of one lane that are looked at together."""


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
    offer: tuple[float, int] | None = None


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
    while books.saved < ratio * books.total:
        best = books.best(round_to)
        if best is None:
            break
        lane, count = best
        lane.steps.append(count)
        books.take(lane, count)
    while (spare := books.spare(books.saved - ratio * books.total, round_to)) is not None:
        books.take(spare, -spare.steps.pop())
    for lane in books.lanes:
        gone[lane.classes[: lane.done]] = True
    return gone, books.saved / max(books.total, 1e-30)


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

    def best(self, round_to: int) -> tuple[_Lane, int] | None:
        """The lane with the best next step, and how many classes that is; ties go to the first."""
        found: tuple[float, _Lane, int] | None = None
        for lane in self.lanes:
            if lane.offer is None:
                lane.offer = self._offer(lane, round_to)
            price, count = lane.offer
            if count and (found is None or price < found[0]):
                found = price, lane, count
        return None if found is None else found[1:]

    def spare(self, excess: float, round_to: int) -> _Lane | None:
        """The lane whose last step is the dearest of those that save no more than `excess`."""
        found: tuple[float, _Lane] | None = None
        for lane in self.lanes:
            if not lane.steps:
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

    def _offer(self, lane: _Lane, round_to: int) -> tuple[float, int]:
        """The least price of the next step or the next few, and the size of the next step."""
        widths, ahead, first, price = list(self.widths[lane.family]), 0, 0, np.inf
        for _ in range(AHEAD):
            count = step(widths, lane.profile, len(lane.classes) - lane.done - ahead, round_to)
            if not count:
                break
            first = first or count
            ahead += count
            widths = [w - count * p for w, p in zip(widths, lane.profile, strict=True)]
            saving = self._saving(lane, ahead)
            if saving > 0:
                price = min(price, float(lane.costs[lane.done : lane.done + ahead].sum()) / saving)
        return (price, first) if price < np.inf else (np.inf, 0)

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
