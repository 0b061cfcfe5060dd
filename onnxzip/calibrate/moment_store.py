"""Second moments of many layers: in memory as long as they take little, in a temporary file beyond that.

The moments of a K-column layer are K² numbers, whatever its weights are: those of a network of 3x3 Convs take ten times the memory of its weights.
They are read layer by layer, so only one at a time needs to be in memory.
"""

from __future__ import annotations

import copy
import math
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from onnxzip.calibrate.moments import Moments

KEPT_BYTES = 32 * 2**20
"""Moments that are kept in memory."""

SUMS = ("total", "square", "cross", "aim", "energy")


@dataclass(frozen=True, eq=False)
class _Filed:
    """Moments without their sums, the shapes of these, and where they begin in the file."""

    bare: Moments
    shapes: Mapping[str, tuple[int, ...]]
    start: int


class MomentStore(Mapping[str, Moments]):
    """Moments by the name of a layer. What lies in the file is read anew each time that it is asked for; the file goes with the store.

    Args:
        limit: bytes that are kept in memory.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._left = limit
        self._at: dict[str, Moments | _Filed] = {}
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the object
        weakref.finalize(self, self._file.close)

    def put(self, names: Iterable[str], moments: Moments) -> None:
        """Keep the moments of one or several layers, which must not be changed after that."""
        size = sum(getattr(moments, name).nbytes for name in SUMS)
        kept: Moments | _Filed = moments
        if size > self._left:
            kept = _Filed(copy.copy(moments), {n: getattr(moments, n).shape for n in SUMS}, self._file.seek(0, 2))
            for name in SUMS:
                getattr(moments, name).tofile(self._file)
                setattr(kept.bare, name, np.empty(0, getattr(moments, name).dtype))
        else:
            self._left -= size
        self._at |= dict.fromkeys(names, kept)

    def __getitem__(self, name: str) -> Moments:
        kept = self._at[name]
        if isinstance(kept, Moments):
            return kept
        found = copy.copy(kept.bare)
        self._file.seek(kept.start)
        for part, shape in kept.shapes.items():
            array = np.fromfile(self._file, getattr(found, part).dtype, math.prod(shape))
            setattr(found, part, array.reshape(shape))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, name: object) -> bool:
        return name in self._at
