"""The worst samples, written and read again."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.calibrate.data import open_data
from onnxzip.calibrate.feeds import Beside
from onnxzip.errors import DataError, UsageError
from onnxzip.records import WorstSample
from onnxzip.saved_samples import check_apart, save_worst
from tests.calibrate.specs import spec


def sample(index, batch, row):
    return WorstSample(index=index, batch=batch, row=row, disagreement=0.0, error=0.1, errors={})


CONTENT = {"file": np.arange(80, dtype=np.float32).reshape(40, 2), "y": np.arange(40)}
FREE = (spec("file", "N", 2),)


def written(folder, inputs, *samples):
    data = open_data(CONTENT, inputs, (), Beside("y"))
    paths = save_worst(folder, samples, data, inputs)
    return [p.name for p in paths], list(open_data(folder, inputs, (), Beside("y")).labelled())


def test_samples_come_back_with_their_labels(tmp_path):
    names, found = written(tmp_path / "worst", FREE, sample(33, 1, 1), sample(7, 0, 7))
    assert names == ["sample-33.npz", "sample-7.npz"]
    assert [(f["file"].tolist(), b["y"].tolist()) for f, b, _ in found] == [([[66, 67]], [33]), ([[14, 15]], [7])]


def test_a_model_of_a_fixed_batch_gets_the_whole_batch(tmp_path):
    names, found = written(tmp_path / "worst", (spec("file", 4, 2),), sample(5, 1, 1))
    assert names == ["sample-5.npz"]
    assert [b["y"].tolist() for _, b, _ in found] == [[4, 5, 6, 7]]


def test_an_earlier_run_is_replaced_other_files_are_left_alone_and_bytes_repeat(tmp_path):
    written(tmp_path, FREE, sample(7, 0, 7))
    first = (tmp_path / "sample-7.npz").read_bytes()
    (tmp_path / "notes.txt").write_text("mine")
    written(tmp_path, FREE, sample(8, 0, 8))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "sample-8.npz"]
    written(tmp_path, FREE, sample(7, 0, 7))
    assert (tmp_path / "sample-7.npz").read_bytes() == first


def test_text_is_stored_as_text(tmp_path):
    inputs = (spec("s", "N", dtype="object"),)
    data = [{"s": np.array(["a", "bc"], object)}]
    save_worst(tmp_path, [sample(1, 0, 1)], data, inputs)
    assert [f["s"].tolist() for f in open_data(tmp_path, inputs)] == [["bc"]]


def test_sequences_and_places_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(DataError, match="is a sequence"):
        save_worst(tmp_path, [sample(0, 0, 0)], [{"s": [np.ones(2)]}], FREE)
    with pytest.raises(UsageError, match="cannot be written there"):
        save_worst(tmp_path / "no" / "such", [sample(0, 0, 0)], [{"file": np.ones((1, 2))}], FREE)


def test_samples_never_replace_the_data_that_they_are_taken_from(tmp_path):
    written(tmp_path, FREE, sample(7, 0, 7))
    for source in (tmp_path, str(tmp_path), tmp_path / "sample-7.npz", tmp_path / "down" / ".."):
        with pytest.raises(UsageError, match="would replace the data"):
            check_apart(tmp_path, None, source)
    check_apart(tmp_path, None, [{"x": 1}], tmp_path / "other.npz", tmp_path.parent, "module:function")
    check_apart(tmp_path / "worst", tmp_path)
