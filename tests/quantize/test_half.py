"""float16: the interface stays, what does not fit stays float, and every failure has its reason."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxzip.quantize.half as half
from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.model.signature import signature
from onnxzip.quantize.half import to_half
from onnxzip.runtime import Session
from tests.helpers.graphs import model
from tests.quantize.audit import feeds


def normal(*shape: int) -> np.ndarray:
    """The same numbers for the same shape: every call makes the same net."""
    numbers: np.ndarray = (np.random.default_rng(shape).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
    return numbers


FP16 = Config(preset="fp16")


def net(big: float = 1.0) -> ir.Model:
    return model(
        "agraph (float[N,64] x) => (float[N,64] y) { [one] a = MatMul(x, w) b = Mul(a, s) [two] y = MatMul(b, v) }",
        w=normal(64, 64),
        v=normal(64, 64),
        s=np.array([big], np.float32),
    )


def converted(before: ir.Model, config: Config = FP16) -> ir.Model:
    choice = to_half(before, config)
    assert choice.model is not None, choice.summary
    onnx.checker.check_model(to_proto(choice.model), full_check=True)
    return choice.model


def sqnr(before: ir.Model, after: ir.Model) -> float:
    batch = feeds(before)[0]
    a, b = (Session(m, threads=1).run(batch)["y"] for m in (before, after))
    return float(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))


def test_weights_take_half_and_the_interface_stays() -> None:
    after = converted(net())
    assert signature(after) == signature(net())
    assert model_bytes(after) < 0.6 * model_bytes(net())
    assert sqnr(net(), after) > 45
    assert not any(n.name and n.name.startswith("onnxzip") for n in after.graph)
    assert {"one", "two"} <= {n.name for n in after.graph}


def test_constants_that_do_not_fit_stay_float() -> None:
    choice = to_half(net(3e38), FP16)
    assert choice.model is not None
    assert any("(3e+38) does not fit into float16" in n for n in choice.notes)
    tiny = to_half(net(1e-6), FP16)
    assert tiny.model is not None
    assert any("(1e-06) does not fit" in n for n in tiny.notes)
    assert to_half(net(), FP16).notes == ()


def test_keep_float_is_heard() -> None:
    after = converted(net(), Config(preset="fp16", keep_float=("two",)))
    kinds = {name: after.graph.initializers[name].dtype for name in "wv"}
    assert kinds == {"w": ir.DataType.FLOAT16, "v": ir.DataType.FLOAT}


def test_bodies_are_converted_too() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]> agraph (bool c, float[N,64] x) => (float[N,64] y) {
        y = If (c) <then_branch = t () => (float[N,64] p) { p = MatMul(x, w) },
                    else_branch = e () => (float[N,64] q) { q = Relu(x) }>
    }"""
    before = model(text, w=normal(64, 64))
    after = converted(before)
    for c in (True, False):
        batch = {"c": np.array(c), "x": normal(4, 64)}
        a, b = (Session(m).run(batch)["y"] for m in (before, after))
        np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02)


def test_resize_and_unnamed_nodes_load() -> None:
    before = model(
        'agraph (float[1,8,8,8] x) => (float[1,8,12,12] y) { r = Resize<mode="linear">(x, , s) y = Conv(r, w) }',
        w=normal(8, 8, 5, 5),
        s=np.array([1, 1, 2, 2], np.float32),
    )
    assert sqnr(before, converted(before)) > 40


def test_models_in_half_precision_already_are_left_alone() -> None:
    choice = to_half(converted(net()), FP16)
    assert choice.model is None
    assert "in half precision already" in choice.summary


def test_models_without_float_are_left_alone() -> None:
    choice = to_half(model("agraph (int64[N] x) => (int64[N] y) { y = Add(x, x) }"), FP16)
    assert choice.summary == "not converted: the model holds no float32"


def test_a_node_that_keeps_it_from_loading_stays_float(monkeypatch: pytest.MonkeyPatch) -> None:
    class Picky(Session):
        def __init__(self, candidate: ir.Model) -> None:
            if candidate.graph.initializers["w"].dtype == ir.DataType.FLOAT16:
                raise ModelError("Type Error: input parameter (w) of operator (MatMul) in node (one) is invalid.")
            super().__init__(candidate)

    monkeypatch.setattr(half, "Session", Picky)
    choice = to_half(net(), FP16)
    assert choice.model is not None
    assert choice.notes == ("MatMul 'one' stays float: onnxruntime does not load it in float16",)


def test_a_failure_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModelError("the converter fails: AssertionError")

    monkeypatch.setattr(half, "to_float16", fail)
    choice = to_half(net(), FP16)
    assert choice.model is None
    assert choice.summary == "not converted: the converter fails: AssertionError"


def test_a_plan_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="replays no plan"):
        to_half(net(), Config(preset="fp16", plan=str(tmp_path / "p.json")))


def test_two_runs_give_the_same_bytes() -> None:
    first, second = (to_proto(converted(net())).SerializeToString() for _ in range(2))
    assert first == second
