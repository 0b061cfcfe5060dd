"""Labels and positions go where their samples go: cut, gathered, dealt out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxzip.calibrate.data import Data, open_data, split
from onnxzip.calibrate.feeds import Beside
from onnxzip.errors import DataError
from tests.calibrate.specs import IMAGE, images, spec

ROWS = (spec("x", "N", 1),)
LABELS = Beside("y")


def labelled(*sizes: int) -> list[dict[str, np.ndarray]]:
    """Batches of these sizes; row i holds i, its label is 10 i."""
    ends = np.cumsum(sizes)
    numbers = [np.arange(end - n, end) for n, end in zip(sizes, ends, strict=True)]
    return [{"x": n[:, None].astype(np.float32), "y": 10 * n} for n in numbers]


def assert_together(data: Data) -> list[int]:
    """Every sample still has its label and its position; gives the positions."""
    found: list[int] = []
    for feed, beside, positions in data.labelled():
        rows = feed["x"][:, 0].astype(int)
        assert set(feed) == {"x"}
        assert beside["y"].tolist() == (10 * rows).tolist()
        assert positions.tolist() == rows.tolist()
        found += positions.tolist()
    return found


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9).filter(lambda s: sum(s) > 2),
    share=st.floats(0.1, 0.9),
    rows=st.sampled_from(["N", 1, 2, 3]),
)
def test_labels_stay_with_their_samples(sizes: list[int], share: float, rows: str | int) -> None:
    if isinstance(rows, int) and sum(sizes) < 2 * rows:
        return
    data = open_data(labelled(*sizes), (spec("x", rows, 1),), (), LABELS)
    whole = assert_together(data)
    assert whole == list(range(len(whole)))
    tuning, held_out = split(data, share)
    assert sorted(assert_together(tuning) + assert_together(held_out)) == whole


def test_a_long_file_is_cut_with_its_labels(tmp_path):
    (content,) = labelled(70)
    np.savez(tmp_path / "d.npz", **content, other=np.zeros(3))
    data = open_data(tmp_path / "d.npz", ROWS, (), LABELS)
    assert assert_together(data) == list(range(70))
    assert data.batches == 3
    assert data.extras == {"other"}
    assert not any("'y'" in w for w in data.warnings())


def test_everything_can_be_asked_for_and_what_has_no_rows_stays_whole():
    (content,) = labelled(70)
    data = open_data({**content, "table": np.arange(5)}, ROWS, (), Beside(everything=True))
    assert all(beside["table"].tolist() == [0, 1, 2, 3, 4] for _, beside, _ in data.labelled())
    assert data.extras == frozenset()


def test_labels_of_tuples_go_by_their_place():
    x = images(3)
    ((_, beside, _),) = open_data([(x, [0, 1, 2])], IMAGE, (), Beside("1")).labelled()
    assert beside["1"].tolist() == [0, 1, 2]


def test_a_single_sample_has_one_label():
    ((_, beside, _),) = open_data([{"image": images(1)[0], "y": 7}], IMAGE, (), LABELS).labelled()
    assert beside["y"].tolist() == [7]


def test_folders_hold_labels_too(tmp_path):
    for number, content in enumerate(labelled(2, 3)):
        np.savez(tmp_path / f"{number}.npz", **content)
    assert assert_together(open_data(tmp_path, ROWS, (), LABELS)) == [0, 1, 2, 3, 4]
    together = tmp_path / "together"
    together.mkdir()
    for name, array in labelled(4)[0].items():
        np.save(together / f"{name}.npy", array)
    assert assert_together(open_data(together, ROWS, (), LABELS)) == [0, 1, 2, 3]


def test_labels_that_are_not_asked_for_are_left_alone():
    data = open_data(labelled(3), ROWS)
    assert [(set(feed), beside) for feed, beside, _ in data.labelled()] == [({"x"}, {})]
    assert data.extras == {"y"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": np.zeros((2, 1), np.float32), "label": np.zeros(2)}, "no array 'y' for the labels. Beside the inputs there is 'label'"),
        ({"x": np.zeros((2, 1), np.float32)}, "nor any other beside the inputs"),
        ({"x": np.zeros((2, 1), np.float32), "y": [object(), None]}, "array 'y' is list of Python objects"),
    ],
)  # fmt: skip
def test_labels_that_are_not_there_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        list(open_data([content], ROWS, (), LABELS))
