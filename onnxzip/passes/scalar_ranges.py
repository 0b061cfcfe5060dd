"""Every Range reads scalars where it reads constants of one element.

Functions of the standard give it arrays of one element. Kernels take them, but shape inference refuses them as soon as all
three are constant, and then the model does not load any more. So whatever made them constant, they become scalars.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import Names, add_constant, discard
from onnxzip.model.walk import is_op
from onnxzip.passes.scope import scopes
from onnxzip.passes.size import compact


def give_ranges_scalars(model: ir.Model) -> bool:
    """Put scalars in the place of such constants; whether there were any."""
    found = [
        (node, index) for graph in scopes(model) for node in graph if is_op(node, "Range") for index in _long(node)
    ]
    names = Names(model) if found else None
    for node, index in found:
        value = node.inputs[index]
        tensor = constant(value)
        if value is None or tensor is None or names is None or not isinstance(node.graph, ir.Graph):
            raise ValueError(f"input {index} of {node.name!r} is not constant")
        scalar = compact(tensor.numpy().reshape(()))
        node.replace_input_with(index, add_constant(node.graph, scalar, names.fresh(value.name or "scalar")))
        discard([value])
    return bool(found)


def _long(node: ir.Node) -> list[int]:
    """The inputs that are constants of one element, but no scalars."""
    tensors = [constant(value) for value in node.inputs]
    return [i for i, t in enumerate(tensors) if t is not None and t.size == 1 and len(t.shape)]
