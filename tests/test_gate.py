"""`compare` with labels, a metric, and confidence, on small models whose figures are known."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import onnxzip
from onnxzip import Budget
from onnxzip.errors import DataError, ModelError, UsageError
from onnxzip.report.console import headline
from onnxzip.report.document import plain
from onnxzip.validate import memory

HEAD = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] scores)'
SAME = onnx.parser.parse_model(HEAD + "{ scores = Identity(x) }")
TWICE = onnx.parser.parse_model(HEAD + "{ scores = Add(x, x) }")
OTHER = onnx.parser.parse_model(HEAD + "<float[3] b = {0, 0, 0.5}> { scores = Add(x, b) }")
"""Decides for the last class a little more often."""


def labelled(count=200):
    """Scores in 0 to 1; the largest is the label in all of them."""
    x = np.random.default_rng(0).uniform(0, 1, (count, 3)).astype(np.float32)
    return {"x": x, "y": x.argmax(1)}


LOOSE = {"min_agreement": None, "min_sqnr_db": None, "layers": False}


def test_accuracy_is_that_of_both_models():
    data = labelled()
    verdict = onnxzip.compare(SAME, OTHER, data, Budget(**LOOSE, class_axis=1, max_accuracy_drop=0.2), labels="y")
    expected = ((data["x"] + np.array([0, 0, 0.5], np.float32)).argmax(1) == data["y"]).mean()
    (found,) = verdict.accuracy
    assert (found.original, found.candidate, found.won) == (1, pytest.approx(expected), 0)
    assert verdict.outcome == "missed"
    assert verdict.metrics["agreement"] == pytest.approx(expected)
    assert verdict.outputs[0].class_axis == 1


def test_the_worst_samples_are_those_that_were_lost(tmp_path):
    data = labelled()
    verdict = onnxzip.compare(SAME, OTHER, data, Budget(class_axis=1), labels="y", save_worst=tmp_path / "worst")
    assert len(verdict.worst) == 10
    for w in verdict.worst:
        shifted = data["x"][w.index] + np.array([0, 0, 0.5], np.float32)
        assert w.lost
        assert shifted.argmax() != data["y"][w.index]
        assert w.error == pytest.approx(0.25 / (data["x"][w.index] ** 2).sum(), rel=1e-5)
        assert np.load(tmp_path / "worst" / f"sample-{w.index}.npz")["x"].tolist() == [data["x"][w.index].tolist()]
    again = onnxzip.compare(SAME, OTHER, tmp_path / "worst", Budget(class_axis=1), labels="y")
    assert again.accuracy[0].candidate == 0


def test_exact_rewrites_pass_with_any_confidence_on_any_number_of_samples():
    budget = Budget(min_agreement=1.0, min_cosine=1.0, class_axis=1, max_accuracy_drop=0, confidence=0.999)
    verdict = onnxzip.compare(SAME, SAME, labelled(3), budget, labels="y")
    assert verdict.outcome == "passed"
    assert verdict.worst == ()
    assert verdict.metrics["node_ratio"] == 1


def test_too_few_samples_are_told_with_their_number_and_so_many_do():
    budget = Budget(min_agreement=0.6, min_sqnr_db=None, class_axis=1, confidence=0.95, layers=False)
    few = onnxzip.compare(SAME, OTHER, labelled(40), budget)
    assert (few.passed, few.outcome, few.reasons) == (False, "undecided", ())
    assert few.samples_needed > 40
    enough = onnxzip.compare(SAME, OTHER, labelled(few.samples_needed * 3), budget)
    assert enough.outcome == "missed"  # .55 of the decisions agree
    lower = Budget(min_agreement=0.45, min_sqnr_db=None, class_axis=1, confidence=0.95, layers=False)
    assert onnxzip.compare(SAME, OTHER, labelled(few.samples_needed * 3), lower).outcome == "passed"


def test_sqnr_and_cosine_have_intervals_that_hold_the_figure():
    (output,) = onnxzip.compare(SAME, OTHER, labelled(), Budget(**LOOSE, confidence=0.9)).outputs
    assert output.sqnr_low < output.sqnr_db < output.sqnr_high
    assert output.cosine_low < output.cosine < output.cosine_high


def test_a_metric_gets_labels_and_the_other_arrays():
    def weighted(outputs, labels, arrays):
        return float(np.average(outputs["scores"].argmax(1) == labels, weights=arrays["weight"]))

    data = {**labelled(), "weight": np.linspace(0, 1, 200)}
    budget = Budget(**LOOSE, metric=weighted, max_metric_drop=0.01)
    verdict = onnxzip.compare(SAME, OTHER, data, budget, labels="y")
    assert (verdict.metric.original, verdict.outcome) == (1, "missed")
    assert verdict.metrics["metric_drop"] == 1 - verdict.metric.candidate
    assert "weighted falls by" in verdict.reasons[0]
    assert onnxzip.compare(SAME, TWICE, data, budget, labels="y").passed  # twice the scores decide alike


def test_everything_is_json():
    budget = Budget(class_axis=1, metric=lambda outputs, labels, arrays: 1.0)
    found = json.loads(json.dumps(plain(onnxzip.compare(SAME, OTHER, labelled(), budget, labels="y"))))
    assert found["outcome"] == "missed"
    assert found["worst"][0]["errors"].keys() == {"scores"}
    assert found["metrics"]["accuracy"] == found["accuracy"][0]["candidate"]
    assert found["metric"]["candidate"] == 1


def test_labels_that_only_the_metric_understands_are_its_own():
    data = {**labelled(), "y": np.linspace(0.1, 0.9, 200)}
    budget = Budget(metric=lambda outputs, labels, arrays: labels.max())
    verdict = onnxzip.compare(SAME, SAME, data, budget, labels="y")
    assert (verdict.metric.candidate, verdict.accuracy) == (0.9, ())
    with pytest.raises(DataError, match="not class numbers"):
        onnxzip.compare(SAME, SAME, data, labels="y")


def test_peak_memory_is_measured_where_it_is_limited(monkeypatch):
    monkeypatch.setattr(memory, "REPEATS", 1)
    verdict = onnxzip.compare(SAME, SAME, labelled(), Budget(max_memory=1000.0))
    assert verdict.memory is not None
    assert verdict.passed
    assert onnxzip.compare(SAME, SAME, labelled()).memory is None


def test_what_cannot_be_had_is_refused():
    data = labelled()
    for budget, options, message in (
        (Budget(), {"data": None, "labels": "y"}, "need data"),
        (Budget(metric=max), {"data": None}, "need data"),
        (Budget(max_accuracy_drop=0.1), {"data": data}, "needs labels"),
        (Budget(class_axis=3), {"data": data}, "no float output has classes along axis 3"),
        (Budget(metric="no_such_module_here:f"), {"data": data}, "is not found"),
    ):
        with pytest.raises(UsageError, match=message):
            onnxzip.compare(SAME, OTHER, budget=budget, **options)
    with pytest.raises(DataError, match="too few for label 7"):
        onnxzip.compare(SAME, OTHER, {**data, "y": np.full(200, 7)}, labels="y")
    with pytest.raises(DataError, match="no array 'z' for the labels"):
        onnxzip.compare(SAME, OTHER, data, labels="z")


def test_a_model_that_fails_on_the_data_is_named(tmp_path):
    fails = onnx.parser.parse_model(HEAD + "<int64[2] s = {7, 3}> { scores = Reshape(x, s) }")
    for name, model in (("same", SAME), ("fails", fails)):
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
    for data in (labelled(5), None):
        for pair in (("same", "fails"), ("fails", "same")):
            with pytest.raises(ModelError, match=r"fails\.onnx: onnxruntime .* fails to run the model"):
                onnxzip.compare(*(tmp_path / f"{n}.onnx" for n in pair), data)


def test_labels_for_a_metric_may_be_negative():
    data = labelled(40) | {"y": np.full(40, -3)}
    budget = Budget(**LOOSE, metric=lambda outputs, labels, arrays: labels.mean())
    verdict = onnxzip.compare(SAME, SAME, data, budget, labels="y")
    assert (verdict.metric.candidate, verdict.accuracy) == (-3, ())


def test_one_sample_is_told_as_one():
    verdict = onnxzip.compare(SAME, SAME, labelled(1))
    assert "1 sample is few: the figures may be far from those of more data" in verdict.warnings
    assert headline(verdict) == "verdict: PASSED, compared with the original on 1 given sample"


@pytest.mark.parametrize("axis", [0, -2])
def test_samples_are_no_classes(axis):
    with pytest.raises(UsageError, match=f"no float output has classes along axis {axis}"):
        onnxzip.compare(SAME, OTHER, labelled(), Budget(class_axis=axis))


def test_an_output_without_samples_may_have_its_classes_first():
    whole = [onnx.parser.parse_model(str_of(op)) for op in ("ReduceMax", "ReduceMin")]
    verdict = onnxzip.compare(*whole, labelled(), Budget(**LOOSE, class_axis=0))
    assert verdict.outputs[0].class_axis == 0


def str_of(op):
    return (
        HEAD.replace("[N,3] scores", "[3] scores") + f"<int64[1] axis = {{0}}> {{ scores = {op}<keepdims=0>(x, axis) }}"
    )


def test_a_candidate_that_is_nan_is_told_once():
    log = onnx.parser.parse_model(HEAD + "{ n = Neg(x) scores = Log(n) }")
    verdict = onnxzip.compare(SAME, log, labelled(40), Budget(layers=False))
    assert verdict.reasons == ("output 'scores' is NaN, infinite or of another shape where the original is not",)
