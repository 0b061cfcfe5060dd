"""The error of an output that is no float tensor: labels, sequences, maps."""

from __future__ import annotations

import math
from typing import Any

from onnxzip.validate.energies import EXACT, HELD, ROUNDING, Place
from onnxzip.validate.metrics import Accumulator

OTHER = 0.5
"""Part of the labels of a lossy candidate that must differ for it to be grave."""


class Opaque:
    """What `energies.Energies` is for float values. Explained where the twin differs as much."""

    def __init__(self, name: str) -> None:
        self._sums = [Accumulator(name) for _ in range(3)]

    def add(self, original: Any, gathered: Any, born: Any, twin: Any) -> None:
        """Take in one batch."""
        for sums, (left, right) in zip(self._sums, ((original, gathered), (original, born), (born, twin)), strict=True):
            sums.add(left, right)

    @property
    def gathered_db(self) -> float | None:
        """SQNR with all error from the input on; None where nothing is float."""
        return self._sums[0].result().sqnr_db

    @property
    def born_db(self) -> float | None:
        """SQNR of the segment alone."""
        return self._sums[1].result().sqnr_db

    @property
    def explained_db(self) -> float | None:
        """The SQNR of the twin."""
        return self._sums[2].result().sqnr_db

    @property
    def suspect(self) -> bool:
        """Whether rounding does not explain it."""
        born, twin = self._sums[1].result(), self._sums[2].result()
        if born.max_abs_error == 0:
            return False
        if math.isinf(born.max_abs_error):
            return True
        if born.sqnr_db is not None:
            return born.sqnr_db < min(-10 * math.log10(EXACT), (twin.sqnr_db or 0.0) - 10 * math.log10(ROUNDING))
        return 1 - (born.agreement or 0.0) > ROUNDING * (1 - (twin.agreement or 0.0))

    def grave(self, *, lossy: bool) -> Place | None:
        """Likewise: all of it, where the candidate's own run is off as well, and in a lossy candidate most of it."""
        gathered, born, twin = (s.result() for s in self._sums)
        if not self.suspect or gathered.max_abs_error == 0:
            return None
        off = [1.0 if r.agreement is None else 1 - r.agreement for r in (gathered, born, twin)]
        if lossy and not (min(off[:2]) > OTHER and off[2] < 1 - HELD):
            return None
        return Place(None, 0, math.inf)
