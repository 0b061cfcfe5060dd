"""How much the model's outputs suffer from the errors that ranking foretells, measured.

What a reader loses says little about what the model loses: a branch of little weight beside its shortcut may lose much. So each
family is tried once: the classes that go first are taken out (their weights set to 0, the readers' other weights and biases
adapted by least squares), and the error of the outputs on a few batches (padded tokens left out) is set against what was foretold:

    scale = √( (Σ |y' − y|² / Σ |y − mean y|²) / Σ costs of what was taken out ).

Costs are multiplied by it, so that those of different families compare. The root holds the middle between what was foretold,
which is precise but local, and what was measured, which is noisy (measured: better than either on ImageNet networks, by little;
worse than the foretold alone on a sentence encoder).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.gather import View
from onnxzip.calibrate.probe import Passes, count, real_tokens, values
from onnxzip.model import edit
from onnxzip.prune.facts import Read, Slot
from onnxzip.prune.families import Order
from onnxzip.prune.labels import Numbers
from onnxzip.prune.write import put, put_weights
from onnxzip.runtime import Batch

TRIED = 4
"""The part of a family that is taken out, as a divisor."""

BATCHES = 8
"""The part of the batches that trials run on, as a divisor; some samples are enough for a ratio."""

SAMPLES = 16
"""Samples to run on at least, if there are so many."""

POWER = 0.5
"""How far the measured error is believed: 0 not at all, 1 alone."""

RANGE = 100.0
"""Scales are held within this factor of their median."""


@dataclass(frozen=True, eq=False)
class Change:
    """New weights and bias of one layer of a trial."""

    read: Read
    taps: np.ndarray
    bias: Numbers | None


@dataclass(frozen=True, eq=False)
class Trial:
    """What a family's first classes to go leave of its readers, and the error foretold."""

    changes: tuple[Change, ...]
    foretold: float


@dataclass(frozen=True)
class Few:
    """Every so many-th batch of data."""

    data: Iterable[Batch]
    every: int

    def __iter__(self) -> Iterator[Batch]:
        """The batches."""
        return islice(iter(self.data), 0, None, self.every)

    def __len__(self) -> int:
        """How many there are."""
        return (count(self.data) + self.every - 1) // self.every


def scaled(
    model: ir.Model,
    orders: Sequence[Order | None],
    trials: Sequence[Trial | None],
    few: Few,
    view: View,
) -> list[Order | None]:
    """The orders with their costs brought to the scale of the model's outputs."""
    names = [o.name or "" for o in model.graph.outputs]
    share = len(few) / max(1, count(few.data))
    reference = _outputs(model, names, few, view.mask)
    scales = np.full(len(orders), np.nan)
    with view.observer.step("try families", sum(t is not None for t in trials)) as done:
        for number, trial in enumerate(trials):
            if trial is None or trial.foretold <= 0:
                continue
            error = _error(reference, _outputs(_changed(model, trial), names, few, view.mask))
            scales[number] = (error / trial.foretold) ** POWER
            view.passes.sweeps, view.passes.cost = view.passes.sweeps + 1, view.passes.cost + share
            done()
    middle = float(np.nanmedian(scales)) if np.isfinite(scales).any() else 1.0
    held = np.clip(np.nan_to_num(scales, nan=middle), middle / RANGE, middle * RANGE)
    return [None if o is None else Order(o.classes, o.costs * s) for o, s in zip(orders, held, strict=True)]


def every(data: Iterable[Batch]) -> int:
    """Which batches to try on: each how many-th."""
    batches, rows = count(data), 1
    for batch in data:
        rows = max(1, min((len(a) for a in batch.values() if isinstance(a, np.ndarray) and a.ndim), default=1))
        break
    wanted = max(batches // BATCHES, -(-SAMPLES // rows), 1)
    return max(1, batches // wanted)


def _outputs(model: ir.Model, names: Sequence[str], few: Few, mask: str | None) -> list[dict[str, np.ndarray]]:
    """The outputs by batch, as rows; padded tokens are left out."""
    found = []
    for batch, arrays in values(model, names, few, Passes()):
        rows = {}
        for name, array in arrays.items():
            real = real_tokens(batch, mask, array.shape[:-1]) if array.ndim > 1 else None
            flat = array.reshape(-1, array.shape[-1] if array.ndim else 1)
            rows[name] = flat if real is None else flat[real]
        found.append(rows)
    return found


def _error(reference: Sequence[dict[str, np.ndarray]], found: Sequence[dict[str, np.ndarray]]) -> float:
    """Squared error of the rows of float outputs relative to their variance, the mean over them."""
    errors = []
    for name in reference[0]:
        if reference[0][name].dtype.kind != "f":
            continue
        right = np.concatenate([r[name] for r in reference]).astype(np.float64)
        wrong = np.concatenate([f[name] for f in found]).astype(np.float64)
        spread = float(((right - right.mean(axis=0)) ** 2).sum()) or float((right**2).sum())
        errors.append(float(((right - wrong) ** 2).sum()) / max(spread, 1e-30))
    return float(np.mean(errors)) if errors else 0.0


def _changed(model: ir.Model, trial: Trial) -> ir.Model:
    """A copy of the model with the weights of a trial."""
    copy = model.clone()
    names = edit.Names(copy)
    nodes = {n.outputs[0].name: n for n in copy.graph if n.outputs}
    for change in trial.changes:
        node = nodes[change.read.node.outputs[0].name]
        put_weights(copy, node, change.read, change.taps, names)
        slot: Slot | None = change.read.bias
        if slot is not None and change.bias is not None:
            dtype = change.read.taps.dtype
            put(copy, (nodes[slot[0].outputs[0].name], slot[1]), change.bias.astype(dtype), names)
    return copy
