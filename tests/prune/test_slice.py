import numpy as np
import onnx

from onnxzip.model.load import load
from onnxzip.model.save import to_proto
from onnxzip.prune import eliminate
from tests.helpers.graphs import initializer, op_types
from tests.prune.nets import Net, check, width


def test_tensors_that_do_not_change_are_shared():
    net = Net("N", 3, 8, 8)
    y = net.conv(net.conv(net.conv("x", 8, 3, zero=(0,)), 4, 8), 2, 4)
    model = net.model(y)
    result, _ = eliminate(model)
    for name, weight in model.graph.initializers.items():
        assert (result.graph.initializers[name].const_value is weight.const_value) == (name in ("w3", "w4", "w5"))


def test_a_bias_that_two_layers_share_by_chance_does_not_tie_them():
    net = Net("N", 3, 8, 8)
    bias = net.weight(np.zeros(8, np.float32), "zeros")
    first, second = net.random(8, 3, 3, 3), net.random(8, 3, 3, 3)
    first[[0, 1]], second[[1, 2, 3]] = 0, 0
    a, b = (net.op("Conv", "x", net.weight(w), bias) for w in (first, second))
    result, _ = check(net.model(net.conv(a, 2, 8), net.conv(b, 2, 8)), 5)
    assert sorted(
        v.const_value.shape.numpy() for n, v in result.graph.initializers.items() if n.startswith("zeros")
    ) == [
        (5,),
        (6,),
    ]


def test_a_matrix_that_two_layers_share_shrinks_where_both_agree():
    net = Net("N", 3, 8, 8)
    weights = net.random(8, 3, 3, 3)
    weights[[0, 1, 5]] = 0
    shared = net.weight(weights, "shared")
    a, b = (net.op("Conv", net.op(kind, "x"), shared) for kind in ("Relu", "Neg"))
    result, _ = check(net.model(net.conv(a, 2, 8, unread=(2,)), net.conv(b, 2, 8, unread=(2, 3))), 8)
    assert initializer(result, "shared").shape == (4, 3, 3, 3)


def test_a_matrix_that_is_read_elsewhere_stays_whole():
    net = Net("N", 3, 3, 3)
    weights = net.random(4, 3, 3, 3)
    weights[1] = 0
    shared = net.weight(weights, "shared")
    h = net.op("Conv", "x", shared)
    _, record = check(net.model(net.conv(h, 2, 4, 1), net.op("Relu", shared)), 0)
    assert "weight 'shared' is also used where it cannot shrink: 4 channels kept" in record.frozen


def test_a_vector_that_is_read_elsewhere_is_copied():
    net = Net("N", 3, 8, 8)
    weights, bias = net.random(4, 3, 3, 3), net.weight(np.array([1, 0, 2, 3], np.float32), "bias")
    weights[1] = 0
    h = net.op("Conv", "x", net.weight(weights), bias)
    result, _ = check(net.model(net.conv(h, 2, 4), net.op("Relu", bias), ranks=(4, 1)), 1)
    assert initializer(result, "bias").shape == (4,)
    assert initializer(result, "bias_1").tolist() == [1, 2, 3]


def test_weights_in_constant_nodes_and_behind_identity():
    net = Net("N", 3, 8, 8)
    weights = net.random(4, 3, 3, 3)
    weights[1] = 0
    held = net.op("Constant", value=onnx.numpy_helper.from_array(weights))
    h = net.op("Conv", "x", held)
    terms = net.weight(np.abs(net.random(4)), "terms")
    copies = [net.op("Identity", terms) for _ in range(3)]
    h = net.op(
        "BatchNormalization",
        h,
        copies[0],
        net.weight(np.zeros(4, np.float32)),
        net.weight(np.zeros(4, np.float32)),
        copies[1],
    )
    result, _ = check(net.model(net.conv(h, 2, 4), net.op("Relu", copies[2]), ranks=(4, 1)), 1)
    assert op_types(result) == ["Conv", "Identity", "BatchNormalization", "Conv", "Relu"]
    assert initializer(result, "terms").shape == (4,)
    assert initializer(result, "terms_1").shape == (3,)


def test_a_new_bias_is_an_initializer_with_a_fresh_name():
    net = Net("N", 3, 8, 8)
    h = net.conv("x", 4, 3, constant={1: 2.0})
    y = net.conv(h, 2, 4, bias=False)
    net.weight(net.random(2), f"{y}_bias")
    result, _ = check(net.model(net.op("Add", y, net.op("ReduceMax", f"{y}_bias", keepdims=0))), 1)
    assert initializer(result, f"{y}_bias_1").shape == (2,)


def test_declared_shapes_of_inner_values_are_dropped():
    net = Net("N", 3, 8, 8)
    proto = net.proto(net.conv(net.conv("x", 4, 3, zero=(1,)), 2, 4))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("conv0_out", 1, ["N", 4, 6, 6]))
    result, record = eliminate(load(proto).model)
    assert record.removed == 1
    assert not any(v.type.tensor_type.HasField("shape") for v in to_proto(result).graph.value_info)
    onnx.checker.check_model(to_proto(result), full_check=True)


def test_the_kept_weights_are_the_old_ones():
    net = Net("N", 3, 8, 8)
    model = net.model(net.conv(net.conv("x", 4, 3, zero=(1,)), 2, 4))
    result, _ = eliminate(model)
    np.testing.assert_array_equal(initializer(result, "w0"), initializer(model, "w0")[[0, 2, 3]])
    np.testing.assert_array_equal(initializer(result, "w2"), initializer(model, "w2")[:, [0, 2, 3]])
    np.testing.assert_array_equal(initializer(result, "w3"), initializer(model, "w3"))
    assert width(result, "conv0") == 3
