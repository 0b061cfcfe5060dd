"""Both models side by side: their pairs of values, and the errors of all segments between them.

Segments that are as they were when they were measured last are not measured again, and values are kept where all of them fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import is_op
from onnxzip.progress import Observer
from onnxzip.runtime import Batch, Session
from onnxzip.validate.energies import Energies
from onnxzip.validate.matching import Pair, Side, match, regions
from onnxzip.validate.opaque import Opaque
from onnxzip.validate.patching import fitted
from onnxzip.validate.segments import FLOAT_STEP, HALF_STEP, INTEGER, cut, has_halves, jittered, twin
from onnxzip.validate.taps import sketches, tapped
from onnxzip.validate.undone import Found

MEMORY = 2**28
"""Bytes of one model's values that are held at a time, about."""

ENOUGH = 2**25
"""Bytes of values after which no more batches are looked at, beyond two (the second has the worst sample)."""


class Looker:
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
        self.feeds = feeds[: max(2, ENOUGH // max(size, 1))]
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
