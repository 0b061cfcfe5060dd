"""Verdicts."""

from __future__ import annotations

import math

from onnxzip.config import Budget
from onnxzip.records import Accuracy, Memory, OutputMetrics, Speed, UserMetric
from onnxzip.validate.comparison import Comparison
from onnxzip.validate.exact import exact_problem
from onnxzip.validate.judge import judge as judge_found
from onnxzip.validate.judge import unverified


def output(**kwargs):
    return OutputMetrics(
        **{"name": "y", "max_abs_error": 0.1, "max_rel_error": 0.1, "sqnr_db": 30.0, "cosine": 0.99, **kwargs}
    )


def judge(outputs, budget, *, accuracy=(), metric=None, **kwargs):
    return judge_found(Comparison(outputs=tuple(outputs), accuracy=accuracy, metric=metric), budget, **kwargs)


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


NONE = {"min_agreement": None, "min_sqnr_db": None}


def test_cosine_relative_error_nodes_and_memory_have_limits():
    memory = Memory(original=100, candidate=150, ratio=1.5)
    weight = {"data": "given", "samples": 60, "node_ratio": 1.9, "memory": memory}
    limits = {"min_cosine": 0.99, "max_rel_error": 0.1, "max_nodes": 1.9, "max_memory": 1.5}
    assert judge([output()], Budget(**NONE, **limits), **weight).passed
    tight = Budget(**NONE, min_cosine=0.995, max_rel_error=0.09, max_nodes=1.8, max_memory=1.4)
    verdict = judge([output()], tight, **weight)
    assert [verdict.outcome, len(verdict.reasons)] == ["missed", 4]
    assert verdict.metrics["node_ratio"] == 1.9
    assert verdict.metrics["memory_ratio"] == 1.5


def test_cosine_counts_for_class_scores_too():
    assert not judge([SCORES], Budget(min_cosine=0.995), data="given", samples=60).passed


def test_with_a_confidence_a_limit_inside_the_interval_is_undecided():
    """SCORES: .95, between .85 and .98."""
    outcomes = {
        limit: judge([SCORES], Budget(min_agreement=limit, confidence=0.95), data="given", samples=60)
        for limit in (0.84, 0.9, 0.97, 0.99)
    }
    assert [v.outcome for v in outcomes.values()] == ["passed", "undecided", "undecided", "missed"]
    assert [v.passed for v in outcomes.values()] == [True, False, False, False]
    assert outcomes[0.9].samples_needed == 139
    assert "about 139 samples would" in outcomes[0.9].undecided[0]
    assert outcomes[0.84].samples_needed is None
    assert judge([SCORES], Budget(min_agreement=0.9), data="given", samples=60).outcome == "passed"


def test_a_miss_is_a_miss_whatever_else_is_open():
    budget = Budget(min_agreement=0.9, max_abs_error=0.01, confidence=0.95)
    verdict = judge([SCORES], budget, data="given", samples=60)
    assert (verdict.outcome, len(verdict.reasons), len(verdict.undecided)) == ("missed", 1, 1)
    assert verdict.problems == (*verdict.reasons, *verdict.undecided)


def test_sqnr_is_settled_by_its_own_interval():
    known = output(sqnr_low=28.0, sqnr_high=33.0)
    sure = [judge([known], Budget(min_sqnr_db=x, confidence=0.95), data="given", samples=60) for x in (27, 29, 34)]
    assert [v.outcome for v in sure] == ["passed", "undecided", "missed"]
    assert sure[1].samples_needed == 240  # half of the distance: four times the samples
    few = judge([output()], Budget(min_sqnr_db=20, confidence=0.95), data="given", samples=12)
    assert (few.outcome, few.samples_needed) == ("undecided", 30)
    assert "SQNR lies between" in judge([known], Budget(min_sqnr_db=29), data="given", samples=60).warnings[0]


def test_the_same_numbers_need_no_samples():
    same = output(sqnr_db=120.0, max_abs_error=1e-7, agreement=1.0, agreement_low=0.7, agreement_high=1.0, decisions=9)
    budget = Budget(min_agreement=1.0, confidence=0.99)
    assert judge([same], budget, data="made up", samples=9).outcome == "passed"


