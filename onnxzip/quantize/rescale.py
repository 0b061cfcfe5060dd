"""Factors of a plan put into the float weights: an exact rewrite, but for the rounding of float32.

W[i, j] ← W[i, j] s_j / t_i,    b_i ← b_i / t_i,    s of what the layer reads, t of what it makes (see `ties`)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.arrays import Ids, Numbers
from onnxzip.errors import UsageError
from onnxzip.model.constants import array
from onnxzip.quantize.matrix import from_rows, groups_of, to_rows
from onnxzip.quantize.packed import unpack
from onnxzip.quantize.schema import Equalized
from onnxzip.quantize.ties import Layer, Ties


def rescaled(model: ir.Model, equalized: Sequence[Equalized]) -> ir.Model:
    """A copy of the model whose layers make these tensors divided by these factors, and read them accordingly.

    Raises:
        UsageError: a tensor is not made by a Conv or Gemm of the model, or its factors would change what the model computes.
    """
    result = model.clone()
    if not equalized:
        return result
    ties = Ties(result)
    factors = _factors(ties, equalized)
    changes = [
        (layer, _of(factors, ties.of(layer.source)), _of(factors, ties.of(layer.result))) for layer in ties.layers
    ]
    for layer, read, made in changes:
        if (read != 1).any() or (made != 1).any():
            _rescale(layer, read, made)
    return result


def _factors(ties: Ties, equalized: Sequence[Equalized]) -> dict[int, float]:
    """Factors by class of channels; classes that are not there have 1."""
    made = {layer.result.name: layer.result for layer in ties.layers}
    entries = {e.tensor: e.factors for e in equalized}
    if unknown := sorted(set(entries) - set(made)):
        raise UsageError(
            f"the plan does not fit the model: tensor {unknown[0]!r} is equalized, but no Conv or Gemm with constant weights makes it. Make a new plan for this model."
        )
    found: dict[int, float] = {}
    for name, value in made.items():
        classes, free = ties.of(value).tolist(), ties.free(value).tolist()
        text = entries.get(name or "")
        own = [1.0] * len(classes)
        if text is not None:
            own = unpack(text, np.float32, (len(classes),), f"the factors of tensor {name!r}").astype(float).tolist()
        for place, allowed, factor in zip(classes, free, own, strict=True):
            if not (0 < factor < np.inf) or (factor != 1 and not allowed) or found.setdefault(place, factor) != factor:
                raise UsageError(
                    f"the plan does not fit the model: tensor {name!r} cannot be divided by these factors without changing the results. Make a new plan for this model."
                )
    return found


def _of(factors: dict[int, float], classes: Ids) -> Numbers:
    return np.array([factors.get(c, 1.0) for c in classes.tolist()])


def _rescale(layer: Layer, read: Numbers, made: Numbers) -> None:
    node, groups = layer.node, groups_of(layer.node)
    weight = array(node.inputs[1])
    assert weight is not None  # noqa: S101 # for mypy: it is a layer
    rows = to_rows(weight, layer.axis, groups).astype(np.float64)
    taps = rows.shape[2] * groups // len(read)
    rows = rows * np.repeat(read.reshape(groups, 1, -1), taps, axis=2) / made.reshape(groups, -1, 1)
    _set(node.inputs[1], from_rows(rows, weight.shape, layer.axis))
    bias = array(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None and (made != 1).any():
        _set(node.inputs[2], bias / made)


def _set(value: ir.Value | None, content: np.ndarray) -> None:
    assert value is not None  # noqa: S101 # for mypy
    value.const_value = ir.tensor(content.astype(np.float32), name=value.name)
