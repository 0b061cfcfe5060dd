"""How far the channels of activations reach, watched while a model runs: sampled rows, and what is to be expected of data not seen.

    reach_j = max + 3 · 0.78 · sd    of the largest |x_j| of each sample

0.78 sd is the scale of a Gumbel distribution, and 3 of it are what the largest of twenty times as many samples exceeds
the largest of these by. Samples go to folds by their batch, so that what one part of the data says can be tried on another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxzip.calibrate.arrays import Ids, Numbers
from onnxzip.calibrate.gather import View
from onnxzip.calibrate.patches import sample
from onnxzip.runtime import Batch

FOLDS = 4
BEYOND = 3 * 0.78


class Extents:
    """A watcher of activations whose second axis is that of channels; what it keeps is bounded.

    Args:
        tensors: their names.
        view: the data; `view.rows` is how many rows are kept of each.

    Attributes:
        wanted: their names.
        positions: values seen of each channel, by name.
    """

    def __init__(self, tensors: Sequence[str], view: View) -> None:
        self.wanted = tuple(tensors)
        self.positions = dict.fromkeys(tensors, 0)
        self._view = view
        self._rows: dict[str, list[tuple[int, np.ndarray]]] = {n: [] for n in tensors}
        self._sums: dict[str, list[Numbers]] = {}

    def see(self, number: int, batch: Batch, arrays: Mapping[str, Any]) -> None:
        """Look at one batch."""
        fold = number % FOLDS
        for name in self.wanted:
            values = arrays[name]
            by_channel = values.reshape(*values.shape[:2], -1)
            largest = np.maximum(by_channel.max(axis=2), -by_channel.min(axis=2)).astype(np.float64)
            sums = self._sums.setdefault(name, [np.zeros((4, values.shape[1])) for _ in range(FOLDS)])[fold]
            sums[:3] += [np.full(values.shape[1], len(values)), largest.sum(axis=0), (largest**2).sum(axis=0)]
            sums[3] = np.maximum(sums[3], largest.max(axis=0))
            grid = (len(values), by_channel.shape[2])
            self.positions[name] += grid[0] * grid[1]
            places = np.unravel_index(sample(grid, self._view.limit(), number), grid)
            self._rows[name].append((fold, by_channel[places[0], :, places[1]]))

    def folds(self, name: str) -> list[int]:
        """The folds that hold samples."""
        return [f for f, sums in enumerate(self._sums[name]) if sums[0, 0]]

    def rows(self, name: str) -> tuple[Numbers, Ids]:
        """Sampled rows float64[n, C], and the fold of each, int64[n]."""
        parts = self._rows[name]
        fold = np.repeat([f for f, _ in parts], [len(r) for _, r in parts])
        return np.concatenate([r for _, r in parts]).astype(np.float64), fold

    def reach(self, name: str, without: int | None = None) -> Numbers:
        """How far each channel is expected to reach, float64[C], from all folds or all but one; 0 for channels that are always 0."""
        parts = [s for f, s in enumerate(self._sums[name]) if f != without]
        count, total, square = np.sum([s[:3] for s in parts], axis=0)
        spread = np.maximum(square - total**2 / count, 0) / np.maximum(count - 1, 1)
        return np.asarray(np.max([s[3] for s in parts], axis=0) + BEYOND * np.sqrt(spread))
