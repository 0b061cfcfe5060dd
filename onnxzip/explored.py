"""What `explore` leaves behind, as plain data like `onnxzip.records`, and which of its points are worth a choice.

A point has three figures: its share of the original's bytes, its speed-up, and its fidelity (the share of equal decisions where the model
takes some; where it takes none, or equally many are equal, the SQNR). Point a *dominates* b when it is at least as good in all three and better
in one (Pareto). Speed is measured, so a is as fast as b unless b's 95 % interval lies above a's, and faster only where a's lies above b's: by size and
fidelity alone else. The *front* holds the points that no other one dominates. Domination has no cycles (size and fidelity are ordered, and so are intervals
that do not meet), so the front is never empty; it is not transitive, for intervals may meet in a chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from onnxzip.records import Speed, Verdict

SAME_DB = 90.0
"""SQNR above which all is rounding: the limit of exact rewriting."""

State = Literal["judged", "refused", "not run"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model that was tried.

    Attributes:
        name: what was done, such as "prune 0.2 + int8".
        settings: the fields of `Config` that make it: `preset`, and `prune` where channels were pruned.
        state: "judged"; "refused": there is no such model; or "not run": there was no time for it.
        verdict: how it was judged, by the budget that was given; None where it was not.
        bytes: its size with its weights; None where there is none.
        seconds: wall-clock time that it took.
        notes: why there is none, why there was no time, what `optimize` would say of it.
        on_front: no other point is better (see `onnxzip.explored`).
        same_as: the point that came to the same model before, or None.
        command: the command line that makes it, for a shell; None where model or data came from memory, or a setting has no option.
        file: where it was written, or None.
    """

    name: str
    settings: Mapping[str, object]
    state: State
    verdict: Verdict | None = None
    bytes: int | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    on_front: bool = False
    same_as: str | None = None
    command: str | None = None
    file: str | None = None

    @property
    def passed(self) -> bool:
        """It holds the budget."""
        return self.verdict is not None and self.verdict.passed

    @property
    def size_ratio(self) -> float | None:
        """Its bytes divided by the original's."""
        return None if self.verdict is None else self.verdict.size_ratio

    @property
    def speed(self) -> Speed | None:
        """How much faster it is than the original, where that was measured."""
        return None if self.verdict is None else self.verdict.speed

    @property
    def agreement(self) -> float | None:
        """The share of equal decisions, of the worst output that takes some."""
        return None if self.verdict is None else self.verdict.metrics.get("agreement")

    @property
    def sqnr_db(self) -> float | None:
        """The SQNR of the worst float output."""
        return None if self.verdict is None else self.verdict.metrics.get("sqnr_db")


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """One `explore`.

    Attributes:
        source, source_digest: where the model came from, and its SHA-256.
        versions: of onnxzip and what it stands on.
        config: the settings that all points share.
        bytes: of the original.
        time_limit: seconds that were given.
        seconds: seconds that it took.
        interrupted: the user stopped it; points that were not reached are missing.
        points: what was tried, in this order.
        notes: what the user should know about model and data.
    """

    source: str
    source_digest: str
    versions: Mapping[str, str]
    config: Mapping[str, object]
    bytes: int
    time_limit: float
    seconds: float
    interrupted: bool
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    @property
    def smallest(self) -> str | None:
        """The smallest point that holds the budget, by name."""
        return _best(self.points, lambda p: -math.inf if p.size_ratio is None else -p.size_ratio)

    @property
    def fastest(self) -> str | None:
        """The point that holds the budget and is fastest for sure (by the lower end of the interval), by name; None where speed was not measured."""
        if all(p.speed is None for p in self.points):
            return None
        return _best(self.points, lambda p: -math.inf if p.speed is None else p.speed.low)


@dataclass(frozen=True)
class Figures:
    """What points are compared by.

    Attributes:
        size: share of the original's bytes; less is better.
        speed: the interval of the speed-up, low and high; more is better. Both 1 where it was not measured.
        fidelity: share of equal decisions (1 where there are none), then SQNR in dB; compared one after the other, more is better.
    """

    size: float
    speed: tuple[float, float]
    fidelity: tuple[float, float]


def figures(point: Point) -> Figures | None:
    """The figures of a point; None where there are none, or it is one that was there before."""
    if point.verdict is None or not point.verdict.verified or point.same_as is not None or point.size_ratio is None:
        return None
    speed = (1.0, 1.0) if point.speed is None else (point.speed.low, point.speed.high)
    sqnr = SAME_DB if point.sqnr_db is None else min(point.sqnr_db, SAME_DB)
    return Figures(point.size_ratio, speed, (1.0 if point.agreement is None else point.agreement, sqnr))


def dominates(one: Figures, other: Figures) -> bool:
    """Whether nobody would take `other` who can have `one`.

    >>> small, faster = Figures(0.3, (1.9, 2.1), (0.99, 30.0)), Figures(0.3, (2.2, 2.4), (0.99, 30.0))
    >>> dominates(faster, small), dominates(small, faster), dominates(small, small)
    (True, False, False)
    >>> noisy = Figures(0.4, (2.0, 2.5), (0.99, 30.0))  # faster by chance, at most: the intervals meet
    >>> dominates(small, noisy)
    True
    """
    if one.size > other.size or one.fidelity < other.fidelity or one.speed[1] < other.speed[0]:
        return False
    return one.size < other.size or one.fidelity > other.fidelity or one.speed[0] > other.speed[1]


def front(found: Sequence[Figures | None]) -> tuple[bool, ...]:
    """Which of these no other one dominates; those without figures are not on it.

    >>> front([Figures(1.0, (1, 1), (1.0, 90)), Figures(0.3, (2, 2), (0.98, 30)), Figures(0.5, (1, 1), (0.9, 20)), None])
    (True, True, False, False)
    """
    return tuple(f is not None and not any(o is not None and dominates(o, f) for o in found) for f in found)


def _best(points: Sequence[Point], value: Callable[[Point], float]) -> str | None:
    return max((p for p in points if p.passed), key=value).name if any(p.passed for p in points) else None
