"""The worst samples, in order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxzip.validate.metrics import Accumulator
from onnxzip.validate.worst import worst_samples


def worst(*batches, lost=None, count=10, **outputs):
    """Of (reference, candidate) by batch, positions counted from 100."""
    found = Accumulator("y", **outputs)
    positions, first = [], 100
    for reference, candidate in batches:
        found.add(reference, candidate, len(reference))
        positions.append(np.arange(first, first + len(reference)))
        first += len(reference)
    return worst_samples([found], positions, lost, count)


def test_samples_are_named_by_position_worst_first():
    r = np.ones((5, 4), np.float32)
    c = r.copy()
    c[1] += 0.1
    c[3] += 0.2
    found = worst((r, r), (r, c))
    assert [(w.index, w.batch, w.row) for w in found] == [(108, 1, 3), (106, 1, 1)]
    assert found[0].error == pytest.approx(0.04)
    assert found[0].errors == {"y": pytest.approx(0.04)}
    assert worst((r, c), count=1)[0].index == 103


def test_equal_outputs_have_no_worst_samples():
    r = np.ones((5, 4), np.float32)
    assert worst((r, r)) == ()


def test_another_decision_weighs_more_than_a_large_error_and_nan_more_than_both():
    r = np.tile(np.array([[0.6, 0.4, 0.0]], np.float32), (4, 1))
    c = r.copy()
    c[1] = [0.45, 0.55, 0]
    c[2] = [0.99, 0.01, 0]
    assert [(w.index, w.disagreement) for w in worst((r, c))] == [(101, 1.0), (102, 0.0)]
    c[3, 0] = np.nan
    found = worst((r, c))
    assert [w.index for w in found[:1]] == [103]
    assert math.isinf(found[0].error)


def test_whole_numbers_are_decisions_too():
    found = worst((np.arange(4), np.array([0, 1, 9, 3])))
    assert [(w.index, w.disagreement, w.error, w.errors) for w in found] == [(102, 1.0, 0.0, {})]


def test_a_batch_without_rows_is_one_sample():
    found = Accumulator("y")
    found.add(np.ones(7), np.ones(7) * 1.1, 2)
    assert [(w.index, w.error) for w in worst_samples([found], [np.arange(2)])] == [(0, pytest.approx(0.01))]


def test_a_sample_on_which_the_original_is_zero_does_not_come_first():
    r = np.ones((20, 4), np.float32)
    r[3] = 0
    c = r.copy()
    c[3] += 0.001
    c[5] += 0.1
    assert [w.index for w in worst((r, c))] == [105, 103]


def test_by_labels_it_is_said_which_were_lost():
    r, c = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 2, 2]]
    (only,) = worst((r, c), lost=[np.array([False, True, False])], class_axis=1)
    assert (only.index, only.lost) == (101, True)
