"""Whether a suspect layer is to blame, beyond doubt: the candidate's own run, and its run with the original's values in the place of that layer's.

A suspicion rests on pairs of values, and a pair may be none: a layer that took in a bias kept its name, and what reads it is given numbers that it
does not expect. So nothing that is fed is trusted here but the value v in question. With a the original's value, o the candidate's own, y the
original's outputs, p the candidate's own outputs and q its outputs where it is given a instead of o:

1. the value is off in the candidate's own run      Σ (a - o)² >= B / 4       over the elements where the segment is off; B is the error born there
2. the original's value makes the outputs better    Σ (y - p)² - Σ (y - q)² >= Σ (p - q)² / 2

If v is no pair, or was changed and put right behind it, a makes the outputs worse: the left side of 2 is then about -Σ (p - q)²; if it was damaged, about +Σ (p - q)². Both
runs go without the rounding of activations, so that p - q is what v does and not chance. Where v is an output, 1 is enough. A damage that no output feels on
this data (p = q) cannot be told from none. Differences are taken as they are and relative to each element. The method is known as activation patching, or causal tracing (Vig et al., 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from onnxzip.runtime import Batch, Session
from onnxzip.validate.energies import Place
from onnxzip.validate.metrics import leaves
from onnxzip.validate.segments import Segments, cut, unrounded

Array = np.ndarray[Any, Any]

Blame = Literal["guilty", "no pair", "unknown"]
"""The layer was changed; the candidate's value is not meant to be the original's; or it cannot be told."""

OWN, BETTER = 0.25, 0.5
"""Parts of the born error, and of what the value does to the outputs, that say so."""

SAME, SAME_RELATIVE = 1e-14, 1e-10
"""Squares of differences below this part of the outputs' are the rounding of float32; of differences relative to each element."""

LEAST = 1e-8
"""Part of an output's root mean square below which relative differences are none."""


class Patching:
    """Both models on some samples, run anew for each value in question; nothing is held but the outputs."""

    def __init__(
        self, original: ir.Model, candidate: ir.Model, feeds: Sequence[Batch], ends: Mapping[str, str]
    ) -> None:
        """`ends`: the values in question, by name in the original: the candidate's names."""
        self._candidate, self._feeds, self._ends = candidate, feeds, dict(ends)
        self._heads = [v.name or "" for v in original.graph.outputs]
        wanted = list(dict.fromkeys([*self._heads, *ends]))
        self._original = Session(original, level="none", outputs=wanted)
        inner = list(dict.fromkeys([*self._heads, *ends.values()]))
        self._own = _Run(unrounded(cut(candidate, {}, inner)))

    def blame(self, name: str, place: Place) -> Blame:
        """Whether the value is off in the candidate's own run, and what the original's in its place does to the outputs."""
        end = self._ends[name]
        off, sums = 0.0, np.zeros((2, 3))
        patched: _Run | None = None
        for feed in self._feeds:
            original = self._original.run(feed, list(dict.fromkeys([*self._heads, name])))
            own = self._own.run(feed, list(dict.fromkeys([*self._heads, end])))
            if name in self._heads and not _is_float(original[name]):
                return "guilty"  # labels that are others in the candidate's own run, see `opaque`
            off += _squares(place.of(original[name]), place.of(own[end]))
            if name in self._heads:
                continue
            if patched is None:
                patched = _Run(unrounded(cut(self._candidate, {end: own[end].dtype}, self._heads)))
            if not patched.inputs:
                return "unknown"
            other = patched.run({**feed, patched.inputs[end]: fitted(original[name], own[end].dtype)}, self._heads)
            for head in self._heads:
                sums += _measured(*(_flat(o[head]) for o in (original, own, other)))
        off_itself = off >= OWN * min(place.error, 1e300)
        better, worse = _effects(sums)
        if worse and not better:
            return "no pair"
        return "guilty" if off_itself and (name in self._heads or (better and not worse)) else "unknown"


def _measured(y: Array, p: Array, q: Array) -> Array:
    """For plain differences and for relative ones: how much better q is than p, how far they are apart, and the signal; [2, 3].

    Relative ones see the small probabilities behind a large one.
    """
    if not y.shape == p.shape == q.shape or y.size == 0:
        return np.zeros((2, 3))
    sizes = np.abs(np.clip(np.nan_to_num(y), -1e8, 1e8))
    relative = sizes + LEAST * np.sqrt(np.mean(np.square(sizes)))
    found = []
    for scale in (1.0, np.where(relative > 0, relative, 1.0)):
        a, b, c = (x / scale for x in (y, p, q))
        found.append((_squares(a, b) - _squares(a, c), _squares(b, c), float(np.square(sizes / scale).sum())))
    return np.asarray(found)


def _effects(sums: Array) -> tuple[bool, bool]:
    """Whether the original's value makes the outputs better, and whether worse, by one of the measures that feel it."""
    felt = sums[:, 1] > np.asarray((SAME, SAME_RELATIVE)) * sums[:, 2]
    better = felt & (sums[:, 0] >= BETTER * sums[:, 1])
    worse = felt & (-sums[:, 0] >= BETTER * sums[:, 1])
    return bool(better.any()), bool(worse.any())


class _Run:
    """A session of a cut model, by the names that its outputs had."""

    def __init__(self, parts: Segments) -> None:
        self.inputs = parts.inputs
        self._names = parts.outputs
        self._session = Session(parts.model, level="none")

    def run(self, feed: Batch, wanted: Sequence[str]) -> dict[str, Any]:
        known = {s.name for s in self._session.inputs}
        given = {n: a for n, a in feed.items() if n in known}
        found = self._session.run(given, [self._names[n] for n in wanted])
        return {n: found[self._names[n]] for n in wanted}


def fitted(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in another float type; what is beyond its largest number, such as a mask, is that."""
    limit = np.finfo(dtype).max
    return np.asarray(np.where(np.isinf(array), array, np.clip(array, -limit, limit)).astype(dtype))


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _flat(value: Any) -> Array:
    """An output as one row of numbers; text by what can be told of it: whether it is equal."""
    rows = [a.reshape(-1) for a in leaves(value)]
    numbers = [r.astype(np.float64) if r.dtype.kind in "fiub" else _hashes(r) for r in rows]
    return np.concatenate(numbers) if numbers else np.zeros(0)


def _hashes(texts: Array) -> Array:
    return np.asarray([float(sum(ord(c) * (i + 1) for i, c in enumerate(str(t)))) for t in texts])


def _squares(left: Array, right: Array) -> float:
    """Sum of squared differences; where one is not finite, or they are of other sizes, that of a large number."""
    if left.shape != right.shape:
        return 1e300
    a, b = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(all="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)
    return float(np.square(np.clip(np.nan_to_num(difference, nan=1e8), -1e8, 1e8)).sum())
