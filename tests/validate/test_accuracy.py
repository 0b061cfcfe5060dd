"""Accuracy by labels against counting by hand, and every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.errors import DataError
from onnxzip.validate.accuracy import Labelled, as_labels, fitting


def scores(labels, classes, axis=-1):
    """One-hot scores whose arg-max is `labels`."""
    return np.moveaxis(np.eye(classes, dtype=np.float32)[labels], -1, axis)


def counted(reference, candidate, labels, class_axis=None, batches=1):
    output = Labelled("y", class_axis)
    for part in zip(*(np.array_split(a, batches) for a in (reference, candidate, labels)), strict=True):
        output.add(*part)
    return output


def test_accuracy_and_its_loss_are_counted_over_batches():
    labels = np.array([0, 1, 2, 3, 0, 1])
    before, after = scores([0, 1, 2, 3, 1, 1], 4), scores([0, 1, 0, 0, 0, 1], 4)
    output = counted(before, after, labels, batches=2)
    found = output.result(0.95)
    assert (found.original, found.candidate, found.lost, found.won) == (5 / 6, 4 / 6, 2, 1)
    assert found.drop == pytest.approx(1 / 6)
    assert found.drop_low < 0 < found.drop < found.drop_high
    assert found.candidate_low < found.candidate < found.candidate_high
    assert np.concatenate(output.lost).tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("axis", [1, -1])
def test_classes_lie_where_the_labels_fit(axis):
    labels = np.random.default_rng(0).integers(0, 3, (4, 9))
    before = scores(labels, 3, axis)
    found = counted(before, -before, labels).result(0.95)
    assert (found.original, found.candidate, found.decisions, found.samples) == (1, 0, 36, 4)
    assert found.candidate_high > 0.4  # 36 decisions, but 4 samples


def test_where_two_axes_fit_the_user_must_say_which():
    labels = np.random.default_rng(0).integers(0, 3, (4, 3))
    before = scores(labels, 3, 1)
    with pytest.raises(DataError, match="--class-axis"):
        counted(before, before, labels).result(0.95)
    assert counted(before, before, labels, class_axis=1).result(0.95).original == 1


def test_axes_of_size_one_do_not_matter_and_negative_labels_are_left_out():
    before = scores([0, 1, 2], 3).reshape(3, 3, 1, 1)
    found = counted(before, before, np.array([[0], [-1], [1]])).result(0.95)
    assert (found.original, found.decisions, found.samples) == (0.5, 2, 2)


def test_outputs_that_are_classes_count_before_scores():
    labels = np.array([7, 9, 7])
    classes, probabilities = Labelled("label"), Labelled("probability")
    classes.add(labels, np.array([7, 7, 7]), labels)
    probabilities.add(scores([0, 1, 0], 10), scores([0, 0, 0], 10), labels)
    assert [o.name for o in fitting([classes, probabilities])] == ["label"]
    assert classes.result(0.95).candidate == pytest.approx(2 / 3)
    words = Labelled("word")
    words.add(np.array(["a", "b"], object), np.array(["a", "a"], object), np.array(["a", "b"]))
    assert words.result(0.95).candidate == 0.5


def test_an_output_of_another_shape_in_the_candidate_is_never_right():
    labels = np.array([0, 1])
    found = counted(scores(labels, 3), scores(labels, 4), labels).result(0.95)
    assert (found.original, found.candidate) == (1, 0)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((3, 4), [0, 1, 4], "4 classes, too few for label 4"),
        ((3,), [0, 1, 2], "which without a class axis"),
        ((3, 4, 5), [0, 1, 2], "which without a class axis"),
    ],
)
def test_labels_that_fit_no_output_are_refused_with_the_reason(shape, labels, message):
    output = Labelled("y")
    output.add(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.array(labels))
    with pytest.raises(DataError, match=message):
        fitting([output])


def test_labels_are_whole_numbers_or_text_one_a_sample():
    assert as_labels(np.array([1.0, 2.0]), "y", 2).dtype == np.int64
    assert as_labels(np.array([True, False]), "y", 2).tolist() == [1, 0]
    assert as_labels(np.array(["a", "b"]), "y", 2).tolist() == ["a", "b"]
    with pytest.raises(DataError, match="not class numbers"):
        as_labels(np.array([0.5, 2.0]), "y", 2)
    with pytest.raises(DataError, match="a batch has 3 samples"):
        as_labels(np.array([1, 2]), "y", 3)


def test_labels_that_are_all_negative_judge_nothing():
    before = scores([0, 1, 2], 3)
    with pytest.raises(DataError, match="every label is negative"):
        fitting([counted(before, before, np.array([-1, -1, -1]), batches=2)])
    (found,) = fitting([counted(before, before, np.array([-1, -1, 2]), batches=3)])
    assert found.result(0.95).decisions == 1


def test_text_is_no_class_of_scores():
    before = scores([0, 1, 2], 3)
    with pytest.raises(DataError, match="classes are numbers, not text"):
        fitting([counted(before, before, np.array(["a", "b", "c"]))])
