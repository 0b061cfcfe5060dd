"""One limit against one figure: held, missed, or not settled.

Without a confidence the figure decides. With one, a limit is held or missed only where it lies outside of the figure's interval; inside of it the samples do not
settle it. A figure without an interval (too few samples, a metric that cannot be computed on samples drawn again) settles nothing then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onnxzip.validate.intervals import FEWEST


@dataclass
class Findings:
    """What came of the limits so far.

    Attributes:
        confidence: that the budget asks for, or None.
        samples: how many were compared.
        settled: the candidate gives the same numbers, so that figures decide without intervals: other samples would give the same.
        made_up: the samples are none of the real ones, however many there are.
        reasons: sentences for limits that were missed.
        undecided: sentences for limits that are not settled.
        needed: how many samples would settle each of these; None where none would.
    """

    confidence: float | None
    samples: int = 0
    settled: bool = False
    made_up: bool = False
    reasons: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    needed: list[int | None] = field(default_factory=list)

    def exactly(self, value: float, limit: float | None, text: str, *, least: bool = False) -> None:
        """A limit on a figure without chance: `value` must be at most (or `least`, at least) the limit."""
        if limit is not None and (value < limit if least else value > limit):
            self.reasons.append(text)

    def estimate(
        self,
        value: float,
        limit: float | None,
        interval: tuple[float | None, float | None],
        texts: tuple[str, str],
        needed: Callable[[], int | None],
        *,
        least: bool,
    ) -> None:
        """A limit on a figure with an interval.

        Args:
            value: the figure.
            limit: what it must reach (`least`) or must not exceed; None: no limit.
            interval: of the confidence; two None where there is none.
            texts: the figure in words, and the limit in words: "output 'y' agrees in .95 of 60 decisions", "the limit 0.9".
            needed: how many samples would settle it.
            least: the limit is a lower one.
        """
        if limit is None:
            return
        what, bound = texts
        low, high = (value, value) if self.confidence is None or self.settled else interval
        if low is None or high is None:
            needed_for_any = FEWEST if self.samples < FEWEST and not self.made_up else None
            self._open(f"{what}, of which no interval can be had, so that {bound} is not settled", needed_for_any)
        elif high < limit if least else low > limit:
            self.reasons.append(f"{what}, {'below' if least else 'above'} {bound}")
        elif (low, high) != (value, value) and self.made_up:
            self._open(f"{what}, but made-up inputs do not settle {bound}: give data", None)
        elif not (low >= limit if least else high <= limit):
            between = f"between {low:.4g} and {high:.4g} with {self.confidence:.4g} confidence"
            self._open(f"{what}, {between}, which does not settle {bound}", needed())

    def _open(self, text: str, needed: int | None) -> None:
        tail = "" if needed is None else f": about {needed:,} samples would"
        self.undecided.append(text + tail)
        self.needed.append(needed)

    def add(self, others: Findings) -> None:
        """Take over what came of other limits."""
        self.reasons += others.reasons
        self.undecided += others.undecided
        self.needed += others.needed

    @property
    def samples_needed(self) -> int | None:
        """How many samples would settle all of what is open; None where some of it cannot be, or nothing is."""
        known = [n for n in self.needed if n is not None]
        return max(known) if known and len(known) == len(self.needed) else None


def shown(limit: float | None) -> str:
    """A limit in words."""
    return "none" if limit is None else f"{limit:g}"
