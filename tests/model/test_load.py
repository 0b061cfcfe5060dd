"""Loading: what comes in whole, what is refused by name."""

from __future__ import annotations

import pickle

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.model.save import to_proto
from tests.helpers.numerics import assert_equivalent


def relu() -> onnx.ModelProto:
    text = '<ir_version: 8, opset_import: ["" : 18]> agraph (float[N,3] x) => (float[N,3] y) { y = Relu(x) }'
    return onnx.parser.parse_model(text)


def with_external_data(folder, name="w.bin"):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> agraph (float[N,300] x) => (float[N,300] y) { y = Add(x, w) }'
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(300, dtype=np.float32), "w"))
    onnx.save(model, str(folder / "m.onnx"), save_as_external_data=True, location=name, size_threshold=0)
    return folder / "m.onnx"


def test_a_path_a_proto_and_an_ir_model_are_the_same_model(tmp_path):
    proto = relu()
    onnx.save(proto, str(tmp_path / "m.onnx"))
    for source in (tmp_path / "m.onnx", str(tmp_path / "m.onnx"), proto, ir.from_proto(proto)):
        loaded = load(source)
        assert onnx.printer.to_text(to_proto(loaded.model)) == onnx.printer.to_text(proto)
        assert loaded.bytes == pytest.approx(proto.ByteSize(), abs=8)  # presence of empty fields


def test_the_callers_object_is_never_touched():
    source = ir.from_proto(relu())
    copy = load(source).model
    copy.graph.outputs[0].name = "renamed"
    assert source.graph.outputs[0].name == "y"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "no ONNX graph"), (b"not a model at all", "not a readable"), (pickle.dumps([1]), "not a readable")],
)
def test_what_is_no_model_is_refused(tmp_path, content, words):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words):
        load(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(relu().SerializeToString()[:-7])
    with pytest.raises(ModelError, match="m.onnx"):
        load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="folder"):
        load(tmp_path)
    with pytest.raises(ModelError, match="not dict"):
        load({})


def test_what_the_ir_would_drop_is_refused_by_field():
    trained = relu()
    trained.training_info.add()
    with pytest.raises(ModelError, match="training_info"):
        load(trained)
    sparse = relu()
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    with pytest.raises(ModelError, match="sparse_initializer 'w'"):
        load(sparse)


def test_duplicate_names_and_cycles_are_our_error():
    twice = relu()
    twice.graph.node.append(twice.graph.node[0])
    with pytest.raises(ModelError, match="not valid ONNX"):
        load(twice)
    cycle = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { a = Add(x, b) b = Relu(a) y = Relu(b) }'
    )
    with pytest.raises(ModelError, match="cycle"):
        load(cycle)


def test_nodes_out_of_order_are_put_in_order():
    proto = relu()
    proto.graph.ClearField("node")
    proto.graph.node.extend([helper.make_node("Abs", ["t"], ["y"]), helper.make_node("Relu", ["x"], ["t"])])
    assert [n.op_type for n in load(proto).model.graph] == ["Relu", "Abs"]


def test_nameless_nodes_stay_nameless_and_the_file_does_not_grow():
    proto = relu()
    again = to_proto(load(proto).model)
    assert again.graph.node[0].name == ""
    assert again.ByteSize() <= proto.ByteSize()


def test_map_types_survive(tmp_path):
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_value_info("y", kind)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8)
    loaded = load(proto)
    assert to_proto(loaded.model).graph.output[0] == proto.graph.output[0]
    assert to_proto(loaded.model.clone()).graph.output[0] == proto.graph.output[0]


def test_external_data_is_mapped_and_comes_back(tmp_path):
    path = with_external_data(tmp_path)
    loaded = load(path)
    assert loaded.external
    assert loaded.bytes == path.stat().st_size + (tmp_path / "w.bin").stat().st_size
    inline = to_proto(loaded.model)
    assert inline.graph.initializer[0].data_location == TensorProto.DEFAULT
    assert_equivalent(load(onnx.load(str(path))).model, loaded.model, rtol=0)


def test_external_data_that_is_missing_short_or_outside_is_refused(tmp_path):
    path = with_external_data(tmp_path)
    data = tmp_path / "w.bin"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ModelError, match="does not hold the 1200 bytes of tensor 'w'"):
        load(path)
    data.unlink()
    with pytest.raises(ModelError, match="'w.bin', which is not there"):
        load(path)
    outside = onnx.load(str(path), load_external_data=False)
    next(e for e in outside.graph.initializer[0].external_data if e.key == "location").value = "../w.bin"
    (tmp_path / "inner").mkdir()
    onnx.save(outside, str(tmp_path / "inner" / "m.onnx"))
    (tmp_path / "w.bin").write_bytes(b"0" * 1200)
    with pytest.raises(ModelError, match="outside of the model's folder"):
        load(tmp_path / "inner" / "m.onnx")
    with pytest.raises(ModelError, match="Give the path"):
        load(outside)


@pytest.mark.parametrize(("dims", "raw"), [([2**40], b"1234"), ([-3], b""), ([4], b"123")])
def test_tensors_that_lie_about_their_size_are_refused_before_memory_is_taken(dims, raw):
    hostile = relu()
    hostile.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, raw_data=raw, dims=dims)
    with pytest.raises(ModelError, match="tensor 'w'"):
        load(hostile)
