"""Where the data of a run comes from: given, held out, or, where it is allowed, made up."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import onnxzip
from onnxzip import Budget, Config, DataError, UsageError, pipeline, samples
from tests.helpers.graphs import model


def dense() -> ir.Model:
    """Two dense layers large enough for int8 to pay in bytes."""
    rng = np.random.default_rng(0)
    return model(
        "agraph (float[N,64] x) => (float[N,16] y) { g = Gemm(x, w, b) r = Relu(g) y = MatMul(r, v) }",
        w=rng.standard_normal((64, 256)).astype(np.float32),
        b=rng.standard_normal(256).astype(np.float32),
        v=rng.standard_normal((256, 16)).astype(np.float32),
    )


def unverified(**settings: object) -> Config:
    return Config(preset="int8", allow_unverified=True, measure_speed=False, **settings)  # type: ignore[arg-type]


def test_int8_without_data_has_to_be_allowed():
    with pytest.raises(onnxzip.UsageError, match="--allow-unverified"):
        onnxzip.optimize(dense(), config=Config(preset="int8"))


def test_int8_on_made_up_data_says_so_and_is_judged_on_other_data(monkeypatch):
    parts: dict[int, list[bytes]] = {}
    real = samples.MadeUp.__iter__

    def watched(self):
        for batch in real(self):
            parts.setdefault(self._seed[1], []).append(batch["x"].tobytes())
            yield batch

    monkeypatch.setattr(samples.MadeUp, "__iter__", watched)
    result = onnxzip.optimize(dense(), config=unverified())
    assert result.report.record.stages[-1].kept
    assert any(n.op_type == "QuantizeLinear" for n in result.to_proto().graph.node)
    assert result.verdict.data == "made up"
    assert result.verdict.samples >= 32
    assert any("made up" in w and "give data" in w for w in result.verdict.warnings)
    assert any("calibrated on made-up inputs" in n and "real data" in n for n in result.report.record.notes)
    assert parts[0]
    assert parts[1]
    assert not set(parts[0]) & set(parts[1])


def test_int8_on_made_up_data_gives_the_same_bytes_twice():
    first, again = (onnxzip.optimize(dense(), config=unverified()).to_proto().SerializeToString() for _ in range(2))
    assert first == again


def test_int8_on_made_up_data_must_hold_the_budget():
    result = onnxzip.optimize(dense(), config=unverified(budget=Budget(max_abs_error=1e-6)))
    assert not result.verdict.passed
    assert not any(n.op_type == "QuantizeLinear" for n in result.to_proto().graph.node)
    assert not any("calibrated on made-up inputs" in n for n in result.report.record.notes)


def test_an_output_that_made_up_data_does_not_move_is_doubted():
    net = dense()
    y, untouched = net.graph.outputs[0], ir.node("Neg", [net.graph.inputs[0]])
    untouched.outputs[0].name, untouched.outputs[0].type = "copy", y.type
    untouched.outputs[0].shape = ir.Shape(["N", 64])
    net.graph.append(untouched)
    net.graph.outputs.append(untouched.outputs[0])
    warnings = onnxzip.optimize(net, config=unverified()).verdict.warnings
    assert [w for w in warnings if "'copy' did not change" in w]
    assert not [w for w in warnings if "'y' did not change" in w]


def test_given_data_judges_what_was_calibrated_on_made_up_data():
    rng = np.random.default_rng(3)
    real = [{"x": rng.standard_normal((8, 64)).astype(np.float32)} for _ in range(4)]
    result = onnxzip.optimize(dense(), evaluation=real, config=unverified())
    assert (result.verdict.data, result.verdict.samples) == ("given", 32)
    assert any("calibrated on made-up inputs" in n for n in result.report.record.notes)


def test_given_data_is_never_mixed_with_made_up_data(monkeypatch):
    monkeypatch.setattr(samples.MadeUp, "__init__", lambda *a, **k: pytest.fail("data was made up"))
    rng = np.random.default_rng(3)
    real = [{"x": rng.standard_normal((8, 64)).astype(np.float32)} for _ in range(6)]
    assert onnxzip.optimize(dense(), calibration=real, config=unverified()).verdict.data == "held-out"
    assert onnxzip.optimize(dense(), config=Config(allow_unverified=True)).verdict.data == "made up"


def test_a_model_whose_inputs_cannot_be_made_up_stays_exact_with_the_reason():
    text = """<ir_version: 8, opset_import: ["" : 18]> g (seq(float[N,64]) x) => (float[A,B] y)
        { c = ConcatFromSequence <axis = 0> (x) y = MatMul(c, w) }"""
    result = onnxzip.optimize(model(text, w=np.ones((64, 64), np.float32)), config=unverified())
    quantize = result.report.record.stages[-1]
    assert (quantize.name, quantize.kept) == ("quantize", False)
    assert "no inputs can be made up" in quantize.summary
    assert "input 'x'" in quantize.summary
    assert any("give data" in n for n in result.report.record.notes)
    assert not any(n.op_type == "QuantizeLinear" for n in result.to_proto().graph.node)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "agraph (float[N,64] x) => (float[N,64] y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
            "quantized already",
        ),
        ("agraph (int64[N,64] x) => (int64[N,64] y) { a = Abs(x) y = Neg(a) }", "nothing to quantize"),
    ],
)
def test_models_that_int8_has_nothing_to_do_for_pass_through_with_the_reason(text, reason):
    arrays = {"s": np.float32(0.1), "z": np.uint8(128)} if "Quantize" in text else {}
    result = onnxzip.optimize(model(text, **arrays), config=unverified())
    assert result.verdict.passed
    assert not result.report.record.stages[-1].kept
    assert any(reason in n for n in result.report.record.notes)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": "y"}, DataError, "too few for label 16"),
        ({"labels": "z"}, DataError, "no array 'z'"),
        ({"budget": Budget(class_axis=4)}, UsageError, "no float output has classes along axis 4"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_any_work(options, error, message, monkeypatch):
    monkeypatch.setattr(pipeline, "Ledger", None)  # work would begin here
    data = {"x": np.ones((8, 64), np.float32), "y": np.full(8, 16)}
    with pytest.raises(error, match=message):
        onnxzip.optimize(dense(), data, config=Config(**options))
