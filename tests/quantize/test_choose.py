from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.config import Config
from onnxzip.errors import DataError, UsageError
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.quantize import quantize, quantize_weights
from tests.helpers.graphs import model
from tests.quantize.audit import feeds, sqnr

W = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)


def net() -> ir.Model:
    return model(
        "agraph (float[N,16,8,8] x) => (float[N,16,4,4] y) { [one] a = Conv(x, w) r = Relu(a) [two] y = Conv(r, v) }",
        w=W,
        v=W + 1,
    )


def test_quantizes_and_says_so() -> None:
    choice = quantize(net(), feeds(net()), Config(keep_float=("two",)))
    assert choice.model is not None
    assert choice.summary == "1 nodes with weights run in int8, 1 stay float"
    assert choice.notes == ("Conv 'two' stays float: kept float as asked (keep_float)",)
    assert sqnr(net(), choice.model, feeds(net())[0]) > 20


def test_plan_is_replayed_to_the_same_bytes(tmp_path: Path) -> None:
    first = quantize(net(), feeds(net()), Config())
    assert first.plan is not None
    path = tmp_path / "plan.json"
    path.write_text(first.plan.to_json(), encoding="utf-8")
    again = quantize(net(), [], Config(plan=str(path)))
    assert first.model is not None
    assert again.model is not None
    assert to_proto(first.model).SerializeToString() == to_proto(again.model).SerializeToString()


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "qnn", "qnn16"])
def test_old_models_are_quantized_for_every_target_and_replayed(target: str, tmp_path: Path) -> None:
    """Softmax of opset 11 becomes other operators when the opset is raised."""
    old = model(
        """<ir_version: 6, opset_import: ["" : 11]> agraph (float[N,16,8,8] x) => (float[N,16,4,4] y)
        { a = Conv(x, w) r = Relu(a) c = Conv(r, w) y = Softmax(c) }""",
        w=W / 12,
    )
    choice = quantize(old, feeds(old), Config(target=target))
    assert choice.model is not None
    assert choice.plan is not None
    assert choice.plan.left == ()
    assert sqnr(old, choice.model, feeds(old)[0]) > 20
    path = tmp_path / "plan.json"
    path.write_text(choice.plan.to_json(), encoding="utf-8")
    again = quantize(old, [], Config(target=target, plan=str(path))).model
    assert again is not None
    assert to_proto(again).SerializeToString() == to_proto(choice.model).SerializeToString()


def test_two_runs_give_the_same_plan() -> None:
    plans = [quantize(net(), feeds(net()), Config()).plan for _ in range(2)]
    assert plans[0] == plans[1]


def test_fast_calibration_leaves_every_second_batch_out() -> None:
    batches = [feeds(net())[0] for _ in range(6)]
    batches[5] = {"x": np.full_like(batches[5]["x"], np.nan)}
    assert quantize(net(), batches, Config(calibrate="fast")).model is not None
    with pytest.raises(DataError, match="batch 5"):
        quantize(net(), batches, Config())
    with pytest.raises(UsageError, match="calibrate 'slow' is not known: choose one of full, fast"):
        Config(calibrate="slow")  # type: ignore[arg-type]


def test_weights_alone_are_stored_in_a_quarter_and_activations_stay_float() -> None:
    choice = quantize_weights(net(), Config())
    assert choice.model is not None
    kinds = [n.op_type for n in choice.model.graph]
    assert kinds.count("DequantizeLinear") == 2
    assert "QuantizeLinear" not in kinds
    assert model_bytes(choice.model) < 0.3 * model_bytes(net())
    assert sqnr(net(), choice.model, feeds(net())[0]) > 35
    assert choice.summary == "the weights of 2 nodes are stored in int8, 0 nodes stay float"


def test_weights_alone_leave_what_they_cannot_store() -> None:
    choice = quantize_weights(net(), Config(keep_float=("one", "two")))
    assert choice.model is None
    assert "2 of 2 nodes" in choice.summary


def test_plan_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the plan cannot be read"):
        quantize(net(), [], Config(plan=str(tmp_path / "none.json")))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UsageError, match=r"bad\.json: the plan is not JSON"):
        quantize(net(), [], Config(plan=str(tmp_path / "bad.json")))


def test_plan_and_keep_float_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="no say when a plan is replayed"):
        quantize(net(), [], Config(plan="p.json", keep_float=("Conv",)))


def test_nothing_to_do_is_a_sentence_and_needs_no_data() -> None:
    choice = quantize(model("agraph (float[N] x) => (float[N] y) { y = Relu(x) }"), [], Config())
    assert choice.model is None
    assert choice.summary.startswith("nothing to quantize: the model has no Conv")


def test_file_never_grows_failure_29() -> None:
    tiny = model(
        "agraph (float[N,2,8,8] x) => (float[N,3,8,8] y) { y = Conv(x, w) }", w=np.ones((3, 2, 1, 1), np.float32)
    )
    choice = quantize(tiny, feeds(tiny), Config())
    assert choice.model is None
    assert choice.summary.startswith(f"not quantized: the file would grow from {model_bytes(tiny)} to ")


def test_opset_that_cannot_be_raised_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    def fail(*_: object) -> None:
        raise RuntimeError("No Adapter")

    old = model(
        '<ir_version: 7, opset_import: ["" : 11]> agraph (float[N,16,8,8] x) => (float[N,16,6,6] y) { y = Conv(x, w) }',
        w=W,
    )
    monkeypatch.setattr(onnx.version_converter, "convert_version", fail)
    choice = quantize(old, feeds(old), Config())
    assert choice.model is None
    assert "opset 11 cannot be raised to 13" in choice.summary


def test_a_plan_for_activations_is_no_plan_for_weights_alone(tmp_path: Path) -> None:
    plan = quantize(net(), feeds(net()), Config()).plan
    assert plan is not None
    (tmp_path / "plan.json").write_text(plan.to_json())
    with pytest.raises(UsageError, match="use preset int8"):
        quantize_weights(net(), Config(plan=str(tmp_path / "plan.json")))