def test_made_up_inputs_settle_nothing_but_a_clear_miss():
    budget = Budget(min_agreement=0.5, confidence=0.95)
    verdict = judge([SCORES], budget, data="made up", samples=60)
    assert (verdict.outcome, verdict.samples_needed) == ("undecided", None)
    assert "give data" in verdict.undecided[0]
    assert judge([SCORES], Budget(min_agreement=0.99, confidence=0.95), data="made up", samples=60).outcome == "missed"


def accuracy(drop, low, high):
    sides = {f"{w}{e}": 0.9 for w in ("original", "candidate") for e in ("", "_low", "_high")}
    figures = {"drop": drop, "drop_low": low, "drop_high": high, "decisions": 100, "samples": 100, "lost": 3, "won": 1}
    return Accuracy(output="y", **sides, **figures)


def test_accuracy_may_fall_only_so_far():
    lost = (accuracy(0.02, -0.01, 0.05),)

    def verdict(**limits):
        return judge([output()], Budget(**NONE, **limits), accuracy=lost, data="given", samples=100)

    assert verdict(max_accuracy_drop=0.02).passed
    assert "settle the limit 0.02" in verdict(max_accuracy_drop=0.02).warnings[0]
    assert "falls by 0.0200" in verdict(max_accuracy_drop=0.01).reasons[0]
    outcomes = [verdict(max_accuracy_drop=x, confidence=0.95) for x in (0.06, 0.03, -0.02)]
    assert [v.outcome for v in outcomes] == ["passed", "undecided", "missed"]
    assert (
        outcomes[1].samples_needed == 1559
    )  # 3 % lost, 1 % won: the first number at which they put the drop below 0.03
    assert outcomes[0].metrics["accuracy_drop"] == 0.02


def test_a_metric_has_a_least_value_and_a_largest_fall():
    metric = UserMetric(
        name="f1", original=0.9, candidate=0.8, drop=0.1,
        candidate_low=0.75, candidate_high=0.85, drop_low=0.08, drop_high=0.12,
    )  # fmt: skip

    def outcome(found=metric, **limits):
        return judge([output()], Budget(**NONE, metric=max, **limits), metric=found, data="given", samples=100).outcome

    assert [outcome(min_metric=x) for x in (0.8, 0.81)] == ["passed", "missed"]
    assert [outcome(max_metric_drop=x) for x in (0.1, 0.09)] == ["passed", "missed"]
    assert [outcome(min_metric=x, confidence=0.95) for x in (0.7, 0.78, 0.9)] == ["passed", "undecided", "missed"]
    assert [outcome(max_metric_drop=x, confidence=0.95) for x in (0.13, 0.11, 0.05)] == [
        "passed",
        "undecided",
        "missed",
    ]
    bare = UserMetric(name="f1", original=0.9, candidate=0.8, drop=0.1)
    assert outcome(bare, min_metric=0.5, confidence=0.95) == "undecided"


def test_a_speed_that_is_not_settled_is_undecided_and_no_number_of_samples_helps():
    speed, known = Speed(speedup=1.2, low=1.0, high=1.4, pairs=20), output(sqnr_low=28.0, sqnr_high=33.0)
    sure = [
        judge([known], Budget(min_speedup=x, confidence=0.95), data="given", samples=60, speed=speed)
        for x in (0.9, 1.1, 1.5)
    ]
    assert [v.outcome for v in sure] == ["passed", "undecided", "missed"]
    assert sure[1].samples_needed is None


def test_what_was_not_run_does_not_pass_what_asks_for_figures():
    assert unverified("it is random", Budget()).outcome == "passed"
    assert unverified("it is random", Budget(confidence=0.95)).outcome == "undecided"
    assert unverified("it is random", Budget(max_accuracy_drop=0.1)).reasons == ("the accuracy could not be measured",)
    assert unverified("it is random", Budget(max_memory=1, max_nodes=1), node_ratio=2).outcome == "missed"
