"""Scales for tokens in standard operators, put in by insertion (roles token and stored)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.errors import UsageError
from onnxzip.model.save import to_proto
from onnxzip.model.signature import signature
from onnxzip.quantize import QuantPlan, insert
from onnxzip.quantize.packed import pack
from onnxzip.runtime import Session
from tests.helpers.graphs import initializer, model, op_types
from tests.helpers.numerics import run
from tests.quantize.audit import deployed, feeds, normal, plan_of, runtime_ops, sqnr, weights_dequantized

FACTORS = np.exp(np.random.default_rng(1).uniform(-1, 1, 32)).astype(np.float32)


def net(opset: int = 18, body: str = "m = MatMul(x, w) y = Add(m, b)") -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,7,32] x) => (float[N,7,48] y) {{ {body} }}'
    arrays = {"w": normal(32, 48), "b": normal(48)}
    return model(text, **{k: v for k, v in arrays.items() if f"{k})" in body})


def token_plan(net: ir.Model, factors: np.ndarray | None = None) -> QuantPlan:
    """The plan with every MatMul in role token, and x on the grid of -1 to 1."""
    plan = plan_of(net)
    nodes = tuple(dataclasses.replace(p, role="token") if p.op == "MatMul" else p for p in plan.nodes)
    changes = {"scale": float(np.float32(2 / 255)), "zero_point": 128, "per_token": True}
    smooth = "" if factors is None else pack(factors)
    sites = tuple(dataclasses.replace(s, **changes, smooth=smooth) for s in plan.sites)
    return dataclasses.replace(plan, nodes=nodes, sites=sites)


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("factors", [None, FACTORS], ids=["plain", "smoothed"])
def test_forms_are_right_and_the_runtime_fuses_them(opset: int, factors: np.ndarray | None, tmp_path: Path) -> None:
    before = net(opset)
    after = insert(before, token_plan(before, factors))
    onnx.checker.check_model(to_proto(after), full_check=True)
    assert signature(after) == signature(before)
    assert sqnr(before, after, feeds(before)[0]) > 35
    ops = runtime_ops(after, tmp_path)
    assert (ops["MatMulIntegerToFloat"], ops["MatMul"]) == (1, 0)
    assert not weights_dequantized(after, tmp_path)


def test_axes_are_an_attribute_before_opset_18_and_an_input_from_there_on() -> None:
    for opset, inputs in ((13, 1), (17, 1), (18, 2)):
        after = insert(net(opset), token_plan(net(opset)))
        reduce = next(n for n in after.graph if n.op_type == "ReduceMax")
        assert (len(reduce.inputs), "axes" in reduce.attributes) == (inputs, inputs == 1)


def test_rows_of_zeros_give_the_bias_and_no_nan() -> None:
    before = net()
    after = insert(before, token_plan(before))
    batch = feeds(before)[0]
    batch["x"][2, 3] = 0
    for found in (run(after, batch)["y"], deployed(after).run(batch)["y"]):
        np.testing.assert_array_equal(found[2, 3], initializer(before, "b"))
        assert np.isfinite(found).all()
    quotient = next(n.outputs[0].name or "" for n in after.graph if n.op_type == "Div")
    unit = Session(after, level="none", threads=1, outputs=[quotient]).run(batch)[quotient]
    assert not unit[2, 3].any()  # a NaN here is some code or other, depending on the CPU
    assert np.abs(unit).max() == 1


def test_a_row_does_not_depend_on_what_else_is_in_the_batch_and_large_rows_cost_the_others_nothing() -> None:
    before = net()
    after = insert(before, token_plan(before))
    batch = feeds(before)[0]
    alone = run(after, batch)["y"]
    loud = {"x": batch["x"].copy()}
    loud["x"][0, 0] *= 1000
    found = run(after, loud)["y"]
    np.testing.assert_array_equal(found[0, 1:], alone[0, 1:])
    np.testing.assert_array_equal(found[1:], alone[1:])
    b = initializer(before, "b")
    np.testing.assert_allclose(found[0, 0] - b, 1000 * (alone[0, 0] - b), rtol=1e-3, atol=0.05)


def test_smoothed_weights_are_multiplied_and_the_activation_divided() -> None:
    before = net()
    after = insert(before, token_plan(before, FACTORS))
    codes, scales = (
        next(n for n in after.graph if n.op_type == "DequantizeLinear" and n.inputs[0].const_value is not None).inputs
    )[:2]  # type: ignore[union-attr]
    stored = codes.const_value.numpy() * scales.const_value.numpy()  # type: ignore[union-attr]
    wanted = initializer(before, "w") * FACTORS[:, None]
    assert (np.abs(stored - wanted) <= 0.51 * scales.const_value.numpy()).all()  # type: ignore[union-attr]
    assert op_types(after)[:2] == ["Mul", "Abs"]


def test_two_readers_share_one_activation_and_each_is_scaled_back() -> None:
    text = "g (float[N,7,32] x) => (float[N,7,48] y, float[N,7,48] z) { y = MatMul(x, w) z = MatMul(x, v) }"
    before = model(text, w=normal(32, 48), v=normal(32, 48))
    after = insert(before, token_plan(before, FACTORS))
    kinds = op_types(after)
    assert (kinds.count("QuantizeLinear"), kinds.count("Abs"), kinds.count("Mul")) == (1, 1, 3)
    assert signature(after) == signature(before)
    assert sqnr(before, after, feeds(before)[0]) > 35


def test_factors_of_another_width_are_refused() -> None:
    with pytest.raises(UsageError, match="the smoothing of tensor 'x' of the plan does not have the shape"):
        insert(net(), token_plan(net(), FACTORS[:31]))


def test_a_stored_node_computes_in_float_with_integer_weights() -> None:
    before = net()
    plan = plan_of(before)
    nodes = tuple(dataclasses.replace(p, role="stored") for p in plan.nodes if p.op == "MatMul")
    after = insert(before, dataclasses.replace(plan, nodes=nodes, sites=()))
    assert op_types(after) == ["DequantizeLinear", "MatMul", "Add"]
    assert "w" not in after.graph.initializers
    assert sqnr(before, after, feeds(before)[0]) > 35


def test_a_stored_node_does_not_read_the_quantized_activation_that_is_there_for_others() -> None:
    text = "g (float[N,7,32] x) => (float[N,7,48] y, float[N,7,48] z) { y = MatMul(x, w) z = MatMul(x, v) }"
    before = model(text, w=normal(32, 48), v=normal(32, 48))
    plan = plan_of(before)
    nodes = tuple(dataclasses.replace(p, role="stored") if p.output == "z" else p for p in plan.nodes)
    after = insert(before, dataclasses.replace(plan, nodes=nodes))
    readers = {n.outputs[0].name: n.inputs[0].name for n in after.graph if n.op_type == "MatMul"}  # type: ignore[union-attr]
    assert readers["z"] == "x"
    assert readers["y"] != "x"
