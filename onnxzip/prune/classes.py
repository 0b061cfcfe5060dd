"""Which classes of channels go.

A layer with output m reads a class at position k when W[m, k] ≠ 0. Two least fixed points over all reads, so that channels which
only feed each other (around a residual stream) count as dead:

- *live*: read by a live class, at a position whose value is not known. Graph outputs and all else that is frozen are live.
- *needed*: live, or read by a needed class at a position that is constant, unless

1. the constant is 0;
2. the layer's bias takes W · k exactly (no zero padding);
3. zero padding forbids 2, and another constant class that stays is read by the same layers wherever this one is:
   both are the same image up to a factor, border included, so that W_s += (k_r / k_s) · W_r is exact.

What is not needed goes, but one channel of every value stays (a tensor of no channels is not valid), and widths that were
multiples of `multiple` stay multiples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onnxzip.prune.analysis import Analysis, Read
from onnxzip.prune.labels import Flags, Ids


@dataclass(frozen=True, eq=False)
class Decision:
    """What goes. All arrays are indexed by class, which is the smallest of its labels; class 0 is frozen.

    Attributes:
        roots: class of each label.
        gone: whether it goes.
        stuck: whether it is constant wherever it is needed, and stays all the same.
        spared: whether it stays for the width only.
        merges: class that goes to the class that stands in for it (case 3).
    """

    roots: Ids
    gone: Flags
    stuck: Flags
    spared: Flags
    merges: dict[int, int]

    def leaves(self, ids: Ids) -> Flags:
        """By position: whether its channel goes."""
        return np.asarray(self.gone[self.roots[ids]], np.bool_)


def decide(state: Analysis, multiple: int) -> Decision:
    """Find the classes that go. Deterministic: ties are broken by the order of the labels."""
    roots = state.channels.roots()
    reads = [r for r in state.reads if roots[r.ids].any()]
    unknown = [~np.isfinite(r.known) for r in reads]
    blocked = [~u & ~r.absorbed for r, u in zip(reads, unknown, strict=True)]
    live = _spread(reads, roots, unknown, np.arange(len(roots)) == 0)
    needed = _spread(reads, roots, blocked, live)
    merges = _merges(reads, roots, blocked, needed & ~live)
    merged = np.isin(np.arange(len(roots)), list(merges))
    blocked = [b & ~merged[roots[r.ids]] for r, b in zip(reads, blocked, strict=True)]
    needed &= ~merged
    kept, widths = needed, _widths(state, roots)
    while True:  # what a spare channel is made of stays with it
        spare = _fill(widths, kept, multiple)
        grown = _spread(reads, roots, blocked, spare)
        if (grown == kept).all():
            break
        kept = grown
    return Decision(roots, ~kept, needed & ~live, kept & ~needed, {r: s for r, s in merges.items() if not kept[r]})


def _spread(reads: list[Read], roots: Ids, positions: list[Flags], seed: Flags) -> Flags:
    """The least set of classes that holds `seed` and all that its members read at the given positions."""
    found, changed = seed.copy(), True
    while changed:
        changed = False
        for read, there in zip(reversed(reads), reversed(positions), strict=True):
            rows = found[roots[read.outs]]
            columns = np.flatnonzero(there & ~found[roots[read.ids]])
            if not len(columns) or not rows.any():
                continue
            new = columns[read.reach[np.ix_(rows, columns)].any(axis=0)]
            found[roots[read.ids[new]]] = True
            changed |= bool(len(new))
    return found


def _merges(reads: list[Read], roots: Ids, blocked: list[Flags], stuck: Flags) -> dict[int, int]:
    """Case 3: for each class that can be merged, the first one that can stand in for it, large constants first.

    Layers that have groups, share their weights or read a class at several positions take no part.
    """
    blocking: dict[int, set[int]] = {int(r): set() for r in np.flatnonzero(stuck)}
    plain: dict[int, set[int]] = {r: set() for r in blocking}
    size = dict.fromkeys(blocking, np.inf)
    for number, read in enumerate(reads):
        classes = roots[read.ids]
        single = read.groups == 1 and _sole(read)
        for k in np.flatnonzero(stuck[classes]).tolist():
            r = int(classes[k])
            if blocked[number][k] and read.reach[:, k].any():
                blocking[r].add(number)
            if single and np.isfinite(read.known[k]) and read.known[k] != 0 and (classes == r).sum() == 1:
                plain[r].add(number)
                size[r] = min(size[r], abs(float(read.known[k])))
    merges: dict[int, int] = {}
    standing: list[int] = []
    for r in sorted(blocking, key=lambda r: (-size[r], r)):
        other = next((s for s in standing if blocking[r] <= plain[s] & plain[r]), None)
        if other is None:
            standing.append(r)
        else:
            merges[r] = other
    return merges


def _sole(read: Read) -> bool:
    """Whether the weights of a layer are read by nothing else."""
    node, index = read.weight
    value = node.inputs[index]
    return value is not None and len(value.uses()) == 1


def _widths(state: Analysis, roots: Ids) -> list[Ids]:
    """The classes along the channels of each layer and each value, without repetitions."""
    vectors = [layer.ids for layer in state.layers] + [labels.vector for labels in state.labels.values()]
    return [roots[v] for v in {v.tobytes(): v for v in vectors}.values()]


def _fill(widths: Iterable[Ids], kept: Flags, multiple: int) -> Flags:
    """`kept` and the fewest spare classes so that no width is 0 and multiples of `multiple` stay multiples."""
    filled, changed = kept.copy(), True
    while changed:
        changed = False
        for classes in widths:
            step = 1 if len(classes) % multiple else multiple
            while True:
                count = int(filled[classes].sum())
                if count and (count % step == 0 or count == len(classes)):
                    break
                filled[classes[int(np.argmin(filled[classes]))]] = True
                changed = True
    return filled
