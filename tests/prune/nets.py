"""Small networks with seeded weights, and the one check that every test of elimination goes through."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from onnxzip.model.load import load
from onnxzip.model.save import to_proto
from onnxzip.prune import Elimination, eliminate
from tests.helpers.numerics import assert_equivalent


class Net:
    """Builds a graph node by node. Values are names; weights come from a seeded generator and are never exactly 0."""

    def __init__(self, *shape: int | str, seed: int = 0, opset: int = 18) -> None:
        self.rng, self.opset = np.random.default_rng(seed), opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]

    def random(self, *shape: int) -> np.ndarray:
        return (self.rng.uniform(0.1, 1.0, shape) * self.rng.choice([-1.0, 1.0], shape)).astype(np.float32)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        name = f"{kind.lower()}{len(self.nodes)}"
        made = [f"{name}_out{i}" if i else f"{name}_out" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, made, name=name, **attributes))
        return made[0] if outputs == 1 else tuple(made)

    def weight(self, content: np.ndarray | list[int], name: str = "") -> str:
        name = name or f"w{len(self.weights)}"
        self.weights[name] = np.asarray(content, np.int64 if isinstance(content, list) else None)
        return name

    def conv(
        self, value: str, count: int, width: int, kernel: int = 3, *, pad: int = 0, bias: bool = True,
        zero: tuple[int, ...] = (), constant: dict[int, float] | None = None, unread: tuple[int, ...] = (), **attributes: Any,
    ) -> str:  # fmt: skip
        """Conv with `count` filters over `width` channels (per group). Filters in `zero` give 0, those in `constant` the given
        number; input channels in `unread` meet zero weights."""
        weights, offset = self.random(count, width, kernel, kernel) / np.float32(width * kernel), self.random(count)
        weights[:, list(unread)] = 0
        for channel, number in (dict.fromkeys(zero, 0.0) | (constant or {})).items():
            weights[channel], offset[channel] = 0, number
        operands = [value, self.weight(weights)] + ([self.weight(offset)] if bias else [])
        return str(self.op("Conv", *operands, pads=[pad] * 4, **attributes))

    def gemm(self, value: str, count: int, width: int, **attributes: Any) -> str:
        return str(
            self.op(
                "Gemm",
                value,
                self.weight(self.random(count, width)),
                self.weight(self.random(count)),
                transB=1,
                **attributes,
            )
        )

    def norm(self, value: str, count: int, zero: dict[int, float] | None = None) -> str:
        """BatchNormalization; channels in `zero` have scale 0 and the given bias."""
        scale, offset, mean = self.random(count), self.random(count), self.random(count)
        for channel, number in (zero or {}).items():
            scale[channel], offset[channel] = 0, number
        terms = [self.weight(t) for t in (scale, offset, mean, np.abs(self.random(count)))]
        return str(self.op("BatchNormalization", value, *terms))

    def proto(self, *outputs: str, ranks: tuple[int, ...] = (), **types: int) -> onnx.ModelProto:
        values = [
            helper.make_tensor_value_info(o, types.get(o, onnx.TensorProto.FLOAT), [f"{o}{a}" for a in range(r)])
            for o, r in zip(outputs, ranks or [4] * len(outputs), strict=True)
        ]
        graph = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            values,
            [onnx.numpy_helper.from_array(w, n) for n, w in self.weights.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(proto, full_check=True)
        return proto

    def model(self, *outputs: str, ranks: tuple[int, ...] = ()) -> ir.Model:
        return load(self.proto(*outputs, ranks=ranks)).model


def check(
    model: ir.Model, removed: int, *, multiple: int = 1, rtol: float = 1e-5, sizes: tuple[int, ...] = (2, 3)
) -> tuple[ir.Model, Elimination]:
    """Eliminate, and hold every promise: the number of channels, the numbers, the input untouched, a fixed point, equal bytes."""
    before = to_proto(model).SerializeToString(deterministic=True)
    result, record = eliminate(model, multiple=multiple)
    assert record.removed == removed, record
    assert_equivalent(model, result, rtol=rtol, sizes=sizes)
    assert to_proto(model).SerializeToString(deterministic=True) == before
    again, second = eliminate(result, multiple=multiple)
    assert not second.widths
    assert to_proto(again).SerializeToString(deterministic=True) == to_proto(result).SerializeToString(
        deterministic=True
    )
    repeated, _ = eliminate(model, multiple=multiple)
    assert to_proto(repeated).SerializeToString(deterministic=True) == to_proto(result).SerializeToString(
        deterministic=True
    )
    if not removed:
        assert to_proto(result).SerializeToString(deterministic=True) == before
    return result, record


def width(model: ir.Model, node: str) -> int:
    """Number of channels that the named layer makes."""
    found = next(n for n in model.graph if n.name == node)
    weights = found.inputs[1]
    assert weights is not None
    assert weights.const_value is not None
    shape = weights.const_value.shape.numpy()
    return int(
        shape[0]
        if found.op_type == "Conv" or (found.op_type == "Gemm" and found.attributes.get_int("transB", 0))
        else shape[1]
    )
