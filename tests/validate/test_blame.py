"""Bisection finds a step that made a good state a bad one, in few checks."""

import math

import pytest

from onnxzip.validate.blame import first_bad


@pytest.mark.parametrize("guilty", [1, 2, 500, 999, 1000])
def test_the_first_bad_step_is_found_in_few_checks(guilty):
    asked = []

    def check(steps):
        asked.append(steps)
        return f"bad after {steps}" if steps >= guilty else None

    assert first_bad(1000, check) == (guilty, f"bad after {guilty}")
    assert len(asked) <= 2 + math.ceil(math.log2(1000))


def test_failures_that_come_and_go_still_name_a_step_that_broke_something():
    bad = {3, 4, 8, 9, 10}
    step, _ = first_bad(10, lambda k: "bad" if k in bad else None)
    assert step in bad
    assert step - 1 not in bad


def test_nobody_is_to_blame_for_what_was_bad_before_or_is_not_bad_at_all():
    assert first_bad(10, lambda k: "always") is None
    assert first_bad(10, lambda k: None) is None
    assert first_bad(0, lambda k: "nothing was done") is None
