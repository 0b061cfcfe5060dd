import numpy as np
import pytest

from onnxzip.prune.quantized import dequantized
from onnxzip.prune.rules import analyse
from tests.helpers.graphs import initializer
from tests.prune.nets import Net, check


def stored(net: Net, codes: np.ndarray, *, axis: int | None = 0, point: bool = True, name: str = "") -> str:
    """Integer weights behind a DequantizeLinear; one scale for each entry of `axis`, or a single one."""
    size = () if axis is None else (codes.shape[axis],)
    operands = [net.weight(codes, name), net.weight(net.rng.uniform(0.01, 0.02, size).astype(np.float32))]
    operands += [net.weight(np.zeros(size, codes.dtype))] if point else []
    return str(net.op("DequantizeLinear", *operands, **({} if axis is None else {"axis": axis})))


def codes(net: Net, *shape: int, zero: tuple[int, ...] = ()) -> np.ndarray:
    found = net.rng.integers(1, 100, shape).astype(np.int8)
    found[list(zero)] = 0
    return found


def activations(net: Net, value: str, point: int = 3) -> str:
    terms = [net.weight(np.float32(0.05)), net.weight(np.uint8(point))]
    return str(net.op("DequantizeLinear", net.op("QuantizeLinear", value, *terms), *terms))


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("point", [True, False])
def test_integers_scales_and_zero_points_shrink_together(axis, point):
    net = Net("N", 3, 6, 6)
    h = net.op("Conv", activations(net, "x"), stored(net, codes(net, 8, 3, 1, 1, zero=(1, 4)), axis=0, name="first"))
    y = net.op("Conv", activations(net, h), stored(net, codes(net, 2, 8, 1, 1), axis=axis, point=point, name="second"))
    result, _ = check(net.model(y), 2)
    assert initializer(result, "first").shape == (6, 3, 1, 1)
    assert initializer(result, "second").shape == (2, 6, 1, 1)


def test_biases_of_32_bits_shrink():
    net = Net("N", 3, 6, 6)
    bias = np.array([0, 0, 7, 9], np.int32)
    h = net.op("Conv", "x", stored(net, codes(net, 4, 3, 1, 1, zero=(1,))), stored(net, bias, point=False, name="bias"))
    result, _ = check(net.model(net.conv(h, 2, 4)), 1)
    assert initializer(result, "bias").tolist() == [0, 7, 9]


def test_a_constant_that_an_integer_bias_cannot_take_stays():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, constant={1: 0.5})
    bias = stored(net, np.array([1, 2], np.int32), point=False)
    check(net.model(net.op("Conv", h, stored(net, codes(net, 2, 4, 1, 1)), bias)), 0)


def test_a_constant_in_front_of_integer_weights_goes_to_a_bias_of_floats():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, constant={1: 0.5})
    check(net.model(net.op("Conv", h, stored(net, codes(net, 2, 4, 1, 1)), net.weight(net.random(2)))), 1)


def test_twins_do_not_merge_in_integer_weights():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1)
    net.weights["w0"][1], net.weights["w1"][1] = net.weights["w0"][0], net.weights["w1"][0]
    check(net.model(net.op("Conv", h, stored(net, codes(net, 2, 4, 1, 1)))), 0)


def test_constants_through_activations_of_8_bits():
    """0.5 is 10 steps; 0.52 is rounded to it; what is beyond the range is clipped."""
    for number in (0.5, 0.52, 1000.0, -0.5):
        net = Net("N", 3, 6, 6)
        h = activations(net, net.conv("x", 4, 3, 1, constant={1: number}))
        check(net.model(net.conv(h, 2, 4)), 1)


def test_weights_that_two_layers_read_shrink_for_both():
    for zero, removed in (((1,), 2), ((), 0)):
        net = Net("N", 3, 6, 6)
        shared = stored(net, codes(net, 4, 3, 1, 1, zero=zero), name="shared")
        a, b = (net.op("Conv", net.op(kind, "x"), shared) for kind in ("Relu", "Neg"))
        check(net.model(net.conv(a, 2, 4), net.conv(b, 2, 4)), removed)


def test_integers_that_are_read_elsewhere_stay():
    net = Net("N", 3, 6, 6)
    weights = stored(net, codes(net, 4, 3, 1, 1, zero=(1,)), name="shared")
    h = net.op("Conv", "x", weights)
    check(net.model(net.conv(h, 2, 4), net.op("Relu", weights)), 0)


def test_depthwise_and_grouped_integers():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, zero=(1, 2))
    h = net.op("Conv", h, stored(net, codes(net, 4, 1, 1, 1)), group=4)
    h = net.op("Conv", h, stored(net, codes(net, 4, 2, 1, 1)), group=2)
    check(net.model(net.conv(h, 2, 4)), 2)


def test_weights_in_blocks_are_no_constants():
    net = Net("N", 8, opset=21)
    scales = net.weight(net.random(4, 6))
    weights = net.op("DequantizeLinear", net.weight(codes(net, 8, 6)), scales, axis=0, block_size=2)
    model = net.model(net.op("MatMul", "x", weights), ranks=(2,))
    node = next(n for n in model.graph if n.op_type == "DequantizeLinear")
    assert dequantized(node, [analyse(model).constant(v) for v in node.inputs]) is None
    check(model, 0)
