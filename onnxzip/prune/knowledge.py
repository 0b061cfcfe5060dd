"""Which channels are constant: the number itself, computed as the runtime computes it.

Elementwise operators are not written again here: the runtime that will run the model is asked, with one node and one
vector of constants (so Sigmoid maps 0 to 0.5, and nobody has to remember). Sums of weights are taken in float64 and
rounded once to the type of the value; the runtime's own sum differs by rounding only.

Assumed: live values are finite. A zero weight times Inf would be NaN in the original and 0 here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.opset import opset_of
from onnxzip.prune.facts import Read
from onnxzip.prune.labels import Numbers
from onnxzip.runtime import Session

Operand = np.ndarray | None
"""A vector along the channels, a scalar parameter, or None for an input that is left out."""


def evaluate(node: ir.Node, operands: Sequence[Operand], model: ir.Model) -> Numbers | None:
    """Run one elementwise node on vectors of constants. None when the runtime has no kernel for it.

    Args:
        node: the operator and its attributes; it is not changed.
        operands: its inputs, in order, each in the type that the node reads. All vectors have the same length.
        model: where opset and IR version come from.
    """
    inputs = [
        None if o is None else ir.Value(name=f"x{i}", const_value=ir.tensor(o, name=f"x{i}"))
        for i, o in enumerate(operands)
    ]
    copy = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=1, name="node")
    copy.outputs[0].name = "y"
    graph = ir.Graph(
        [],
        [copy.outputs[0]],
        nodes=[copy],
        initializers=[v for v in inputs if v is not None],
        opset_imports={"": opset_of(model)},
        name="constants",
    )
    try:
        with np.errstate(all="ignore"):
            result = Session(ir.Model(graph, ir_version=model.ir_version or 8), level="none", threads=1).run({})["y"]
    except ModelError:
        return None
    return np.asarray(result, np.float64)


def through(read: Read, bias: Numbers | None, dtype: np.dtype[np.generic]) -> Numbers:
    """What is known about the channels that a layer makes, length M; NaN for nothing.

    1. A channel is unknown when a weight that is not zero meets an unknown position.
    2. So it is when such a weight meets a constant other than 0 and the sum differs from place to place (zero padding).
    3. Otherwise it is `beta · bias + alpha · Σ W · k`, rounded to `dtype`. Without a constant bias nothing is known.
    """
    if bias is None:
        return np.full(len(read.outs), np.nan)
    unknown = ~np.isfinite(read.known)
    shifting = ~unknown & (read.known != 0)
    blocked = unknown if read.uniform else unknown | shifting
    seen = read.reach if blocked.all() else read.reach[:, blocked]
    clear = ~seen.any(axis=1)  # 1, 2
    out = np.full(len(read.outs), np.nan)
    if clear.any():
        moved = shifting.any() and read.uniform
        add = read.alpha * read.total(shifting) if moved else 0.0
        out[clear] = _rounded(read.beta * bias + add, dtype)[clear]  # 3
    return out


def normalized(known: Numbers, terms: Sequence[np.ndarray], epsilon: float) -> Numbers:
    """BatchNormalization of constants: `scale · (k - mean) / √(var + ε) + bias`; `bias` alone where scale is 0."""
    scale, bias, mean, variance = (t.astype(np.float64) for t in terms)
    with np.errstate(all="ignore"):
        out = scale * (known - mean) / np.sqrt(variance + epsilon) + bias
    out = np.where((scale == 0) & np.isfinite(variance) & (variance + epsilon > 0), bias, out)
    return _rounded(out, terms[1].dtype)


def _rounded(numbers: Numbers, dtype: np.dtype[np.generic]) -> Numbers:
    with np.errstate(all="ignore"):
        return numbers.astype(dtype).astype(np.float64)
