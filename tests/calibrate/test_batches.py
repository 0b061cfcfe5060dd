"""Rows are cut and grouped to fit the model; batches that the caller made stay whole."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.calibrate.batches import fit
from onnxzip.calibrate.data import open_data
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec
from tests.calibrate.specs import IMAGE, TEXT, images, spec, texts

PAIR = (spec("a", 4, 2), spec("b", 4))


def sizes(
    feeds: list[dict[str, np.ndarray]], inputs: tuple[TensorSpec, ...], *, stored: bool = True
) -> tuple[list[int], list[str]]:
    notes: list[str] = []
    located = [(f"file {index}", feed, stored) for index, feed in enumerate(feeds)]
    return [len(next(iter(f.values()))) for _, f in fit(located, inputs, notes.append)], notes


def pair(rows: int, start: int = 0) -> dict[str, np.ndarray]:
    numbers = np.arange(start, start + rows, dtype=np.float32)
    return {"a": np.stack([numbers, -numbers], 1), "b": numbers}


@pytest.mark.parametrize(("rows", "expected"), [(32, [32]), (33, [32, 1]), (96, [32, 32, 32])])
def test_stored_arrays_are_cut_at_32_rows(rows: int, expected: list[int]) -> None:
    assert sizes([texts(rows, 5)], TEXT) == (expected, [])


def test_batches_of_the_caller_stay_whole() -> None:
    assert sizes([texts(64, 5)], TEXT, stored=False) == ([64], [])
    assert open_data([images(64)], IMAGE).batches == 1


def test_fixed_batches_are_gathered_across_files_in_order() -> None:
    feeds = [pair(3), pair(6, 3), pair(4, 9)]
    notes: list[str] = []
    found = [f for _, f in fit([(str(i), f, True) for i, f in enumerate(feeds)], PAIR, notes.append)]
    assert [f["b"].tolist() for f in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    np.testing.assert_array_equal(np.concatenate([f["a"][:, 1] for f in found]), -np.arange(12))
    assert notes == ["1 rows are left out: they do not fill a batch of 4, which is what the model takes"]


def test_a_multiple_is_cut_without_a_word() -> None:
    assert sizes([pair(4), pair(8)], PAIR) == ([4, 4, 4], [])


def test_fixed_batch_of_one() -> None:
    data = open_data(images(5), (spec("image", 1, 3, 4, 4),))
    assert (data.batches, data.samples, data.warnings()) == (5, 5, ())


def test_rows_that_cannot_be_joined_are_left_out_with_a_note() -> None:
    inputs = (spec("x", 4, "S"),)
    feeds = [{"x": np.zeros((3, 5))}, {"x": np.zeros((4, 6))}]
    assert sizes(feeds, inputs) == (
        [4],
        ["3 rows are left out: they do not fill a batch of 4, which is what the model takes"],
    )


def test_too_few_rows_for_one_batch_are_refused() -> None:
    with pytest.raises(DataError, match="takes batches of exactly 4 rows, but the data has only 3"):
        sizes([pair(3)], PAIR)


def test_scalars_go_with_every_batch() -> None:
    inputs = (spec("x", "N", 2), spec("rate"))
    found = list(open_data({"x": np.zeros((40, 2), np.float32), "rate": np.float32(8)}, inputs))
    assert [(f["x"].shape[0], float(f["rate"])) for f in found] == [(32, 8), (8, 8)]


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ((spec("x", "N", 2), spec("state", "M", 2)), [(40, 2), (2, 2)]),  # leading axes differ
        ((spec("adjacency", "N", "N"),), [(40, 40)]),  # the axis is more than a batch axis
        ((spec("x", "N", 2), spec("state", 40, 2)), [(40, 2), (40, 2)]),  # one of them is fixed
        ((spec("x"),), [(40, 2)]),  # the model does not tell its shape
    ],
)
def test_leaves_alone_what_has_no_plain_batch_axis(
    inputs: tuple[TensorSpec, ...], shapes: list[tuple[int, ...]]
) -> None:
    feed = {s.name: np.zeros(shape) for s, shape in zip(inputs, shapes, strict=True)}
    assert sizes([feed], inputs) == ([40], [])


def test_overridden_defaults_are_never_cut() -> None:
    data = open_data({"image": images(40), "scale": np.ones(40, np.float32)}, IMAGE, ["scale"])
    assert [(len(f["image"]), len(f["scale"])) for f in data] == [(32, 40), (8, 40)]
