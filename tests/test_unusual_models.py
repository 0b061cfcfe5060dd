"""failures.md 7: IR versions without opset imports, sequences, optionals: optimized or left alone, never a crash or another interface."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxzip
from onnxzip import Config
from onnxzip.model.load import load
from onnxzip.model.signature import signature
from onnxzip.passes.runner import run

FLOATS = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 4])
SEQUENCE = helper.make_sequence_type_proto(FLOATS)
OPTIONAL = helper.make_optional_type_proto(FLOATS)


def graph(
    nodes: list[onnx.NodeProto], given: onnx.TypeProto, result: onnx.TypeProto, **weights: np.ndarray
) -> onnx.GraphProto:
    values = [helper.make_value_info("x", given)], [helper.make_value_info("y", result)]
    stored = [onnx.numpy_helper.from_array(w, name) for name, w in weights.items()]
    return helper.make_graph(nodes, "g", *values, stored)


def without_imports() -> onnx.ModelProto:
    """As in the days of IR version 2: opset 1 is meant."""
    nodes = [helper.make_node("Identity", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    model = helper.make_model(graph(nodes, FLOATS, FLOATS), ir_version=2)
    del model.opset_import[:]
    return model


def sequences() -> onnx.ModelProto:
    """A sequence comes in, is read at a position that is computed from constants, and goes on."""
    nodes = [
        helper.make_node("Add", ["zero", "zero"], ["at"]),
        helper.make_node("SequenceAt", ["x", "at"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("SequenceInsert", ["x", "b"], ["y"]),
    ]
    return helper.make_model(
        graph(nodes, SEQUENCE, SEQUENCE, zero=np.array(0)), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def optionals() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("OptionalGetElement", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "one"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return helper.make_model(
        graph(nodes, OPTIONAL, FLOATS, one=np.ones(1, np.float32)),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


def traditional() -> onnx.ModelProto:
    """ONNX-ML alone, without an import of the standard domain."""
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[1.0], scale=[2.0])
    return helper.make_model(
        graph([node], FLOATS, FLOATS), opset_imports=[helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8
    )


@pytest.mark.parametrize(("build", "left"), [(sequences, 2), (optionals, 2), (traditional, 1)])
def test_peer_failure_7_unusual_models_keep_their_interface(build, left):
    before = build()
    result = onnxzip.optimize(before, config=Config(strict=True))
    after = result.to_proto()
    assert result.verdict.passed
    assert len(after.graph.node) == left
    assert signature(load(after).model) == signature(load(before).model)
    assert after.ByteSize() <= before.ByteSize()


def test_peer_failure_7_without_imports_nothing_is_assumed_and_the_runtime_says_no():
    after, _ = run(load(without_imports()).model, strict=True)
    assert [n.op_type for n in after.graph] == ["Identity", "Relu"]
    with pytest.raises(onnxzip.ModelError, match="Missing opset"):
        onnxzip.optimize(without_imports())
