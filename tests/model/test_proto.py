"""Writing graphs to protobuf: everything by default, and only what is asked for else."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.model.load import load
from onnxzip.model.proto import inline, model_proto, node_proto
from onnxzip.model.save import model_bytes, to_proto
from tests.helpers.graphs import model

RICH = """<ir_version: 8, opset_import: ["" : 18, "my" : 1], producer_name: "p", domain: "d">
g (bool c, float[N,3] x) => (float[N,3] y) <float[N,3] t, float[3] w = {1, 2, 3}> {
    t = Relu(x)
    m, _ = Dropout(t)
    o, = my.Op <alpha = 1.5, list = [1, 2], text = "s"> (m, , w)
    y = If (c) <then_branch = a () => (float[N,3] p) <float[3] v = {4, 5, 6}> { p = Add(o, v) },
                else_branch = b () => (float[N,3] q) { q = Neg(o) }>
}
<domain: "my", opset_import: ["" : 18]> Op <alpha> (i, j, k) => (r) { z = Constant <value_float: float = @alpha> () r = Mul(i, z) }"""


def rich() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(RICH)
    proto.metadata_props.add(key="author", value="somebody")
    proto.graph.doc_string = "what it is"
    proto.graph.metadata_props.add(key="graph", value="1")
    node = proto.graph.node[0]
    node.name, node.doc_string = "first", "said"
    node.metadata_props.add(key="b", value="2")
    node.metadata_props.add(key="a", value="1")
    annotation = proto.graph.quantization_annotation.add(tensor_name="t")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    return proto


def test_nothing_is_lost():
    """The reference is what onnx_ir writes, which declares initializers a second time."""
    m = ir.from_proto(rich())
    expected = ir.to_proto(m)
    graphs = [expected.graph, *(a.g for n in expected.graph.node for a in n.attribute if a.HasField("g"))]
    for graph in graphs:
        kept = [v for v in graph.value_info if v.name not in {t.name for t in graph.initializer}]
        del graph.value_info[:]
        graph.value_info.extend(kept)
    for opset in expected.opset_import:
        if not opset.domain:
            opset.ClearField("domain")
    found = model_proto(m)
    assert found == expected
    assert found.graph.quantization_annotation
    assert found.graph.node[0].metadata_props
    assert found.functions


def test_weights_can_be_left_out_and_declared_instead():
    m = ir.from_proto(rich())

    def declared(value: ir.Value):
        return ir.TensorType(ir.DataType.DOUBLE), None

    proto = model_proto(m, lambda value, tensor: None, declared)
    body = next(a.g for n in proto.graph.node for a in n.attribute if a.name == "then_branch")
    assert not proto.graph.initializer
    assert not body.initializer
    assert "w" in {v.name for v in proto.graph.value_info}
    assert [v.name for v in body.value_info] == ["v"]
    assert {v.type.tensor_type.elem_type for v in (*proto.graph.value_info, *proto.graph.input)} == {
        onnx.TensorProto.DOUBLE
    }


def test_a_tensor_may_be_held_under_two_names():
    tensor = ir.tensor(np.ones(3, np.float32), name="mine")
    m = model("g (float[3] x) => (float[3] y) { a = Add(x, p) y = Add(a, q) }", p=np.ones(3), q=np.ones(3))
    for value in m.graph.initializers.values():
        value.const_value = tensor
    assert [t.name for t in model_proto(m).graph.initializer] == ["p", "q"]
    assert tensor.name == "mine"


def test_external_weights_are_written_inline_when_asked_for(tmp_path):
    path, proto = tmp_path / "m.onnx", onnx.parser.parse_model(RICH)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(600, dtype=np.float32), "big"))
    onnx.save(proto, path, save_as_external_data=True, location="data", size_threshold=1000)
    m = load(path).model
    by_name = {t.name: t for t in model_proto(m, inline).graph.initializer}
    assert onnx.numpy_helper.to_array(by_name["big"]).sum() == np.arange(600).sum()
    assert {t.name: t for t in model_proto(m).graph.initializer}["big"].external_data


def test_one_node_with_its_bodies():
    m = ir.from_proto(rich())
    node = next(n for n in m.graph if n.op_type == "If")
    assert node_proto(node) == next(n for n in model_proto(m).graph.node if n.op_type == "If")


@pytest.mark.parametrize("size", [10, 2**7, 2**12 + 5, 2**14, 2**21])
def test_bytes_are_those_of_the_file(size):
    m = model("g (float[N,M] x) => (float[N,M] y) { y = Add(x, w) }", w=np.zeros(size // 4, np.float32))
    assert model_bytes(m) == len(to_proto(m).SerializeToString())
