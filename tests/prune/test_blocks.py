import numpy as np
import pytest

from onnxzip.prune.blocks import inferred, reshaped
from onnxzip.prune.labels import Labels, Twins


def along(axis, *ids, rank=2, twins=None):
    return Labels.along(axis, rank, np.array(ids), twins=twins)


def test_pixels_of_a_channel_share_its_label():
    result = reshaped(along(1, 1, 2, rank=3), ("N", 2, 3), ("N", 6))
    assert not isinstance(result, str)
    assert result.ids.tolist() == [[1, 1, 1, 2, 2, 2]]


def test_rows_and_columns():
    result = reshaped(along(1, 1, 2, 3, 4), ("N", 4), ("N", 2, 2))
    assert not isinstance(result, str)
    assert result.ids.tolist() == [[[1, 2], [3, 4]]]
    assert result.axes == (1, 2)


def test_an_axis_on_which_nothing_changes_has_size_1():
    result = reshaped(along(1, 1, 1, 2, 2), ("N", 4), ("N", 2, 2))
    assert not isinstance(result, str)
    assert result.ids.tolist() == [[[1], [2]]]


def test_twins_are_twins_of_equal_pixels():
    twins = Twins(np.array([5, 0, 5]), np.array([1.0, 1.0, 2.0]))
    result = reshaped(along(1, 1, 2, 3, rank=3, twins=twins), ("N", 3, 2), ("N", 6))
    assert not isinstance(result, str)
    assert result.twins is not None
    group = result.twins.group[0]
    assert group[0] == group[4] != group[1] == group[5]
    assert group[2] == group[3] == 0


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (None, ("N", 4), "unknown"),
        (("N", 4), None, "unknown"),
        (("N", 4), (None,), "unknown size"),
        (("N", 8), ("N", 8), "contradicts"),
    ],
)
def test_shapes_that_say_too_little_are_refused(before, after, why):
    result = reshaped(along(1, 1, 2, 3, 4), before, after)
    assert isinstance(result, str)
    assert why in result


@pytest.mark.parametrize(
    ("before", "after", "target", "expected"),
    [
        (("N", 8, 2), ("N", None), [0, -1], ("N", 16)),
        (("N", 8, 2), ("N", 16), [0, -1], ("N", 16)),
        (("N", "S", 8), ("N", None), [0, -1], ("N", None)),  # two unknown sizes before, one after
        (("N", 8, 2), ("N", None, None), [0, None, -1], ("N", None, None)),
        (("N", 0, 2), ("N", 0, None), [0, 0, -1], ("N", 0, None)),
    ],
)
def test_the_free_axis_is_worked_out_where_the_others_are_known(before, after, target, expected):
    assert inferred(before, after, target) == expected
