"""Families: classes of channels that lie in the same layers, and the steps in which they may go.

Two classes are of one family when some layer holds both. A layer of width w loses p positions with each class that has p
positions in it (an attention head has many), so after r classes of equal profile its width is `w − r · p`, which must be

1. a multiple of `round_to`, in all layers of the family at once; or, where no number of classes does that,
2. a multiple in those layers at least that are multiples now; and
3. no less than `round_to` in any case: narrower layers do not shrink.

Classes of one family with equal profiles form a lane; each lane goes in its own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.labels import Ids, Numbers


@dataclass(frozen=True, eq=False)
class Family:
    """Classes that share layers.

    Attributes:
        classes: the classes, ascending.
        layers: names of the layers that make them, in graph order.
        widths: how many channels each layer makes.
        counts: positions of each class in each layer, shape (layers, classes).
    """

    classes: Ids
    layers: tuple[str, ...]
    widths: tuple[int, ...]
    counts: Ids

    @property
    def name(self) -> str:
        """What messages call it: its first layer."""
        others = len(self.layers) - 1
        return self.layers[0] + (f" and {others} more" if others else "")

    def lanes(self) -> list[Ids]:
        """Positions in `classes` of each set of classes with equal profiles."""
        _, inverse = np.unique(self.counts, axis=1, return_inverse=True)
        inverse = np.asarray(inverse).reshape(-1)
        return [np.flatnonzero(inverse == k) for k in range(int(inverse.max()) + 1)]


@dataclass(frozen=True, eq=False)
class Order:
    """Classes of a family in the order in which they should go, and what each costs when those before it are gone.

    A cost is an expected squared error relative to the variance of what the readers make, summed over them (or a
    magnitude, for rankings without data).
    """

    classes: Ids
    costs: Numbers


def families(state: Analysis, roots: Ids) -> list[Family]:
    """The families of a model, in the order of their first classes. Frozen classes belong to none."""
    home: dict[int, int] = {}
    members: dict[int, set[int]] = {}
    for layer in state.layers:
        own = set(roots[layer.ids].tolist()) - {0}
        if not own:
            continue
        joined = {home[c] for c in own if c in home}
        new = own.union(*(members.pop(j) for j in joined))
        key = min(new)
        members[key] = new
        home.update(dict.fromkeys(new, key))
    return [_family(state, roots, np.array(sorted(members[k]), np.int64)) for k in sorted(members)]


def _family(state: Analysis, roots: Ids, classes: Ids) -> Family:
    names, widths, counts = [], [], []
    for layer in state.layers:
        found = np.bincount(roots[layer.ids], minlength=len(roots))[classes]
        if found.any():
            names.append(label(layer.node))
            widths.append(len(layer.ids))
            counts.append(found)
    return Family(classes, tuple(names), tuple(widths), np.array(counts, np.int64))


def step(widths: Sequence[int], profile: Sequence[int], left: int, round_to: int) -> int:
    """The fewest classes that may go next, or 0 when none may.

    Args:
        widths: of the layers, as they are now.
        profile: positions that one class has in each layer.
        left: how many classes there are to go.
        round_to: widths become multiples of this.
    """
    touched = [(w, p) for w, p in zip(widths, profile, strict=True) if p]
    even = [(w, p) for w, p in touched if w % round_to == 0]
    for bound in (touched, even):  # cases 1 and 2
        for count in range(1, min(left, round_to) + 1):
            if all(w - count * p >= round_to for w, p in touched) and all(
                (w - count * p) % round_to == 0 for w, p in bound
            ):
                return count
    return 0
