"""Which classes of channels go.

A layer with output m reads a class at position k when W[m, k] ≠ 0. Two least fixed points over all reads, so that channels which
only feed each other (around a residual stream) count as dead:

- *live*: read by a live class, at a position whose value is not known. Graph outputs and all else that is frozen are live.
- *needed*: live, or read by a needed class at a position that is constant, unless

1. the constant is 0;
2. the layer's bias takes W · k exactly (no zero padding);
3. another class stands in for it (`merges`).

What is not needed goes, but one channel of every value stays (a tensor of no channels is not valid), widths that were
multiples of `multiple` stay multiples, and balances are held.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from onnxzip.prune.analysis import Analysis
from onnxzip.prune.balance import Family, exchanged, families
from onnxzip.prune.facts import Read
from onnxzip.prune.labels import Flags, Ids
from onnxzip.prune.merges import merges_of


@dataclass(frozen=True, eq=False)
class Decision:
    """What goes. Arrays of flags are indexed by class, which is the smallest of its labels; class 0 is frozen.

    Attributes:
        roots: class of each label.
        gone: whether it goes.
        stuck: whether it is constant wherever it is needed, and stays all the same.
        spared: whether it stays for the width only.
        merges: class that goes to the class that stands in for it (case 3).
        vacant: whether its place is given up: `gone`, but where channels change places (`onnxzip.prune.balance`).
        moved: for each label the one whose channel takes its place; None when nothing moves.
        families: what is balanced.
    """

    roots: Ids
    gone: Flags
    stuck: Flags
    spared: Flags
    merges: dict[int, int] = field(default_factory=dict)
    vacant: Flags | None = None
    moved: Ids | None = None
    families: tuple[Family, ...] = ()

    def leaves(self, ids: Ids) -> Flags:
        """By position: whether its channel goes."""
        return np.asarray(self.gone[self.roots[ids]], np.bool_)

    def keeps(self, ids: Ids) -> Flags:
        """By position: whether its place is still there afterwards."""
        vacant = self.gone if self.vacant is None else self.vacant
        return np.asarray(~vacant[self.roots[ids]], np.bool_)

    def sources(self, ids: Ids) -> Ids:
        """By position, of all positions in order: where its channel comes from."""
        flat = ids.reshape(-1)
        here = np.arange(len(flat))
        if self.moved is None:
            return here
        wanted = self.moved[flat]
        order = np.argsort(flat, kind="stable")
        held = flat[order]
        rank = np.empty_like(here)
        rank[order] = here - np.searchsorted(held, held)  # how often the label stood before
        return np.asarray(order[np.searchsorted(held, wanted) + rank], np.int64)


def decide(state: Analysis, multiple: int, *, exchange: bool = True) -> Decision:
    """Find the classes that go. Deterministic: ties are broken by the order of the labels.

    Args:
        state: what is known.
        multiple: widths that are multiples of it stay multiples.
        exchange: channels may change places, to hold balances; else those that balances hold stay.
    """
    roots = state.channels.roots()
    reads = [r for r in state.reads if roots[r.ids].any()]
    unknown = [~np.isfinite(r.known) for r in reads]
    blocked = [~u & ~r.absorbed for r, u in zip(reads, unknown, strict=True)]
    fixed = np.arange(len(roots)) == 0
    for ids in state.used:
        fixed[roots[ids]] = True
    live = _spread(reads, roots, unknown, fixed)
    needed = _spread(reads, roots, blocked, live)
    matters = [u | b for u, b in zip(unknown, blocked, strict=True)]
    merges = merges_of(reads, roots, matters, needed & ~fixed)
    merged = np.isin(np.arange(len(roots)), list(merges))
    needed &= ~merged
    found = families(state, roots)
    grown = needed
    while True:  # what a spare channel is made of stays with it
        kept = _complete(_widths(state, roots), grown, multiple, found, exchange=exchange)
        going = [~(merged & ~kept)[roots[r.ids]] for r in reads]
        grown = _spread(reads, roots, [b & g for b, g in zip(blocked, going, strict=True)], kept)
        if (kept & merged).any():  # not merged after all: it must be what it was
            grown |= _spread(reads, roots, [m & g for m, g in zip(matters, going, strict=True)], kept & merged)
        if (grown == kept).all():
            break
    vacant, moved = exchanged(state, roots, found, kept) or (None, None)
    return Decision(
        roots,
        ~kept,
        needed & ~live,
        kept & ~needed,
        {r: s for r, s in merges.items() if not kept[r]},
        vacant,
        moved,
        tuple(found),
    )


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
            touched = read.touched if rows.all() else np.asarray(read.reach[rows].any(axis=0))
            new = columns[touched[columns]]
            found[roots[read.ids[new]]] = True
            changed |= bool(len(new))
    return found


def _widths(state: Analysis, roots: Ids) -> list[Ids]:
    """The classes along the channels of each layer and each value, without repetitions."""
    vectors = [layer.ids for layer in state.layers] + [labels.vector for labels in state.labels.values()]
    return [roots[v] for v in {v.tobytes(): v for v in vectors}.values()]


def _complete(widths: list[Ids], kept: Flags, multiple: int, found: list[Family], *, exchange: bool) -> Flags:
    """`kept`, and the fewest that must stay with it, for widths and for balances."""
    while True:
        filled = _fill(widths, kept, multiple)
        for family in found:
            if exchange:
                filled = family.spared(filled)
            else:
                filled[np.concatenate(family.cells)] = True
        if (filled == kept).all():
            return filled
        kept = filled


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
