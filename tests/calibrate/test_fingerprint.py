"""The fingerprint tells data apart by content, place, name, dtype and shape; not by the order of names."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.calibrate.fingerprint import fingerprint

BASE = np.random.default_rng(0).standard_normal((64, 3, 33)).astype(np.float32)


def test_equal_data_is_equal() -> None:
    two = {"a": BASE, "b": BASE[0]}
    assert fingerprint(two) == fingerprint({"b": BASE[0].copy(), "a": np.asfortranarray(BASE)})
    assert 0 <= fingerprint(two) < 2**128


def changed(index: tuple[int, ...]) -> np.ndarray:
    copy = BASE.copy()
    copy[index] = np.nextafter(copy[index], np.float32(9))
    return copy


@pytest.mark.parametrize(
    "other",
    [
        {"b": BASE},
        {"a": BASE[::-1]},
        {"a": BASE[:, ::-1]},
        {"a": BASE.reshape(64, 33, 3)},
        {"a": BASE.view(np.int32)},
        {"a": BASE[:-1]},
        {"a": changed((0, 0, 0))},
        {"a": changed((63, 2, 32))},
        {"a": BASE, "b": BASE},
        {"a": [BASE]},
    ],
)
def test_other_data_is_other(other: dict[str, np.ndarray]) -> None:
    assert fingerprint(other) != fingerprint({"a": BASE})


def test_values_that_are_no_arrays_of_numbers() -> None:
    feeds = [
        {"s": np.array(["a", "b"], object)},
        {"s": np.array(["a", "c"], object)},
        {"s": [BASE, BASE[0]]},
        {"s": None},
    ]
    assert len({fingerprint(f) for f in feeds}) == 4
