"""Channel shuffles whose parts are read one by one."""

import numpy as np
import pytest

from onnxzip.passes.cut_shuffles import cut_shuffles
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

TEXT = """<ir_version: 8, opset_import: ["" : {opset}]> g (float[{batch},{channels},4,5] x) => (float[A,B,C,D] y, float[E,F,G,H] z) {{
    t = Relu(x) a = Reshape(t, first) b = Transpose<perm={perm}>(a) c = Reshape(b, last)
    part_number_zero = Gather<axis=0>(c, zero) part_number_one = Gather<axis=0>(c, one) y = Sin(part_number_zero) z = Cos(part_number_one)
}}"""


def shuffle(groups=2, channels=12, batch="N", opset=11, perm="[1,0,2]", first=None, last=None, zero=0, one=1):
    return model(
        TEXT.format(opset=opset, batch=batch, channels=channels, perm=perm),
        first=np.array(first or [-1, groups, 20], np.int64),
        last=np.array(last or [groups, -1, channels // groups, 4, 5], np.int64),
        zero=np.array(zero, np.int64),
        one=np.array(one, np.int64),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch": "1", "opset": 18},
        {"groups": 3, "one": -1},
        {"perm": "[1,0,2,3]", "first": [-1, 2, 4, 5]},
        {"zero": 1, "one": 1},
    ],
)
def test_parts_become_strided_slices(settings):
    before = shuffle(**settings)
    after, outcome = apply(before, cut_shuffles)
    assert outcome.changes == 1
    assert sorted(op_types(after)) == ["Cos", "Relu", "Sin", "Slice", "Slice"]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"opset": 9},  # no steps
        {"perm": "[0,1,2]", "last": [2, -1, 6, 4, 5]},
        {"perm": "[1,2,0]", "first": [-1, 2, 20]},
        {"last": [2, -1, 6, 5, 4]},
        {"last": [2, 6, -1, 4, 5]},  # batch and channel change places
        {"last": [2, -1, 12, 2, 5]},
        {"first": [-1, 4, 20], "last": [4, -1, 3, 2, 10]},
        {"zero": [0]},  # keeps the axis
    ],
)
def test_leaves_other_shuffles_alone(settings):
    assert_untouched(shuffle(**settings), cut_shuffles)


def test_a_shuffle_that_is_read_as_a_whole_is_left_alone():
    text = TEXT.format(opset=11, batch="N", channels=12, perm="[1,0,2]").replace("Cos(part_number_one)", "Cos(c)")
    arrays = {"first": [-1, 2, 20], "last": [2, -1, 6, 4, 5], "zero": 0, "one": 1}
    text = text.replace("[E,F,G,H] z", "[E,F,G,H,I] z")
    assert_untouched(model(text, **{k: np.array(v, np.int64) for k, v in arrays.items()}), cut_shuffles)


def test_no_bytes_are_added():
    text = TEXT.format(opset=11, batch="N", channels=12, perm="[1,0,2]").replace("part_number", "p")
    more = " ".join(f"q{i} = Gather<axis=0>(c, zero) o{i} = Exp(q{i})" for i in range(9))
    arrays = {"first": [-1, 2, 20], "last": [2, -1, 6, 4, 5], "zero": 0, "one": 1}
    before = model(text.replace("y = Sin", f"{more} y = Sin"), **{k: np.array(v, np.int64) for k, v in arrays.items()})
    assert_untouched(before, cut_shuffles)
