"""Strided shortcuts with padded channels become Convs."""

import numpy as np
import pytest

from onnxzip.model.save import model_bytes
from onnxzip.passes.context import Allowed, Context
from onnxzip.passes.runner import run
from onnxzip.passes.shortcut_to_conv import shortcut_to_conv
from tests.helpers.graphs import initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import assert_untouched

RNG = np.random.default_rng(0)
NO_END = np.iinfo(np.int64).max
SLICES = "s = Slice(x, zero, end, two, step) t = Slice(s, zero, end, three, step)"


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def graph(
    slices=SLICES,
    pads=(0, 2, 0, 0, 0, 2, 0, 0),
    add="y = Add(c, p)",
    conv="c = Conv<strides=[2,2]>(x, w)",
    pad="p = Pad(t, pads)",
    **arrays,
):
    given = {
        "w": normal(8, 4, 1, 1),
        "zero": ints(0),
        "end": ints(NO_END),
        "two": ints(2),
        "three": ints(-1),
        "step": ints(2),
        "pads": ints(*pads),
    } | arrays
    return model(f"g (float[N,4,7,6] x) => (float[N,8,4,3] y) {{ {slices} {pad} {conv} {add} }}", **given)


def free(before):
    copy = before.clone()
    outcome = shortcut_to_conv(copy, Context(copy, Allowed(prefer="nodes")))
    assert outcome.changes == 1
    assert op_types(copy) == ["Conv", "Conv", "Add"]
    assert_equivalent(before, copy, rtol=0)
    return copy


def test_a_shortcut_becomes_a_conv():
    after = free(graph())
    kernel = initializer(after, "p_kernel")[:, :, 0, 0]
    np.testing.assert_array_equal(kernel, np.vstack([np.zeros((2, 4)), np.eye(4), np.zeros((2, 4))]))


def test_one_slice_and_uneven_padding():
    free(
        graph(
            "t = Slice(x, zeros, ends, axes, steps)",
            (0, 1, 0, 0, 0, 3, 0, 0),
            zeros=ints(0, 0),
            ends=ints(100000000000, 100000000000),
            axes=ints(3, 2),
            steps=ints(2, 2),
        )
    )


@pytest.mark.parametrize(("room", "groups"), [(13000, [1]), (7000, [2]), (0, [])])
def test_the_kernel_takes_no_more_bytes_than_there_are(room, groups):
    before = model(
        f"g (float[N,40,7,6] x) => (float[N,80,4,3] y) {{ {SLICES} p = Pad(t, pads) c = Conv<strides=[2,2]>(x, w) y = Add(p, c) }}",
        w=normal(80, 40, 1, 1),
        zero=ints(0),
        end=ints(NO_END),
        two=ints(2),
        three=ints(-1),
        step=ints(2),
        pads=ints(0, 20, 0, 0, 0, 20, 0, 0),
    )
    after = before.clone()
    shortcut_to_conv(after, Context(after, limit=model_bytes(after) + room))
    kernels = [n for n in after.graph if n.op_type == "Conv" and n.inputs[1].name == "p_kernel"]
    assert [n.attributes.get_int("group", 1) for n in kernels] == groups
    assert model_bytes(after) <= model_bytes(before) + room
    assert_equivalent(before, after, rtol=0)


def test_the_runner_gives_it_what_others_saved():
    before = graph(add="q = Identity(c) r = Identity(q) y = Add(r, p)")
    after, _ = run(before, strict=True)
    assert op_types(after) == ["Conv", "Conv", "Add"]
    assert model_bytes(after) <= model_bytes(before)


@pytest.mark.parametrize(
    "given",
    [
        {"pads": (0, 2, 0, 0, 0, 2, 0, 1), "add": "d = Relu(c) y = Mul(d, d)"},
        {"add": "d = Relu(c) y = Add(d, p)"},  # no Conv to join
        {
            "conv": "d = Slice(x, zero, end, two, step) e = Slice(d, zero, end, three, step) f = Concat<axis=1>(e, e) c = Sin(f)"
        },
        {"pad": "p = Pad(t, pads, one)", "one": np.float32(1)},
        {"zero": ints(1)},
        {"end": ints(5)},
        {"two": ints(1)},
    ],
)
def test_others_are_left_alone(given):
    assert_untouched(graph(**given), shortcut_to_conv)
