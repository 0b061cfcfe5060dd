"""The public API: what the README promises to Python callers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxzip
from onnxzip import Budget, Config
from onnxzip.model.load import load
from tests.helpers.numerics import assert_equivalent

MODELS = Path(__file__).parents[1] / "models"
DENSE, SPARSE = MODELS / "digits_resnet.onnx", MODELS / "digits_resnet_sparse.onnx"


def batches():
    images = np.load(MODELS / "digits_calibration.npz")["image"]
    return [{"image": images[i : i + 32]} for i in range(0, 128, 32)]


def test_every_name_of_the_api_is_there():
    assert set(onnxzip.__all__) <= set(dir(onnxzip))
    for name in onnxzip.__all__:
        assert getattr(onnxzip, name) is not None
    with pytest.raises(AttributeError):
        _ = onnxzip.no_such_name


def test_exact_is_the_default_without_data():
    result = onnxzip.optimize(str(DENSE))
    assert result.verdict.passed
    assert result.verdict.metrics["sqnr_db"] >= 90
    assert not any(n.op_type == "BatchNormalization" for n in result.to_proto().graph.node)
    assert_equivalent(load(DENSE).model, result.model, rtol=1e-5)


@pytest.mark.parametrize("kind", ["path", "proto", "ir"])
def test_every_kind_of_model_gives_the_same_result(kind):
    source = {"path": DENSE, "proto": onnx.load(str(DENSE)), "ir": ir.load(DENSE)}[kind]
    result = onnxzip.optimize(source)
    assert isinstance(result.model, ir.Model)
    assert len(result.to_proto().graph.node) == len(onnxzip.optimize(DENSE).to_proto().graph.node)


def test_int8_is_the_default_with_data_and_the_result_runs():
    result = onnxzip.optimize(DENSE, calibration=batches())
    assert result.verdict.passed
    assert result.verdict.data == "held-out"
    assert result.verdict.samples == 32  # one of four batches
    kinds = {n.op_type for n in result.to_proto().graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert result.report.record.after.bytes < 0.35 * result.report.record.before.bytes


def test_batches_may_be_tuples_or_single_arrays():
    for data in ([(b["image"],) for b in batches()], [b["image"] for b in batches()]):
        assert onnxzip.optimize(DENSE, calibration=data).verdict.passed


def test_a_generator_is_refused_with_what_to_pass_instead():
    with pytest.raises(onnxzip.DataError, match="list"):
        onnxzip.optimize(DENSE, calibration=(b for b in batches()))


@pytest.mark.parametrize("read", [onnx.load, ir.load])
def test_a_model_in_memory_has_the_same_digest_every_time(read):
    digests = {onnxzip.optimize(read(str(DENSE))).report.record.source_digest for _ in range(2)}
    assert len(digests) == 1


def test_names_are_escaped_in_notebooks():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) z = Sqrt(y) }'
    proto = onnx.parser.parse_model(text)
    proto.graph.output[0].name = proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "<script>"
    shown = onnxzip.optimize(proto)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown


def test_odd_data_is_named_whatever_was_asked_for():
    raw = [{"image": np.round(b["image"] * 16).astype(np.float32) * 15} for b in batches()]
    for preset in ("exact", "int8"):
        result = onnxzip.optimize(
            DENSE, calibration=raw, config=Config(preset=preset, budget=Budget(min_agreement=None))
        )
        assert any("0..255" in n or "0 to 255" in n or "normal" in n for n in result.report.record.notes), (
            result.report.record.notes
        )
    assert any("normal" in w for w in onnxzip.compare(DENSE, DENSE, raw).warnings)


def test_two_runs_give_the_same_bytes():
    results = [
        onnxzip.optimize(SPARSE, calibration=batches(), config=Config(measure_speed=False)).to_proto() for _ in range(2)
    ]
    assert results[0].SerializeToString(deterministic=True) == results[1].SerializeToString(deterministic=True)


def test_the_sources_are_untouched():
    proto = onnx.load(str(DENSE))
    before = proto.SerializeToString(deterministic=True)
    onnxzip.optimize(proto, calibration=batches())
    assert proto.SerializeToString(deterministic=True) == before


def test_a_missed_budget_keeps_the_exact_model_and_says_why():
    result = onnxzip.optimize(DENSE, calibration=batches(), config=Config(budget=Budget(max_abs_error=1e-9)))
    assert not result.verdict.passed
    assert "above the limit" in result.verdict.reasons[0]
    assert not any(n.op_type == "QuantizeLinear" for n in result.to_proto().graph.node)
    assert_equivalent(load(DENSE).model, result.model, rtol=1e-5)
    provenance = result.model.metadata_props["onnxzip"]  # speaks of the model that it stands in
    assert '"preset":"exact"' in provenance
    assert result.report.record.result.metrics["sqnr_db"] > 90
    assert result.plan is not None


def test_provenance_is_short_and_holds_no_times():
    proto = onnxzip.optimize(DENSE, calibration=batches()).to_proto()
    (entry,) = [p for p in proto.metadata_props if p.key == "onnxzip"]
    assert len(entry.value) < 256
    assert onnxzip.__version__ in entry.value


def test_the_report_is_json_and_text():
    report = onnxzip.optimize(DENSE).report
    assert '"schema": 1' in report.to_json()
    assert "verdict: PASSED" in report.to_text()


def test_compare_tells_a_good_model_from_a_damaged_one():
    result = onnxzip.optimize(DENSE)
    assert onnxzip.compare(DENSE, result.to_proto(), batches()).passed
    damaged = result.to_proto()
    weight = damaged.graph.initializer[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    assert not onnxzip.compare(DENSE, damaged, batches()).passed


def test_weights8_needs_no_data_and_makes_a_quarter_of_the_file():
    result = onnxzip.optimize(DENSE, config=Config(preset="weights8"))
    assert result.verdict.passed
    assert result.verdict.metrics["size_ratio"] < 0.3
    kinds = [n.op_type for n in result.to_proto().graph.node]
    assert "DequantizeLinear" in kinds
    assert "QuantizeLinear" not in kinds
    assert any("made up" in w for w in result.verdict.warnings)


def test_weights4_rounds_on_data_and_is_judged_on_the_rest():
    result = onnxzip.optimize(DENSE, batches(), config=Config(preset="weights4", measure_speed=False))
    assert result.verdict.passed
    assert result.verdict.data == "held-out"
    assert result.verdict.metrics["size_ratio"] < 0.25
    assert any(t.data_type == onnx.TensorProto.UINT4 for t in result.to_proto().graph.initializer)


def test_fp16_keeps_the_interface_and_is_judged_on_all_data():
    result = onnxzip.optimize(DENSE, batches(), config=Config(preset="fp16", measure_speed=False))
    assert result.verdict.passed
    assert result.verdict.data == "given"
    assert result.verdict.metrics["size_ratio"] < 0.55
    graph = result.to_proto().graph
    kinds = {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert result.plan is None


def test_settings_that_need_int8_are_refused_without_it():
    for config in (Config(keep_float=("Conv",)), Config(plan="plan.json"), Config(preset="int8")):
        with pytest.raises(onnxzip.UsageError):
            onnxzip.optimize(DENSE, config=config)


def test_random_models_pass_in_structure_only():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x) => (float[N,4] y) { r = RandomNormalLike(x) t = Identity(r) y = Add(x, t) }'
    result = onnxzip.optimize(onnx.parser.parse_model(text))
    assert result.verdict.passed
    assert not result.verdict.verified
    assert "random" in result.verdict.warnings[0]


def test_a_model_whose_inputs_cannot_be_made_up_says_not_verified():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (seq(float[N]) x) => (int64 y) { t = SequenceLength(x) y = Identity(t) }'
    result = onnxzip.optimize(onnx.parser.parse_model(text))
    assert not result.verdict.verified
    assert "give data" in result.verdict.warnings[0]


def test_the_verdict_is_given_on_data_that_did_not_tune(monkeypatch):
    """failures.md 22."""
    from onnxzip import samples

    seen: dict[str, list[bytes]] = {"tune": [], "held": []}
    real = samples.split

    def spy(data, share):
        tune, held = real(data, share)
        seen["tune"] = [row.tobytes() for b in tune for row in b["image"]]
        seen["held"] = [row.tobytes() for b in held for row in b["image"]]
        return tune, held

    monkeypatch.setattr(samples, "split", spy)
    result = onnxzip.optimize(DENSE, calibration=batches())
    assert seen["tune"]
    assert seen["held"]
    assert not set(seen["tune"]) & set(seen["held"])
    assert result.verdict.samples == len(seen["held"])


def test_accuracy_and_a_metric_of_ones_own_stand_in_verdict_and_report(tmp_path):
    def right(outputs, labels, arrays):
        return float((outputs["scores"].argmax(1) == labels).mean())

    budget = Budget(metric=right, min_metric=0.99, max_accuracy_drop=0, confidence=0.95)
    config = Config(labels="label", budget=budget, measure_speed=False)
    evaluation = MODELS / "digits_evaluation.npz"
    result = onnxzip.optimize(SPARSE, evaluation=evaluation, config=config, save_worst=tmp_path / "worst")
    assert result.verdict.outcome == "passed"  # exact: the same numbers on any samples
    (accuracy,) = result.verdict.accuracy
    assert accuracy.candidate == result.verdict.metric.candidate == pytest.approx(449 / 450)
    found = json.loads(result.report.to_json())
    assert found["config"]["budget"]["metric"].endswith("right")
    assert found["verdict"]["metrics"]["accuracy_drop"] == 0
    assert "scores: accuracy, 450" in result.report.to_text()
    written = sorted(p.name for p in (tmp_path / "worst").iterdir())
    assert written == sorted(f"sample-{w.index}.npz" for w in result.verdict.worst)


def test_positions_of_the_worst_samples_are_those_of_the_whole_data():
    images = np.load(MODELS / "digits_evaluation.npz")["image"][:60]
    loose = Budget(min_agreement=None, min_sqnr_db=None)
    config = Config(preset="int8", budget=loose, measure_speed=False, objective="size")
    result = onnxzip.optimize(DENSE, {"image": images}, config=config)
    held_out = {w.index for w in result.verdict.worst}
    assert result.verdict.samples == 20
    assert max(held_out) >= 20  # not positions in the held-out part
    assert len(held_out) == 10
