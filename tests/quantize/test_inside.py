"""What of bodies and functions cannot be quantized: named, and counted as a share of the weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.quantize import insert, make_weights_plan, quantizable
from onnxzip.quantize.inside import closed, left_inside
from onnxzip.quantize.targets import target_row
from tests.helpers.graphs import model
from tests.quantize.audit import normal, plan_of

IF = """agraph (bool c, float[N,64] x) => (float[N,64] y) {
    z = MatMul (x, w)
    y = If (c) <
        then_branch = then () => (float[N,64] a) { h = MatMul (z, v) a = Neg (h) },
        else_branch = else () => (float[N,64] b) { k = Abs (z) b = Neg (k) }>
}"""

FUNCTION = """<ir_version: 10, opset_import: ["" : 18, "own" : 1]>
    agraph (float[N,64] x) => (float[N,64] y) {
        z = MatMul (x, w)
        y = own.layer (z, v)
    }
    <domain: "own", opset_import: ["" : 18]>
    layer (a, f) => (o) { m = MatMul (a, f) o = Tanh (m) }
"""


def net(text: str = IF) -> ir.Model:
    return model(text, w=normal(64, 64), v=normal(64, 64))


def batch(**more: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32), **more}


def test_nothing_is_shut_in_an_ordinary_model() -> None:
    assert closed(net(), target_row("cpu"), data=True) == {}
    whole = net()
    assert left_inside(whole, set(whole.graph.all_nodes())) == ()
    assert quantizable(net())[0] == ("MatMul 'z'", "MatMul 'h'")


def test_bodies_of_one_name_stay_float_with_the_reason() -> None:
    doubled = net(IF.replace("k", "h"))
    for plan in (plan_of(doubled, [batch(c=np.array(True))]), make_weights_plan(doubled)):
        assert [(n.output, n.reason) for n in plan.left] == [
            ("h", "the name 'h' inside If 'y' is that of another value too")
        ]
        assert plan.notes == ("50% of the weights stay float inside If, Loop and Scan bodies: 1 MatMul",)
        assert [n.output for n in plan.nodes] == ["z"]
        insert(doubled, plan)


def test_values_that_cannot_be_carried_out_shut_a_body_for_activations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: ir.Model, version: int) -> ir.Model:
        raise ModelError(f"opset 13 cannot be raised to {version}")

    monkeypatch.setattr("onnxzip.calibrate.surface.raise_opset", refuse)
    old = net(f'<ir_version: 7, opset_import: ["" : 13]> {IF}')
    plan = plan_of(old, [batch(c=np.array(True))])
    assert [n.reason for n in plan.left] == ["opset 13 cannot be raised to 14"]
    assert make_weights_plan(old).left == ()


@pytest.mark.parametrize("target", ["tensorrt", "openvino"])
def test_other_targets_leave_bodies_alone(target: str) -> None:
    plan = plan_of(net(), [batch(c=np.array(True))], target=target)
    reason = f"it lies in a body, where target {target} is not known to run integers"
    assert [n.reason for n in plan.left if n.output == "h"] == [reason]
    assert "50% of the weights stay float inside If, Loop and Scan bodies: 1 MatMul" in plan.notes
    assert "h" not in {n.output for n in plan.nodes}


def test_functions_are_counted() -> None:
    proto = onnx.parser.parse_model(FUNCTION)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(normal(64, 64), n) for n in "wv")
    loaded = load(proto).model
    plan = plan_of(loaded, [batch()])
    assert [n.output for n in plan.nodes] == ["z"]
    assert plan.notes == ("50% of the weights stay float inside functions: 1 MatMul",)
