"""Where the error is born: the candidate beside the original, layer by layer.

1. Values are matched (`matching`).
2. The candidate is cut at all matched values at once (`segments`) and fed with the original's: what each segment then gives is off by the error of that segment
   alone, however wrong everything before it is. Some samples are enough; values are held a group at a time, so memory is bounded.
3. Its twin says how much of that rounding explains (`energies`). More than that is suspect.
4. A name may be reused for another value (a layer that took in its scale or bias, channels in another order or equalized). Then the error of the pair is undone behind
   it (`undone`): from a suspect pair back to where the error of what it reads is born, all are let go, and if it is no longer suspect then, they were no pairs.
5. The worst of the suspects that are far off are given the original's values in the candidate's own run (`patching`): where the outputs get better they are guilty, where they get worse they are no pairs.

A rewritten model has no suspect layer, and one quantized or in float16 has none either, for its
number formats explain its errors. Models with other weights (pruned and re-fitted, or trained anew) are not rewrites: their layers are shown, not judged.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.walk import label
from onnxzip.progress import SILENT, Observer
from onnxzip.records import LayerError
from onnxzip.runtime import Batch
from onnxzip.validate.looker import Looker
from onnxzip.validate.matching import Pair, regions
from onnxzip.validate.patching import Patching
from onnxzip.validate.segments import is_lossy
from onnxzip.validate.undone import LEVELS, Found, is_victim, misread_by_victims

ROUNDS = 6
"""How often pairs that are none are looked for."""

MOST_NODES = 12
"""Nodes that are named for one value."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""Operators with weights that training changes."""

PRUNED = 4
"""Where channels were pruned, one layer in so many with other weights says that others were re-fitted."""

FEW = 4
"""Layers below which most of them may be damaged."""

MOST_BLAMED = 6
"""Suspects, the worst first, that are looked at closely: one run each."""


@dataclass(frozen=True)
class Depth:
    """The layers in the order of the original.

    Attributes:
        layers: their errors.
        pruned: names of those between whose nearest matched values something is smaller than in the original: they may be pruned and re-fitted.
        other_weights: why the candidate is no rewrite at all, or None.
    """

    layers: tuple[LayerError, ...]
    pruned: frozenset[str]
    other_weights: str | None


def look(original: ir.Model, candidate: ir.Model, feeds: Sequence[Batch], observer: Observer = SILENT) -> Depth:
    """The error through the depth of the candidate.

    Args:
        original: the original; both have the same interface.
        candidate: the candidate.
        feeds: some batches; few samples do.
        observer: told of the steps.

    Raises:
        ModelError: one of the two does not run, or not with its inner values as outputs.
    """
    looker = Looker(original, candidate, feeds, observer)
    pairs, found, blamed = _judged(looker)
    names = [p.name for p in pairs] + looker.opaque
    partner = {p.name: p.counterpart for p in pairs} | {n: n for n in looker.opaque}
    pruned, weighted = set[str](), dict[str, set[ir.Node]]()
    shares, layers = _shares({n: found[n].energies.born_db for n in names}), list[LayerError]()
    for name, nodes, _ in regions(original, names):
        energies, maker = found[name].energies, nodes[-1]
        if not looker.narrower.isdisjoint(o.name for n in nodes for o in n.outputs):
            pruned.add(name)
        else:
            weighted[name] = {n for n in nodes if n.op_type in WEIGHTED}
        layers.append(
            LayerError(
                name=name,
                counterpart=partner[name],
                node=label(maker),
                operator=maker.op_type,
                nodes=tuple(map(label, nodes[-MOST_NODES:])),
                sqnr_db=energies.gathered_db,
                born_db=energies.born_db,
                explained_db=energies.explained_db,
                share=shares[name],
                suspect=(energies.suspect and not is_victim(found[name])) or name in blamed,
                guilty=name in blamed,
            )
        )
    order = {o.name: i for i, n in enumerate(original.graph) for o in n.outputs}
    layers.sort(key=lambda e: order[e.name])
    suspects = {e.name for e in layers if e.suspect}
    return Depth(tuple(layers), frozenset(pruned), _other_weights(weighted, suspects, pruned=bool(pruned)))


