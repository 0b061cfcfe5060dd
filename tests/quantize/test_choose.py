import os
import subprocess
import sys
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


@pytest.mark.parametrize("target", ["cpu", "cpu-avx2"])
def test_two_runs_give_the_same_bytes(target: str) -> None:
    found = [quantize(net(), feeds(net()), Config(target=target)) for _ in range(2)]
    models = [c.model for c in found if c.model is not None]
    assert to_proto(models[0]).SerializeToString() == to_proto(models[1]).SerializeToString()
    assert found[0].plan is not None
    assert any(w.rounding for w in found[0].plan.weights)


PLAN_IN_A_PROCESS = """
import sys
from onnxzip.config import Config
from onnxzip.quantize import quantize
from tests.quantize.audit import feeds
from tests.quantize.test_choose import net
print(quantize(net(), feeds(net()), Config(target="cpu-avx2")).plan.to_json())
"""


def test_one_thread_and_two_give_the_same_plan() -> None:
    """BLAS reads its number of threads when it is loaded, so each plan is made in a process of its own."""
    processes = []
    for threads in ("1", "2"):
        variables = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        variables["PYTHONPATH"] = os.pathsep.join(sys.path)
        command = [sys.executable, "-c", PLAN_IN_A_PROCESS]
        processes.append(subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True))
    plans = [p.communicate()[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert "rounding" in plans[0]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    "body",
    [
        "m = MatMul(x, w) y = ArgMax<axis=1>(m)",
        "m = MatMul(x, w) y = SequenceConstruct(m)",
        "c = Clip(x, low) m = MatMul(c, e) d = Sub(m, c) a = Add(d, k) y = Sqrt(a)",
    ],
    ids=["whole numbers", "a sequence", "NaN in int8"],
)
def test_outputs_that_cannot_be_compared_do_not_stop_it(body: str) -> None:
    kind = {"ArgMax": "int64[N,1]", "Sequence": "seq(float[N,48])"}
    out = next((t for op, t in kind.items() if op in body), "float[N,32]")
    arrays = {"w": W.reshape(32, 72)[:, :48], "e": np.eye(32), "low": 0, "k": 1e-4}
    used = {n: np.asarray(a, np.float32) for n, a in arrays.items() if f" {n})" in body}
    before = model(f"g (float[N,32] x) => ({out} y) {{ {body} }}", **used)
    assert quantize(before, feeds(before), Config()).plan is not None


def test_batches_without_rows_do_not_stop_it() -> None:
    before = model("g (float[N,S,32] x) => (float[N,S,48] y) { y = MatMul(x, w) }", w=W.reshape(32, 72)[:, :48])
    empty = {"x": np.zeros((1, 0, 32), np.float32)}
    full = feeds(before, S=4)
    found, expected = (quantize(before, d, Config()).model for d in ([empty, *full], full))
    assert found is not None
    assert expected is not None
    assert sqnr(before, found, full[0]) > sqnr(before, expected, full[0]) - 1


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
    assert kinds.count("Cast") == kinds.count("Mul") == 2  # see `at_load`
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds)
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
