"""Weights alone, in one call: look at what layers read where there is data, round, put in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.gather import View, chunks, gather
from onnxzip.calibrate.probe import Passes, token_mask
from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.opset import raise_opset
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.choice import Choice, put_in, read_plan
from onnxzip.quantize.evidence import MOMENT_ROWS, gathered
from onnxzip.quantize.gptq4 import PLENTY
from onnxzip.quantize.ladder4 import back_to_eight, errors
from onnxzip.quantize.refine import refine
from onnxzip.quantize.schema import QuantPlan, Weight
from onnxzip.quantize.targets import BLOCK_OPSET, target_row
from onnxzip.quantize.weights import block_weight
from onnxzip.quantize.weights_only import Layer, Pair, base_plan, in_eight_bits, in_four_bits, layers_of, sizes_for
from onnxzip.runtime import Batch

FEWEST, MOST = 1024, 16384
"""Rows a layer that are looked at for 4 bits: `PLENTY` for each column of the widest layer, within these."""


def quantize_weights(
    model: ir.Model, config: Config, data: Iterable[Batch] | None = None, observer: Observer = SILENT
) -> Choice:
    """Store the weights as integers of 8 or 4 bits and leave everything else float, or replay the plan that `config.plan` names.

    Args:
        model: the model; not changed.
        config: preset, target, keep_float and plan are read.
        data: batches to round on, never those of the verdict; None: what layers read is assumed.
        observer: told of each batch.

    Raises:
        UsageError: a pattern matches nothing, or the plan cannot be read or does not fit.
        DataError: the model gives NaN or Inf on the data.
    """
    if config.plan is not None:
        plan = read_plan(config)
        if plan.sites:
            raise UsageError(
                f"{config.plan}: the plan quantizes activations too, which preset {config.preset} does not: use preset int8, with data"
            )
        return put_in(model, plan)
    plan = base_plan(model, config.target, config.keep_float)
    if not plan.nodes:
        return put_in(model, plan)
    layers = layers_of(model, plan)
    if data is not None and config.preset == "weights8":
        return put_in(model, _on_data(model, plan, layers, data, observer))
    seen = {} if data is None else _seen(model, layers, data, observer)
    limit = target_row(plan.target).weight_max
    four, notes = dict[str, Weight](), tuple[str, ...]()
    if config.preset == "weights4":
        problem = _opset_problem(model)
        if problem is None:
            four, notes = _four_bits(model, layers, seen, data, observer)
        else:
            notes = (f"weights have 8 bits, not 4: {problem}",)
    weights: list[Weight] = []
    with observer.step("round weights", len(layers)) as done:
        for layer in layers:
            weights.append(four.get(layer.weight.initializer) or in_eight_bits(layer, seen.get(_name(layer)), limit))
            done()
    return put_in(model, dataclasses.replace(plan, weights=tuple(weights), notes=(*plan.notes, *notes)))


def _on_data(
    model: ir.Model, plan: QuantPlan, layers: Sequence[Layer], data: Iterable[Batch], observer: Observer
) -> QuantPlan:
    """A plan of 8 bits with roundings and biases from the data, as for int8."""
    looks = [k for y in layers if (k := y.look()) is not None]
    view = View(data, token_mask(model, data), MOMENT_ROWS, Passes())
    _, moments = gathered(model, looks, view, observer=observer)
    return refine(model, plan, target_row(plan.target), moments)


def _seen(model: ir.Model, layers: Sequence[Layer], data: Iterable[Batch], observer: Observer) -> Mapping[str, Pair]:
    """Moments of what each layer reads, in runs that fit into memory."""
    looks = [k for y in layers if (k := y.look()) is not None]
    rows = sizes_for(layers, FEWEST, MOST, PLENTY)
    view = View(data, token_mask(model, data), rows, Passes(), observer)
    found: dict[str, Pair] = {}
    for numbers in chunks([[k] for k in looks]):
        found |= gather(model, [looks[n] for n in numbers], view, "look at what layers read")
    return found


def _four_bits(
    model: ir.Model, layers: Sequence[Layer], seen: Mapping[str, Pair], data: Iterable[Batch] | None, observer: Observer
) -> tuple[dict[str, Weight], tuple[str, ...]]:
    """The weights that get 4 bits, and what the user should know about the others."""
    able = {y.weight.initializer: y for y in layers if y.takes_four_bits()}
    if data is None:
        windows = [n for n, y in able.items() if y.content.ndim > 2]
        able = {n: y for n, y in able.items() if n not in windows}
        notes = (f"{len(windows)} Conv keep weights of 8 bits: without data, 4 would cost too much",) if windows else ()
        return {n: in_four_bits(y, None) for n, y in able.items()}, notes
    four: dict[str, Weight] = {}
    with observer.step("round weights to 4 bits", len(able)) as done:
        for name, layer in able.items():
            four[name] = in_four_bits(layer, seen.get(_name(layer)))
            done()
    error = errors(model, {n: _content(able[n], w) for n, w in four.items()}, data, observer)
    saved = {n: able[n].content.size * 4 // 8 for n in four}
    back = back_to_eight(error, saved)
    notes = (f"weights that keep 8 bits, for 4 would cost too much: {', '.join(back)}",) if back else ()
    return {n: w for n, w in four.items() if n not in back}, notes


def _content(layer: Layer, weight: Weight) -> np.ndarray:
    """What the codes of a weight stand for, in the shape of the weight."""
    stored = block_weight(layer.content, weight)
    where = [slice(None)] * layer.content.ndim
    index = np.arange(layer.content.shape[1 - weight.axis]) // weight.block
    where[1 - weight.axis] = index  # type: ignore[call-overload] # an array is an index too
    zeros = np.zeros(1, np.float32) if stored.zeros is None else stored.zeros[tuple(where)].astype(np.float32)
    return np.asarray((stored.codes.astype(np.float32) - zeros) * stored.scales[tuple(where)])


def _opset_problem(model: ir.Model) -> str | None:
    """Why a model cannot hold weights of 4 bits, or None."""
    try:
        raise_opset(model, BLOCK_OPSET)
    except ModelError as error:
        return str(error)
    return None


def _name(layer: Layer) -> str:
    return "" if layer.reader is None else layer.reader.outputs[0].name or ""
