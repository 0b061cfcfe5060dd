"""Moments of what layers read, from one run over data for each set of layers that fits in memory.

At most `rows` rows a layer, spread evenly over the batches; which ones depends on the shapes and the number of the batch alone,
so that two models with equal shapes are looked at in the same places. Rows of padded tokens are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.moments import LIMIT_BYTES, Moments, square_bytes
from onnxzip.calibrate.patches import Site, sample
from onnxzip.calibrate.probe import Passes, count, real_tokens, values
from onnxzip.errors import ModelError
from onnxzip.progress import SILENT, Observer
from onnxzip.runtime import Batch

ROWS = 16384
"""Rows a layer: more change nothing that can be measured."""


MIN_BATCHES = 4
"""Batches from which on whole batches are dealt to the halves."""


@dataclass(frozen=True)
class Look:
    """A layer to look at: its output value (its name among layers), its input value, how it reads, and its groups."""

    name: str
    value: str
    site: Site
    width: int
    groups: int = 1

    @property
    def bytes(self) -> int:
        """Memory for its second moments."""
        return 2 * square_bytes(self.width, self.groups)


@dataclass(frozen=True)
class View:
    """The data that all looks share: batches, the mask of tokens, rows a layer, and the books."""

    data: Iterable[Batch]
    mask: str | None
    rows: int
    passes: Passes
    observer: Observer = SILENT

    def limit(self) -> int:
        """Rows a layer and batch."""
        return max(1, math.ceil(self.rows / max(1, count(self.data))))

    def places(self, look: Look, shape: tuple[int, ...], batch: Batch, number: int) -> np.ndarray:
        """The positions to look at in one batch."""
        grid = look.site.grid(shape)
        return sample(grid, self.limit(), number, real_tokens(batch, self.mask, grid))


Targets = Callable[[Look, int, np.ndarray, Mapping[str, np.ndarray]], np.ndarray]
"""Targets of a layer in a batch: given the layer, the number of the batch, the positions, and the values of the batch."""


def gather(
    model: ir.Model,
    looks: Sequence[Look],
    view: View,
    what: str,
    *,
    outputs: Mapping[str, int] | None = None,
    more: Sequence[str] = (),
    targets: Targets | None = None,
) -> dict[str, tuple[Moments, Moments]]:
    """Moments of all these layers' rows in one run over the data, in two halves.

    Batches go to the halves in turns; where there are few of them, the first rows of each to one and the others to the other.

    Args:
        model: the model.
        looks: the layers; mind the memory (see `chunks`).
        view: the data.
        what: what observers call it.
        outputs: number of targets by layer.
        more: further values that `targets` needs.
        targets: gives the targets.

    Raises:
        ModelError: a layer's input does not have the width that its weights want.
    """
    watcher = Gathering(looks, view, outputs=outputs, targets=targets)
    wanted = [*watcher.wanted, *more]
    for number, (batch, arrays) in enumerate(values(model, wanted, view.data, view.passes, view.observer, what)):
        watcher.see(number, batch, arrays)
    return watcher.halves


class Gathering:
    """A watcher that sums up moments of what layers read (see `gather` for the arguments).

    Args:
        single: products and sums in float32, and all rows in the first half: half of the time, a quarter of the memory.

    Attributes:
        wanted: the values that the layers read.
        halves: moments by layer, in two halves of the rows.
    """

    def __init__(
        self,
        looks: Sequence[Look],
        view: View,
        *,
        outputs: Mapping[str, int] | None = None,
        targets: Targets | None = None,
        single: bool = False,
    ) -> None:
        sizes = outputs or {}
        self._looks, self._view, self._targets = looks, view, targets
        self._few = not single and count(view.data) < MIN_BATCHES
        self._single = single
        self.wanted = tuple(dict.fromkeys(k.value for k in looks))
        self.halves = {k.name: (_moments(k, sizes, single=single), _moments(k, sizes, single=single)) for k in looks}

    def see(self, number: int, batch: Batch, arrays: Mapping[str, Any]) -> None:
        """Add the rows of one batch."""
        for look in self._looks:
            array = arrays.get(look.value)
            if array is None:
                continue  # inside a body that did not run
            where = self._view.places(look, array.shape, batch, number)
            if not len(where):
                continue  # an empty batch, or one of padding alone
            rows = look.site.rows(array, where).reshape(len(where), -1)
            if rows.shape[1] != look.width:
                raise ModelError(f"{look.value!r} has {rows.shape[1]} elements a row where {look.width} are read")
            aims = None if self._targets is None else self._targets(look, number, where, arrays)
            for half in range(2):
                own = _half(len(rows), half) if self._few else slice(None)
                if self._few or (0 if self._single else number % 2) == half:
                    self.halves[look.name][half].add(rows[own], None if aims is None else aims[own])


def _moments(look: Look, targets: Mapping[str, int], *, single: bool) -> Moments:
    return Moments(look.width, look.groups, targets.get(look.name, 0), single=single)


def _half(rows: int, half: int) -> slice:
    return slice(rows // 2, None) if half else slice(rows // 2)


def chunks(sets: Sequence[Sequence[Look]], limit: int = LIMIT_BYTES) -> list[list[int]]:
    """Numbers of sets of layers that are looked at together, in order, so that the moments of each run stay within memory."""
    found: list[list[int]] = []
    names: dict[str, int] = {}
    for number, looks in enumerate(sets):
        new = {k.name: k.bytes for k in looks}
        if found and sum((names | new).values()) <= limit:
            found[-1].append(number)
            names |= new
        else:
            found.append([number])
            names = new
    return found
