import numpy as np
import onnx
import pytest
from onnx import helper

from onnxzip.model.load import load
from onnxzip.prune import eliminate
from tests.prune.nets import Net, check


def test_an_unknown_operator_freezes_what_it_touches_by_name():
    net = Net("N", 3, 8, 8)
    h = net.conv("x", 8, 3, zero=(0, 1))
    h = net.op("CumSum", h, net.weight(np.int64(1)))
    _, record = check(net.model(net.conv(h, 2, 8)), 0)
    why = "CumSum 'cumsum1' is not understood"
    assert record.notes == (f"{why}: 2 constant channels kept",)
    assert record.frozen[0] == f"{why}: 8 channels kept"


def test_an_unknown_operator_leaves_the_rest_alone():
    net = Net("N", 3, 10, 10)
    h = net.op("Relu", net.conv("x", 8, 3, zero=(0, 1)))
    h = net.op("Softmax", net.conv(h, 4, 8, zero=(2,)), axis=1)
    result, record = check(net.model(net.conv(net.conv(h, 8, 4, zero=(3,)), 2, 8)), 3)
    assert record.notes == ("Softmax 'softmax3' compares its channels with each other: 1 constant channel kept",)
    assert result.graph.outputs[0].name == "conv5_out"


def test_an_operator_of_another_domain_is_unknown_whatever_its_name():
    net = Net("N", 3, 8, 8)
    h = net.conv("x", 8, 3, zero=(0, 1))
    proto = net.proto(net.conv(h, 2, 8))
    proto.graph.node.insert(1, helper.make_node("Relu", ["conv0_out"], ["r"], domain="mine", name="r"))
    proto.graph.node[2].input[0] = "r"
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    result, record = eliminate(load(proto).model)
    assert record.removed == 0
    assert record.notes == ("Relu 'r' is not understood: 2 constant channels kept",)
    assert [n.domain for n in result.graph] == ["", "mine", ""]


def test_graph_outputs_keep_their_channels():
    net = Net("N", 3, 8, 8)
    h = net.conv("x", 8, 3, zero=(0, 1))
    _, record = check(net.model(net.conv(h, 2, 8), h), 0)
    assert record.notes == ("graph output 'conv0_out' keeps its shape: 2 constant channels kept",)


def test_what_a_body_reads_from_outside_stays():
    net = Net("N", 3, 8, 8)
    h = net.conv("x", 8, 3, zero=(0, 1))
    other = net.conv("x", 8, 3, zero=(0, 1))
    out = helper.make_tensor_value_info("o", 1, None)
    branch = [helper.make_graph([helper.make_node(op, [h], ["o"])], op, [], [out]) for op in ("Relu", "Neg")]
    y = net.op("If", net.weight(np.array(True)), then_branch=branch[0], else_branch=branch[1])
    y = net.op("Add", net.op("ReduceMean", y), net.conv(net.op("Add", h, h), 2, 8))
    result, record = check(net.model(net.op("Add", y, net.conv(other, 2, 8))), 2)
    assert record.notes == ("Neg 'o' reads it from inside a body: 2 constant channels kept",)
    assert [n.op_type for n in result.graph].count("Conv") == 4


def test_tiny_model_without_channels_is_left_alone():
    net = Net("N", 3)
    _, record = check(net.model(net.op("Relu", "x"), ranks=(2,)), 0)
    assert (record.widths, record.notes, record.frozen, record.removed) == ((), (), (), 0)


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_old_and_new_opsets(opset):
    net = Net("N", 3, 8, 8, opset=opset)
    h = net.op("Relu", net.conv("x", 8, 3, zero=(0, 1)))
    h = net.op("Flatten", net.op("AveragePool", h, kernel_shape=[6, 6]))
    model = load(onnx.ModelProto.FromString(net.proto(net.gemm(h, 3, 8), ranks=(2,)).SerializeToString())).model
    check(model, 2)
