"""failures.md 18: NaN, Inf, wrong names, dtypes and shapes are refused by name before the model sees them."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.calibrate.data import open_data
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec
from tests.calibrate.specs import IMAGE, TEXT, images, spec, texts


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_peer_18_nan_and_inf_are_named_with_batch_and_index(value: float, word: str) -> None:
    bad = images(2)
    bad[1, 2, 0, 3] = value
    with pytest.raises(
        DataError, match=rf"^the given list, batch 1: input 'image' is {word} at index \[1, 2, 0, 3\]\."
    ):
        list(open_data([images(2), bad], IMAGE))


def test_peer_18_nan_in_a_sequence_and_in_an_overridden_default() -> None:
    sequence = (TensorSpec("s", None, (), "seq(tensor(float))"),)
    with pytest.raises(DataError, match="input 's' is nan"):
        list(open_data([{"s": [np.ones(2), np.array([np.nan])]}], sequence))
    with pytest.raises(DataError, match="input 'scale' is inf"):
        list(open_data([{"image": images(1), "scale": np.array([np.inf])}], IMAGE, ["scale"]))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("float64", "float32"),
        ("float64", "float16"),
        ("float16", "float32"),
        ("float32", "float64"),
        ("int32", "int64"),
        ("int64", "int32"),
        ("int64", "uint8"),
        ("int8", "int64"),
    ],
)
def test_defaults_and_narrower_types_are_cast_with_a_note(given: str, wanted: str) -> None:
    values = np.array([[0, 1, 2]], given)
    data = open_data([{"x": values}], (spec("x", "N", 3, dtype=wanted),))
    (batch,) = data
    assert batch["x"].dtype == wanted
    np.testing.assert_array_equal(batch["x"], values)
    assert data.warnings() == (f"input 'x' was cast from {given} to {wanted}",)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("uint8", "float32"),
        ("int64", "float32"),
        ("float32", "float16"),
        ("float32", "int64"),
        ("bool", "int64"),
        ("int64", "bool"),
        ("uint64", "int64"),
        ("complex64", "float32"),
    ],
)
def test_other_dtypes_are_refused_by_name(given: str, wanted: str) -> None:
    with pytest.raises(DataError, match=rf"batch 0: input 'x' is {given}, but the model takes {wanted}"):
        list(open_data([{"x": np.zeros((1, 3), given)}], (spec("x", "N", 3, dtype=wanted),)))


def test_casts_that_lose_the_value_are_refused() -> None:
    for values, wanted, message in (
        (np.array([2**40]), "int32", "which do not fit int32"),
        (np.array([-1]), "uint8", "which do not fit uint8"),
        (np.array([1e300]), "float32", "too large for float32"),
    ):
        with pytest.raises(DataError, match=message):
            list(open_data([{"x": values}], (spec("x", "N", dtype=wanted),)))


def test_strings_are_made_objects() -> None:
    (batch,) = open_data([{"s": np.array(["a", "bc"])}], (spec("s", "N", dtype="object"),))
    assert batch["s"].dtype == object
    assert batch["s"].tolist() == ["a", "bc"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 4, 5), r"shape \[2, 3, 4, 5\], but the model takes \[N, 3, 4, 4\]: axis 3 is 4, not 5"),
        ((2, 3, 4, 4, 1), "4 axes, not 5"),
        ((3, 4), "4 axes, not 2"),
        ((0, 3, 4, 4), "input 'image' is empty: it has no rows"),
    ],
)
def test_wrong_shapes_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(open_data([np.zeros(shape, np.float32)], IMAGE))


def test_axes_of_one_name_must_be_equal_within_a_batch_only() -> None:
    assert open_data([texts(2, 5), texts(3, 9)], TEXT).samples == 5
    torn = {"ids": texts(2, 5)["ids"], "mask": texts(2, 6)["mask"]}
    with pytest.raises(DataError, match=r"input 'mask' has 6 at axis 1 \('S'\), but input 'ids' has 5 there"):
        list(open_data([torn], TEXT))


def test_an_empty_inner_axis_is_legal_where_it_is_dynamic() -> None:
    assert open_data([np.zeros((2, 0), np.float32)], (spec("past", "N", "P"),)).samples == 2


def test_constant_inputs_are_told_unless_they_are_whole_numbers_among_others() -> None:
    data = open_data([np.ones((2, 3, 4, 4), np.float32)] * 2, IMAGE)
    list(data)
    assert data.warnings() == (
        "input 'image' is 1 everywhere in the data: is that right?",
        "1 of 2 batches repeat an earlier one: they add no information",
    )
    masks = open_data([texts(2, 5)], TEXT)  # a mask of ones is ordinary
    list(masks)
    assert masks.warnings() == ()


def test_raw_pixels_are_told() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype(np.float32)
    data = open_data([x], IMAGE)
    list(data)
    assert "as raw pixels do" in data.warnings()[0]


@pytest.mark.parametrize("scale", [1 / 255, -1.0, 0.5, 2.0])
def test_leaves_alone_what_does_not_look_like_pixels(scale: float) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype(np.float32) * np.float32(scale)
    data = open_data([x], IMAGE)
    list(data)
    assert data.warnings() == ()


def test_extras_are_told_and_warnings_wait_for_a_complete_iteration() -> None:
    data = open_data([{"image": images(2), "label": 1}], IMAGE)
    assert data.warnings() == ()
    list(data)
    assert data.warnings() == ("'label' in the data is no input of the model and was ignored",)
