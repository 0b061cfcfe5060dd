"""Classes that another class can stand in for, so that the weights of both add up.

At a position of a layer, what is read is `f · b`, where b is shared: by all constants (b = 1, f is the constant), or by twins
(`onnxzip.prune.twins`). If a layer reads r as f_r · b and s as f_s · b, then

    W_s · f_s · b + W_r · f_r · b = (W_s + (f_r / f_s) · W_r) · f_s · b,

border of a zero-padded Conv included, since padding treats both alike. Exact, up to rounding. So r goes to s when

1. every layer to which r matters reads s as well, on the same b,
2. and nothing else uses its weights, they are stored as floats, and r and s lie in the same group of it.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from onnxzip.prune.facts import Read
from onnxzip.prune.labels import Flags, Ids

Place = tuple[int, int, int]
"""A layer by its number, its group, and what it reads there: the number of a group of twins, 0 for constants."""

CONSTANT = 0


def merges_of(reads: list[Read], roots: Ids, matters: list[Flags], candidates: Flags) -> dict[int, int]:
    """For each class that can go, the one that stands in for it: the one of the largest factor first, then the first.

    Args:
        reads: the layers.
        roots: class of each label.
        matters: for each layer the positions that cannot simply be left out.
        candidates: classes that may go, or stand in for others.
    """
    chosen = candidates & _have_places(reads, roots)
    wanted: dict[int, list[Place | None]] = defaultdict(list)
    offered: dict[int, dict[Place, float]] = defaultdict(dict)
    for number, read in enumerate(reads):
        for k, root, place, factor in _places(number, read, roots, chosen):
            if matters[number][k] and read.reach[:, k].any():
                wanted[root].append(place)
            if place is not None:
                offered[root][place] = factor
    size = {r: min(map(abs, offered[r].values()), default=np.inf) for r in wanted}
    merges: dict[int, int] = {}
    standing: dict[Place, list[int]] = defaultdict(list)
    for r in sorted(wanted, key=lambda r: (-size[r], r)):
        places = [p for p in wanted[r] if p is not None]
        full = len(places) == len(wanted[r])
        stand_in = next((s for s in standing[places[0]] if set(places) <= offered[s].keys()), None) if full else None
        if stand_in is not None:
            merges[r] = stand_in
            continue
        for place in offered[r]:
            standing[place].append(r)
    return merges


def pairs(read: Read, roots: Ids, merges: dict[int, int]) -> list[tuple[int, int, float]]:
    """What the weights of a layer take: positions (r, s) and the factor, for `W_s += factor · W_r`."""
    if not merges:
        return []
    chosen = np.zeros(len(roots), np.bool_)
    chosen[[*merges, *merges.values()]] = True
    places = _places(0, read, roots, chosen)
    at = {(root, place): (k, factor) for k, root, place, factor in reversed(places)}  # one position of each is enough
    found = []
    for k, r, place, factor in places:
        other = at.get((merges[r], place)) if r in merges else None
        if place is not None and other is not None and not (place[2] == CONSTANT and read.absorbed[k]):
            found.append((k, other[0], factor / other[1]))
    return found


def _have_places(reads: list[Read], roots: Ids) -> Flags:
    """Classes that are a constant or have a twin somewhere."""
    found = np.zeros(len(roots), np.bool_)
    for read in reads:
        found[roots[read.ids[np.isfinite(read.known) & (read.known != 0)]]] = True
        if read.twins is not None:
            found[roots[read.ids[read.twins.group > 0]]] = True
    return found


def _places(number: int, read: Read, roots: Ids, chosen: Flags) -> list[tuple[int, int, Place | None, float]]:
    """Positions of the chosen classes: class, what is read there (None when nothing can stand in for it), and its factor."""
    classes = roots[read.ids]
    where = np.flatnonzero(chosen[classes])
    plain = not read.quantized and _sole(read)
    width = len(read.ids) // read.groups
    found: list[tuple[int, int, Place | None, float]] = []
    for k in where.tolist():
        constant, group = float(read.known[k]), 0 if read.twins is None else int(read.twins.group[k])
        place: Place | None = None
        factor = constant
        if plain and np.isfinite(constant):
            place = (number, k // width, CONSTANT) if constant != 0 else None
        elif plain and group and read.twins is not None:
            place, factor = (number, k // width, group), float(read.twins.factor[k])
        found.append((k, int(classes[k]), place, abs(factor) if place and place[2] else factor))
    return found


def _sole(read: Read) -> bool:
    """Whether the weights of a layer are read by nothing else."""
    node, index = read.weight
    value = node.inputs[index]
    return value is not None and len(value.uses()) == 1
