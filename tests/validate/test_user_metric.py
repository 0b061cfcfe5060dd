"""The user's metric: what it gets, its interval, and what happens when it goes wrong."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.errors import UsageError
from onnxzip.validate.user_metric import Collected


def mean(outputs, labels, arrays):
    return outputs["y"].mean()


def collected(metric, rows=(20, 30), label=True):
    rng = np.random.default_rng(0)
    found = Collected(metric)
    for count in rows:
        y = rng.standard_normal((count, 2))
        labels = np.arange(count) if label else None
        found.add({"y": y}, {"y": y - 0.5}, labels, {"weight": np.ones(count)})
    return found


def test_it_gets_all_samples_at_once():
    seen = []

    def look(outputs, labels, arrays):
        seen.append((outputs["y"].shape, labels.shape, arrays["weight"].shape))
        return 1

    assert collected(look).result(None).candidate == 1
    assert seen == [((50, 2), (50,), (50,))] * 2


def test_the_drop_has_an_interval_of_its_own_because_both_models_see_the_same_samples():
    found = collected(mean).result(0.95)
    assert found.drop == pytest.approx(0.5)
    assert (found.drop_low, found.drop_high) == pytest.approx((0.5, 0.5))
    assert found.candidate_low < found.candidate < found.candidate_high
    assert found.candidate_high - found.candidate_low > 0.2
    assert collected(mean).result(0.95) == found


def test_no_interval_is_made_up():
    assert collected(mean).result(None).drop_low is None  # not asked for
    assert collected(mean, rows=(10, 19)).result(0.95).drop_low is None  # too few samples

    def fragile(outputs, labels, arrays):
        return 1.0 if len(set(labels.tolist())) > 25 else float("nan")  # every draw repeats samples

    assert collected(fragile, rows=(40,)).result(0.95).drop_low is None
    assert collected(lambda o, label, a: float(label is None), label=False).result(0.95).original == 1


def test_batches_that_do_not_fit_together_are_a_list():
    found = Collected(lambda outputs, labels, arrays: len(outputs["y"]))
    for width in (2, 3, 3):
        found.add({"y": np.zeros((40, width))}, {"y": np.zeros((40, width))}, None, {})
    result = found.result(0.95)
    assert (result.candidate, result.candidate_low) == (3, None)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda o, label, a: "high", "gives str, not a number"),
        (lambda o, label, a: "0.5", "gives str, not a number"),
        (lambda o, label, a: None, "gives NoneType, not a number"),
        (lambda o, label, a: np.array([0.5]), "gives ndarray, not a number"),
        (lambda o, label, a: np.complex64(1 + 2j), "gives complex64, not a number"),
        (lambda o, label, a: o["x"], "fails: KeyError"),
        (lambda o, label, a: float("nan"), "gives NaN"),
        (lambda o: 1.0, "fails: TypeError"),
    ],
)
def test_a_metric_that_goes_wrong_is_refused(metric, message):
    with pytest.raises(UsageError, match=message):
        collected(metric).result(None)


def test_a_metric_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="has no function 'nothing'"):
        Collected("math:nothing")
    with pytest.raises(UsageError, match="is not found"):
        Collected("no_such_module_here:metric")


def test_infinite_figures_that_are_equal_do_not_fall():
    for confidence in (None, 0.95):
        found = collected(lambda o, label, a: np.array(np.inf)).result(confidence)
        assert (found.original, found.candidate, found.drop) == (np.inf, np.inf, 0)
    worse = collected(lambda o, label, a: np.inf if o["y"].mean() > -0.25 else 1).result(None)
    assert (worse.candidate, worse.drop) == (1, np.inf)


def test_a_metric_that_changes_what_it_gets_changes_no_figure():
    def careless(outputs, labels, arrays):
        outputs["y"] += arrays["weight"][:, None]
        arrays["weight"] += 1
        return outputs["y"].mean()

    def careful(outputs, labels, arrays):
        return (outputs["y"] + arrays["weight"][:, None]).mean()

    first, second = (collected(metric).result(0.95) for metric in (careless, careful))
    assert (first.original, first.candidate) == (second.original, second.candidate)
    assert (first.drop_low, first.drop_high, first.candidate_low) == (
        second.drop_low,
        second.drop_high,
        second.candidate_low,
    )
