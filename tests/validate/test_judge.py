"""Verdicts."""

from __future__ import annotations

import math

from onnxzip.config import Budget
from onnxzip.records import OutputMetrics, Speed
from onnxzip.validate.comparison import Comparison
from onnxzip.validate.judge import exact_problem
from onnxzip.validate.judge import judge as judge_found


def output(**kwargs):
    return OutputMetrics(
        **{"name": "y", "max_abs_error": 0.1, "max_rel_error": 0.1, "sqnr_db": 30.0, "cosine": 0.99, **kwargs}
    )


def judge(outputs, budget, **kwargs):
    return judge_found(Comparison(outputs=tuple(outputs)), budget, **kwargs)


SCORES = output(agreement=0.95, agreement_low=0.85, agreement_high=0.98, decisions=60)


def test_scores_are_judged_by_agreement_and_others_by_sqnr():
    assert judge([SCORES], Budget(min_agreement=0.9, min_sqnr_db=99), data="given", samples=60).passed
    assert not judge([SCORES], Budget(min_agreement=0.96), data="given", samples=60).passed
    assert not judge([output()], Budget(min_sqnr_db=31), data="given", samples=60).passed
    assert judge([output()], Budget(min_sqnr_db=None, min_agreement=None), data="given", samples=60).passed


def test_every_miss_has_its_reason():
    speed = Speed(speedup=0.9, low=0.8, high=1.0, pairs=20)
    budget = Budget(min_agreement=0.99, max_abs_error=0.01, max_size=0.3, min_speedup=1.0)
    verdict = judge([SCORES], budget, data="given", samples=60, size_ratio=0.4, speed=speed)
    assert len(verdict.reasons) == 4
    assert verdict.metrics == {
        "agreement": 0.95,
        "sqnr_db": 30.0,
        "cosine": 0.99,
        "max_abs_error": 0.1,
        "max_rel_error": 0.1,
        "size_ratio": 0.4,
        "speedup": 0.9,
    }


def test_nan_always_fails():
    bad = output(max_abs_error=math.inf, sqnr_db=-math.inf)
    assert not judge([bad], Budget(min_agreement=None, min_sqnr_db=None), data="given", samples=1).passed


def test_too_few_samples_to_settle_the_limit_are_said():
    """failures.md 22: a figure from few samples is given with its interval."""
    assert "give more data" in judge([SCORES], Budget(min_agreement=0.9), data="given", samples=60).warnings[0]
    assert judge([SCORES], Budget(min_agreement=0.5), data="given", samples=60).warnings == ()


def test_exact_means_rounding_only():
    assert exact_problem([output(sqnr_db=120.0)], {}, {}) is None
    assert exact_problem([output(sqnr_db=60.0, max_rel_error=1e-9)], {}, {}) is None
    assert "60.0 dB" in exact_problem([output(sqnr_db=60.0)], {}, {})
    assert exact_problem([output(sqnr_db=60.0)], {}, {"y": "tensor(float16)"}) is None
    assert "not equal" in exact_problem([output(sqnr_db=None, max_abs_error=1.0)], {}, {})
    assert "dB" in exact_problem([output(sqnr_db=-math.inf, max_abs_error=math.inf, max_rel_error=math.inf)], {}, {})


def test_tiny_outputs_are_held_to_their_own_size():
    assert "0.0 dB" in exact_problem([output(sqnr_db=0.0, max_abs_error=1e-7, max_rel_error=1.0)], {}, {})


def test_the_originals_own_noise_is_the_floor():
    noisy = {"y": output(sqnr_db=80.0)}
    assert exact_problem([output(sqnr_db=75.0)], noisy, {}) is None
    assert exact_problem([output(sqnr_db=70.0)], noisy, {}) is not None


def test_noise_of_the_original_excuses_only_so_much():
    broken = {"y": output(sqnr_db=-math.inf)}
    assert exact_problem([output(sqnr_db=30.0)], broken, {}) is not None


def test_elements_that_are_off_are_found_behind_a_good_sqnr():
    assert "2 elements" in exact_problem([output(sqnr_db=120.0, outliers=2)], {}, {})
    assert exact_problem([output(sqnr_db=120.0, outliers=2)], {"y": output(sqnr_db=120.0, outliers=2)}, {}) is None
