"""Arrays are matched with inputs by name or order; a near miss is named."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from onnxzip.calibrate.feeds import feed_of
from onnxzip.calibrate.sources import Item
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec
from tests.calibrate.specs import IMAGE, TEXT, images, spec, texts


def feed(content: object, inputs: tuple[TensorSpec, ...], others: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    return feed_of(Item("here", content, others), inputs, ())[0]


def test_extras_are_ignored_and_told() -> None:
    found, extras = feed_of(Item("here", {"image": images(1), "y": 3}, ("labels",)), IMAGE, ())
    assert list(found) == ["image"]
    assert extras == ("labels", "y")


def test_mappings_of_other_types() -> None:
    assert list(feed(collections.UserDict(texts(2, 3)), TEXT)) == ["ids", "mask"]


def test_missing_inputs_name_both_sides_and_the_near_miss() -> None:
    with pytest.raises(
        DataError,
        match=r"^here: nothing is named after the input 'image'; there is 'images', which is no input. Should 'images' be called 'image'\?$",
    ):
        feed({"images": images(1)}, IMAGE)
    with pytest.raises(DataError, match=r"inputs 'ids', 'mask'; there is 'x', which is no input. Name the arrays"):
        feed({}, TEXT, others=("x",))
    with pytest.raises(DataError, match=r"the input 'mask'. Add it"):
        feed({"ids": 1}, TEXT)


def test_tuples_that_are_too_short_and_arrays_for_many_inputs() -> None:
    with pytest.raises(DataError, match=r"has 1 values, but the model has 2 inputs, in this order: ids, mask"):
        feed((np.zeros(1),), TEXT)
    with pytest.raises(DataError, match=r"is a single ndarray, but the model has 2 inputs. Give a dict with ids, mask"):
        feed(np.zeros(1), TEXT)


def test_objects_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="input 'image' is object of Python objects"):
        feed({"image": object()}, IMAGE)
    with pytest.raises(DataError, match="input 'image' cannot be made an array"):
        feed({"image": [[1, 2], [3]]}, IMAGE)


def test_strings_pass_where_the_model_takes_them() -> None:
    found = feed({"s": ["a", "b"]}, (spec("s", "N", dtype="object"),))
    assert found["s"].tolist() == ["a", "b"]


def test_a_single_sample_gets_a_batch_axis() -> None:
    assert feed(images(1)[0], IMAGE)["image"].shape == (1, 3, 4, 4)
    assert feed({"x": 3.0}, (spec("x", "N"),))["x"].shape == (1,)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 4), (1, 1, 3, 4, 4)])
def test_leaves_other_shapes_alone(shape: tuple[int, ...]) -> None:
    assert feed(np.zeros(shape), IMAGE)["image"].shape == shape


def test_nested_lists_of_numbers_are_one_array_and_surplus_values_are_told() -> None:
    array = images(3)
    found, extras = feed_of(Item("here", array.tolist(), ()), IMAGE, ())
    assert (found["image"].shape, extras) == (array.shape, ())
    found, extras = feed_of(Item("here", (array, np.arange(3)), ()), IMAGE, ())
    assert found["image"].shape == array.shape
    assert extras == ("value 1 of the tuple",)
