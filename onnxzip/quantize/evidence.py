"""Everything that int8 needs to know about a model on its data, from one run: statistics, moments, rows, answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.calibrate.collect import collect
from onnxzip.calibrate.gather import Gathering, Look, View, chunks
from onnxzip.calibrate.moment_store import MomentStore
from onnxzip.calibrate.moments import LIMIT_BYTES, Moments
from onnxzip.calibrate.observers import TensorStatistics
from onnxzip.calibrate.probe import Passes, token_mask
from onnxzip.calibrate.watch import Watcher
from onnxzip.config import Calibrate
from onnxzip.model.shapes import Shapes
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.equalize import candidates
from onnxzip.quantize.extents import Extents
from onnxzip.quantize.forms import TOKEN_RANK, Rows
from onnxzip.quantize.kernels import Kernel
from onnxzip.quantize.outcome import Answers
from onnxzip.quantize.placement import place
from onnxzip.quantize.refine import look_at
from onnxzip.quantize.row import TargetRow
from onnxzip.runtime import Batch

MOMENT_ROWS = 4096
"""Rows of each layer that moments are summed up of."""

MOMENT_BYTES = 2 * LIMIT_BYTES
"""Moments of one run, as looks count them: in single precision, and all in one half, they take a quarter of that.
What earlier runs gave lies in a file (`MomentStore`)."""

FORM_ROWS = 256
"""Rows of each activation that are kept to choose its form."""

EXTENT_ROWS = 4096
"""Rows of each activation that are kept to equalize its channels."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was seen of a float model.

    Attributes:
        statistics: by tensor.
        moments: of what each layer reads, by the layer's output.
        rows: samples of what MatMuls of tokens read.
        answers: the model's own outputs.
        effort: how many of the batches were looked at.
        extents: of the activations that can be equalized; None where that was not asked.
    """

    statistics: Mapping[str, TensorStatistics]
    moments: Mapping[str, Moments]
    rows: Rows
    answers: Answers
    effort: Calibrate = "full"
    extents: Extents | None = None


def look(
    model: ir.Model,
    row: TargetRow,
    keep: Mapping[ir.Node, str],
    tensors: tuple[str, ...],
    data: Iterable[Batch],
    *,
    effort: Calibrate,
    observer: Observer,
    extents: bool = False,
) -> Evidence:
    """Run the model over the data, once where the moments of all layers fit into memory.

    Args:
        model: the float model.
        row: the target.
        keep: nodes that stay float.
        tensors: whose statistics are wanted.
        data: batches to tune on.
        effort: how many of them.
        observer: told of each batch.
        extents: whether it shall be told how to equalize the model; only for targets that are measured here.

    Raises:
        DataError: there is no batch, or a tensor is NaN or infinite on one.
    """
    kernels = place(model, row, keep).kernels
    mask = token_mask(model, data)
    rows = Rows(_token_inputs(model, kernels, row), View(data, mask, FORM_ROWS, Passes()))
    answers, view = Answers(model), View(data, mask, MOMENT_ROWS, Passes())
    reaches = None
    if extents and row.placement == "kernels":
        reaches = Extents(candidates(model), View(data, None, EXTENT_ROWS, Passes()))
    once: list[Watcher] = [w for w in (rows, answers, reaches) if w is not None]
    looks = [one for k in kernels if k.role != "table" if (one := look_at(k.node, k.axis)) is not None]
    statistics, moments = gathered(model, looks, view, tensors, once, effort=effort, observer=observer)
    return Evidence(statistics, moments, rows, answers, effort, reaches)


def gathered(
    model: ir.Model,
    looks: Iterable[Look],
    view: View,
    tensors: tuple[str, ...] = (),
    watchers: Iterable[Watcher] = (),
    *,
    effort: Calibrate = "full",
    observer: Observer = SILENT,
) -> tuple[Mapping[str, TensorStatistics], MomentStore]:
    """Statistics of tensors and moments of what layers read, by the layers' outputs; watchers and tensors are served by the first run.

    Args:
        model: the float model.
        looks: how the layers read.
        view: the data, and how many rows of it.
        tensors: whose statistics are wanted.
        watchers: what else looks.
        effort: how many of the batches count.
        observer: told of each batch.
    """
    alike: dict[Look, list[Look]] = {}  # queries, keys and values read the same rows
    for one in looks:
        alike.setdefault(dataclasses.replace(one, name=""), []).append(one)
    sets, moments, statistics = list(alike.values()), MomentStore(), None
    once = list(watchers)
    for part in chunks([same[:1] for same in sets], MOMENT_BYTES) or [[]]:
        gathering = Gathering([sets[i][0] for i in part], view, single=True)
        wanted = tensors if statistics is None else ()
        found = collect(model, wanted, view.data, observer=observer, effort=effort, watchers=(gathering, *once))
        statistics, once = found if statistics is None else statistics, []
        for i in part:
            moments.put((k.name for k in sets[i]), gathering.halves.pop(sets[i][0].name)[0])
    return statistics or {}, moments


def _token_inputs(model: ir.Model, kernels: Sequence[Kernel], row: TargetRow) -> list[str]:
    """The tensors of tokens that MatMuls read, each once."""
    if not row.tokens:
        return []
    shapes = Shapes(model)
    return list(dict.fromkeys(k.data.name or "" for k in kernels if k.role == "matmul" and _tokens(k.data, shapes)))


def _tokens(value: ir.Value, shapes: Shapes) -> bool:
    return (shapes.rank(value) or 0) >= TOKEN_RANK