def _judged(looker: Looker) -> tuple[list[Pair], dict[str, Found], set[str]]:
    """The pairs that are such, their errors, and which of them are gravely off and to blame beyond doubt.

    Pairs that turn out to be none are let go for good, and the rest is measured and asked again.
    """
    lossy = is_lossy(looker.candidate)
    pairs, found = _settled(looker)
    for _ in range(ROUNDS):
        guilty, none = _blamed(looker, pairs, found, lossy=lossy)
        if not none:
            break
        pairs = [p for p in pairs if p.name not in none]
        found = looker.measure(pairs)
    return pairs, found, guilty & set(found)


def _blamed(
    looker: Looker, pairs: Sequence[Pair], found: Mapping[str, Found], *, lossy: bool
) -> tuple[set[str], set[str]]:
    """The suspects that are gravely off and to blame, and those that are no pairs; the worst are asked."""
    partner = {p.name: p.counterpart for p in pairs} | {n: n for n in looker.opaque}
    places = {n: place for n, f in found.items() if (place := f.energies.grave(lossy=lossy)) is not None}
    worst = sorted(places, key=lambda n: math.inf if (db := found[n].energies.born_db) is None else db)[:MOST_BLAMED]
    if not worst:
        return set(), set()
    patching = Patching(looker.original, looker.candidate, looker.feeds, {n: partner[n] for n in worst})
    blames = {n: patching.blame(n, places[n]) for n in worst}
    return {n for n in worst if blames[n] == "guilty"}, {n for n in worst if blames[n] == "no pair"}


def _settled(looker: Looker) -> tuple[list[Pair], dict[str, Found]]:
    """The pairs that are such, and their errors."""
    pairs, level = looker.pairs, 0
    found = looker.measure(pairs)
    for _ in range(ROUNDS):
        if level == len(LEVELS) or not any(f.energies.suspect for f in found.values()):
            break
        names = LEVELS[level](pairs, found)
        doubted = [p for p in pairs if p.name in names and p.how != "output"]
        kept = pairs
        if doubted:
            left = [p for p in pairs if p not in doubted]
            again = looker.measure(left)
            stays = {i for f in again.values() if f.energies.suspect for i in f.inside}
            stays = set() if LEVELS[level] is misread_by_victims else stays
            kept = [p for p in pairs if p not in doubted or p.counterpart in stays]
        if len(kept) == len(pairs):
            level += 1
            continue
        found = again if len(kept) == len(left) else looker.measure(kept)
        pairs = kept
    return pairs, found


def _other_weights(weighted: Mapping[str, set[ir.Node]], suspects: Collection[str], *, pruned: bool) -> str | None:
    """Why the candidate is no rewrite of the original but has weights of its own, or None.

    All layers of a segment count: where pairs turned out to be none, one segment may be most of the network.

    Args:
        weighted: the original's layers in the segment of each value, those around pruned channels aside.
        suspects: the values whose segments are suspect.
        pruned: whether there are pruned channels.
    """
    total = len(set[ir.Node]().union(*weighted.values()))
    changed = len(set[ir.Node]().union(*(nodes for n, nodes in weighted.items() if n in suspects)))
    if changed >= FEW and changed > total / (PRUNED if pruned else 2):
        return f"{changed} of {total} layers have other weights ({'pruned and re-fitted' if pruned else 'trained anew'}), or cannot be told apart"
    return None


def _shares(born: Mapping[str, float | None]) -> dict[str, float]:
    """The part of each in the sum of error / signal; one without numbers in common with the original counts as error = 10^3 signal."""
    ratios = {n: 0.0 if db is None else 10 ** (-max(db, -30.0) / 10) for n, db in born.items()}
    total = math.fsum(ratios.values())
    return {n: r / total if total else 0.0 for n, r in ratios.items()}
