"""Pads go into the operators that read them."""

import numpy as np
import pytest

from onnxzip.passes.fuse_pads import fuse_pads
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)
OPSET_10 = '<ir_version: 5, opset_import: ["" : 10]>\n'


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def check(text, expected, batch=None, **arrays):
    before = model(text, **arrays)
    after, _ = apply(before, fuse_pads)
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=1e-6, batch=batch)
    return after


def test_conv_pads():
    after = check(
        "g (float[N,3,8,8] x) => (float[N,4,H,W] y) { p = Pad(x, a, zero, axes) y = Conv<pads=[1,1,0,0]>(p, w) }",
        ["Conv"],
        a=ints(3, 2, 1, 0),
        zero=np.float32(0),
        axes=ints(-1, 2),
        w=normal(4, 3, 3, 3),
    )
    assert_nodes(after, "y = Conv <pads: ints = [3, 4, 0, 1]> (x, w)")


@pytest.mark.parametrize("mode", ["VALID", "SAME_UPPER", "SAME_LOWER"])
def test_conv_with_auto_pad(mode):
    check(
        f'g (float[N,3,9,8] x) => (float[N,4,H,W] y) {{ p = Pad(x, a) y = Conv<auto_pad="{mode}", strides=[2,3]>(p, w) }}',
        ["Conv"],
        a=ints(0, 0, 1, 0, 0, 0, 2, 1),
        w=normal(4, 3, 3, 2),
    )


def test_pads_as_an_attribute_and_more_than_the_kernel():
    check(
        OPSET_10
        + "g (float[N,32,8,8] x) => (float[N,32,H,W] y, float[N,32,H,W] z) { p = Pad<pads=[0,0,5,0,0,0,4,6]>(x) y = Conv(p, w) z = Conv(p, v) }",
        ["Conv", "Conv"],
        w=normal(32, 32, 3, 3),
        v=normal(32, 32, 3, 3),
    )


def test_max_pool_of_what_is_not_negative():
    check(
        """g (float[N,3,8,8] x) => (float[N,3,H,W] y) {
            r = Relu(x) p = Pad(r, a) y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(p)
        }""",
        ["Relu", "MaxPool"],
        a=ints(0, 0, 1, 1, 0, 0, 1, 1),
    )


def test_max_pool_of_infinity():
    check(
        "g (float[N,3,8,8] x) => (float[N,3,H,W] y) { p = Pad(x, a, low) y = MaxPool<kernel_shape=[3,3], pads=[0,1,0,1]>(p) }",
        ["MaxPool"],
        a=ints(0, 0, 1, 1, 0, 0, 2, 0),
        low=np.float32(-np.inf),
    )


@pytest.mark.parametrize("attributes", ["", ", count_include_pad=1, pads=[1,0,1,0]"])
def test_average_pool(attributes):
    check(
        f"g (float[N,3,8,8] x) => (float[N,3,H,W] y) {{ p = Pad(x, a) y = AveragePool<kernel_shape=[3,3]{attributes}>(p) }}",
        ["AveragePool"],
        a=ints(0, 0, 1, 1, 0, 0, 1, 2),
    )


def test_past_a_reshape():
    after = check(
        """g (float[N,2,30] x) => (float[N,2,1,A] y) {
            p = Pad(x, a) s = Reshape(p, t) y = Conv<strides=[1,2]>(s, w)
        }""",
        ["Reshape", "Conv"],
        a=ints(0, 0, 3, 0, 0, 2),
        t=ints(-1, 2, 1, 35),
        w=normal(2, 2, 1, 7),
    )
    assert_nodes(
        after,
        "s_unpadded = Reshape (x, s_unpadded_shape)\ny = Conv <strides: ints = [1, 2], pads: ints = [0, 3, 0, 2]> (s_unpadded, w)",
    )


@pytest.mark.parametrize(
    "nodes",
    [
        "p = Pad(x, a, one) y = Conv(p, w)",
        'p = Pad<mode="reflect">(x, a) y = Conv(p, w)',
        "p = Pad(x, minus) y = Conv(p, w)",
        "p = Pad(x, computed) y = Conv(p, w)",
        "p = Pad(x, channels) y = Conv(p, w6)",
        "p = Pad(x, a) y = ConvTranspose(p, t)",
        "p = Pad(x, a) q = Conv(p, w) r = Sin(p) s = ReduceSum(r) y = Add(q, s)",
        "p = Pad(x, a) y = MaxPool<kernel_shape=[3,3]>(p)",
        "r = Relu(x) p = Pad(r, a, one) y = MaxPool<kernel_shape=[3,3]>(p)",
        "r = Relu(x) p = Pad(r, a) y = MaxPool<kernel_shape=[1,3]>(p)",
        "r = Relu(x) p = Pad(r, a) y = MaxPool<kernel_shape=[3,3], ceil_mode=1>(p)",
        "r = Relu(x) p = Pad(r, a) y = MaxPool<kernel_shape=[3,3], dilations=[2,1]>(p)",
        "r = Relu(x) p = Pad(r, a) m, i = MaxPool<kernel_shape=[3,3]>(p) j = Cast<to=1>(i) y = Add(m, j)",
        "p = Pad(x, a) y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(p)",
        "p = Pad(x, a) y = AveragePool<kernel_shape=[3,3], ceil_mode=1>(p)",
        "p = Pad(x, a) s = Reshape(p, mixed) y = Conv(s, w80)",
    ],
)
def test_others_are_left_alone(nodes):
    before = model(
        f"g (float[N,3,8,8] x, int64[8] computed) => (float[A,B,C,D] y) {{ {nodes} }}",
        a=ints(0, 0, 1, 1, 0, 0, 1, 1),
        minus=ints(0, 0, -1, 1, 0, 0, 1, 1),
        channels=ints(0, 1, 1, 1, 0, 2, 1, 1),
        one=np.float32(1),
        w=normal(4, 3, 3, 3),
        w6=normal(4, 6, 3, 3),
        w80=normal(4, 10, 3, 3),
        t=normal(3, 4, 3, 3),
        mixed=ints(-1, 10, 3, 10),
    )
    assert_untouched(before, fuse_pads)


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_no_pool_takes_an_image_that_may_be_empty(pool):
    """A row of padding is an image, no row at all is none."""
    text = (
        f"g (float[N,3,H,8] x) => (float[N,3,A,B] y) {{ r = Relu(x) p = Pad(r, a) y = {pool}<kernel_shape=[2,3]>(p) }}"
    )
    assert_untouched(model(text, a=ints(0, 0, 1, 1, 0, 0, 1, 1)), fuse_pads)


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_a_conv_gives_no_empty_image(pool):
    check(
        f"""g (float[N,3,H,8] x) => (float[N,4,A,B] y) {{
            c = Conv(x, w) r = Relu(c) p = Pad(r, a) y = {pool}<kernel_shape=[2,3]>(p)
        }}""",
        ["Conv", "Relu", pool],
        a=ints(0, 0, 1, 1, 0, 0, 1, 1),
        w=normal(4, 3, 1, 1),
    )


def test_attributes_may_take_more_bytes_than_the_pad():
    """What an AveragePool counts is an attribute with a long name."""
    assert_untouched(
        model(
            OPSET_10
            + """g (float[N,2,5,7] x) => (float[N,2,A,B] y) {
                p = Pad<pads=[0,0,1,2,0,0,1,0]>(x) y = AveragePool<kernel_shape=[3,3]>(p)
            }"""
        ),
        fuse_pads,
    )
