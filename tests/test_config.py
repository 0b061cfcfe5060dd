"""Budgets and configurations refuse what cannot be meant."""

from __future__ import annotations

import math

import pytest

from onnxzip.config import Budget, Config, check_answers
from onnxzip.errors import UsageError


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_agreement": 1.1}, "min_agreement must lie in 0 to 1"),
        ({"min_agreement": True}, "must be a number"),
        ({"min_sqnr_db": math.nan}, "min_sqnr_db must be a number"),
        ({"min_cosine": 2}, "min_cosine must lie in -1 to 1"),
        ({"max_rel_error": -1}, "max_rel_error must not be negative"),
        ({"max_memory": math.nan}, "max_memory must not be negative or NaN"),
        ({"max_nodes": "1"}, "max_nodes must be a number"),
        ({"max_accuracy_drop": 5}, "max_accuracy_drop must lie in -1 to 1"),
        ({"class_axis": 1.0}, "class_axis is the number of an axis"),
        ({"metric": "top5"}, "metric is module:function"),
        ({"metric": 5}, "not a int"),
        ({"min_metric": 0.5}, "name it"),
        ({"max_metric_drop": 0.5}, "name it"),
        ({"confidence": 1.0}, "confidence must lie in"),
        ({"confidence": 95}, "confidence must lie in"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits, message):
    with pytest.raises(UsageError, match=message):
        Budget(**limits)


def test_limits_that_do_are_not():
    Budget(
        min_agreement=0, min_sqnr_db=-5, min_cosine=-1, max_rel_error=0, class_axis=-1, max_accuracy_drop=-0.1,
        metric="my.metrics:top5", min_metric=-3, max_metric_drop=0, max_nodes=2, max_memory=1.5, confidence=0.9,
    )  # fmt: skip
    assert Budget(metric=max).metric is max


@pytest.mark.parametrize("labels", ["", 5])
def test_labels_are_a_name(labels):
    with pytest.raises(UsageError, match="labels is the name"):
        Config(labels=labels)


def test_accuracy_needs_labels():
    with pytest.raises(UsageError, match="needs labels"):
        Config(budget=Budget(max_accuracy_drop=0.1))
    assert Config(labels="y", budget=Budget(max_accuracy_drop=0.1)).labels == "y"


def test_a_metric_is_looked_up_before_any_work_is_done():
    with pytest.raises(UsageError, match="has no function 'f1'"):
        check_answers(None, Budget(metric="math:f1"), has_data=True)
    with pytest.raises(UsageError, match="need data"):
        check_answers(None, Budget(metric="math:floor"), has_data=False)
    check_answers("y", Budget(metric="math:floor"), has_data=True)
