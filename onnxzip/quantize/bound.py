"""When a search ends: in time, and before it has run too much."""

from __future__ import annotations

import time
from dataclasses import dataclass

PASSES = 24.0
"""How often a search may run a model over the data that tunes; with what comes before and after it, thirty passes over all of it."""


@dataclass
class Bound:
    """When to stop: a point in time (`time.monotonic`), and passes over the data.

    Attributes:
        stop: nothing is begun that would not be over by then.
        passes: over the data, that may be made.
        used: passes that were made.
        evaluations: how many there were.
        slowest: seconds of the slowest of them.
        last: what the comparison at the end takes, in evaluations: a run over all data.
    """

    stop: float
    passes: float = PASSES
    used: float = 0.0
    evaluations: int = 0
    slowest: float = 0.0
    last: int = 0

    def open(self, evaluations: int = 1) -> bool:
        """Whether time is left for so many evaluations as slow as the slowest so far and for the end, and work for one."""
        return time.monotonic() + (evaluations + self.last) * self.slowest < self.stop and self.used < self.passes

    def reason(self) -> str:
        """Why the search ended."""
        if self.used >= self.passes:
            return f"{self.passes:.0f} passes over the data were made"
        return "its time was up" if not self.open() else "nothing was left to try"
