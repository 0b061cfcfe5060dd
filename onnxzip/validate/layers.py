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
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import is_op, label
from onnxzip.progress import SILENT, Observer
from onnxzip.records import LayerError
from onnxzip.runtime import Batch, Session
from onnxzip.validate.energies import Energies
from onnxzip.validate.matching import Pair, Side, match, regions
from onnxzip.validate.opaque import Opaque
from onnxzip.validate.patching import Patching, fitted
from onnxzip.validate.segments import FLOAT_STEP, HALF_STEP, INTEGER, cut, has_halves, is_lossy, jittered, twin
from onnxzip.validate.taps import sketches, tapped
from onnxzip.validate.undone import LEVELS, Found, is_victim, misread_by_victims

MEMORY = 2**28
"""Bytes of one model's values that are held at a time, about."""

ENOUGH = 2**25
"""Bytes of values after which no more batches are looked at."""

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


class _Looker:
    """Both models, the samples, and the sessions that give their inner values."""

    def __init__(self, original: ir.Model, candidate: ir.Model, feeds: Sequence[Batch], observer: Observer) -> None:
        self.original, self.candidate, self.feeds, self.observer = original, candidate, feeds, observer
        self.kept: dict[tuple[int, int, str], Any] = {}
        self.known: dict[str, Found] = {}
        looked = [sketches(m, feeds[0]) for m in (original, candidate)]
        self.sides = tuple(Side(m, s) for m, (s, _) in zip((original, candidate), looked, strict=True))
        self.halves = has_halves(candidate)
        self.step = HALF_STEP if self.halves else FLOAT_STEP
        self.pairs = match(*self.sides)
        before, after = (side.sketches for side in self.sides)
        size = sum(s.bytes for s in before.values())
        self.feeds = feeds[: max(1, ENOUGH // max(size, 1))]
        self.keeps = len(self.feeds) * size <= MEMORY
        self.narrower = {n for n, s in before.items() if n in after and math.prod(after[n].shape) < math.prod(s.shape)}
        known = {p.name for p in self.pairs}
        made = [{o.name for n in m.graph if not is_op(n, "Constant") for o in n.outputs} for m in (original, candidate)]
        self.opaque = [n for v in original.graph.outputs if (n := v.name or "") in made[0] & made[1] and n not in known]
        self.before, self.after = (session for _, session in looked)
        if self.opaque:
            self.before = tapped(original, [p.name for p in self.pairs] + self.opaque)
            self.after = tapped(candidate, [p.counterpart for p in self.pairs] + self.opaque)

    def measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        """Errors of all pairs, by the name in the original, when the candidate is cut at these."""
        ends = [p.counterpart for p in pairs] + self.opaque
        nodes = {end: (found, sources) for end, found, sources in regions(self.candidate, ends)}
        cuts = {p.counterpart: self.sides[1].sketches[p.counterpart].dtype for p in pairs}
        names = {p.counterpart: p.name for p in pairs} | {n: n for n in self.opaque}
        found: dict[str, Found] = {}
        for end in ends:
            inner = frozenset(o.name or "" for n in nodes[end][0] for o in n.outputs) - {end}
            integer = any(n.op_type.startswith(INTEGER) for n in nodes[end][0])
            energies = Opaque(end) if end in self.opaque else Energies(integer=integer, halves=self.halves)
            found[names[end]] = Found(energies, inner, frozenset(nodes[end][1]))
        again = [e for e in ends if not self._is_known(names[e], found[names[e]])]
        with self.observer.step("layers", len(again)) as done:
            for group in self._groups(again, {e: nodes[e][1] for e in again}, names):
                self._run(group, cuts, names, found)
                for _ in group:
                    done()
        found |= {n: self.known[n] for e in ends if e not in again for n in [names[e]]}
        self.known = dict(found)
        return found

    def _is_known(self, name: str, found: Found) -> bool:
        """Whether a segment is as it was when it was measured last."""
        before = self.known.get(name)
        return before is not None and (before.inside, before.sources) == (found.inside, found.sources)

    def _values(self, side: int, number: int, wanted: Sequence[str]) -> dict[str, Any]:
        """Values of one of the models on one batch; kept, where all of them fit."""
        session = (self.before, self.after)[side]
        if not self.keeps:
            return session.run(self.feeds[number], wanted)
        if any((side, number, n) not in self.kept for n in wanted):
            names = [*(p.name if side == 0 else p.counterpart for p in self.pairs), *self.opaque]
            self.kept |= {(side, number, n): v for n, v in session.run(self.feeds[number], names).items()}
        return {n: self.kept[side, number, n] for n in wanted}

    def _groups(
        self, ends: Sequence[str], sources: Mapping[str, set[str]], names: Mapping[str, str]
    ) -> Iterator[list[str]]:
        """Parts of the values, in order, each with what it is fed with within the memory."""
        group, held = list[str](), set[str]()
        for end in ends:
            more = held | {names[n] for n in (end, *sources[end])}
            if group and sum(s.bytes for n in more if (s := self.sides[0].sketches.get(n))) > MEMORY:
                yield group
                group, more = [], {names[n] for n in (end, *sources[end])}
            group.append(end)
            held = more
        if group:
            yield group

    def _run(
        self,
        group: Sequence[str],
        cuts: Mapping[str, np.dtype[Any]],
        names: Mapping[str, str],
        found: Mapping[str, Found],
    ) -> None:
        parts = cut(self.candidate, cuts, group)
        moved = twin(parts)
        first = Session(parts.model, level="none", outputs=[parts.outputs[e] for e in group])
        second = Session(moved.model, level="none", outputs=[moved.outputs[e] for e in group])
        rng = np.random.default_rng(0)
        for number, feed in enumerate(self.feeds):
            wanted = list(dict.fromkeys([*(names[e] for e in group), *(names[c] for c in parts.inputs)]))
            original = self._values(0, number, wanted)
            given = {parts.inputs[c]: fitted(original[names[c]], cuts[c]) for c in parts.inputs}
            given |= {s.name: feed[s.name] for s in first.inputs if s.name in feed}
            shaken = {
                s.name: jittered(a, self.step, rng) if isinstance(a := given[s.name], np.ndarray) else a
                for s in second.inputs
                if s.name in given
            }
            own, alone, beside = self._values(1, number, group), first.run(given), second.run(shaken)
            for end in group:
                found[names[end]].energies.add(
                    original[names[end]], own[end], alone[parts.outputs[end]], beside[moved.outputs[end]]
                )


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
    looker = _Looker(original, candidate, feeds, observer)
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


def _judged(looker: _Looker) -> tuple[list[Pair], dict[str, Found], set[str]]:
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
    looker: _Looker, pairs: Sequence[Pair], found: Mapping[str, Found], *, lossy: bool
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


def _settled(looker: _Looker) -> tuple[list[Pair], dict[str, Found]]:
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
