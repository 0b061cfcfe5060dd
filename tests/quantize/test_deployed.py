"""Reading back what onnxruntime runs, and saying so when it cannot be had."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxzip.errors import ModelError
from onnxzip.model.walk import all_nodes
from onnxzip.quantize import deployed, insert
from onnxzip.quantize.audit import audit
from onnxzip.quantize.deployed import deploy
from tests.quantize.audit import conv_net, dense, plan_of, quantized
from tests.quantize.broken import reasons

CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, w2, b2)"


def runs(net: ir.Model) -> dict[str, list[str]]:
    """What became of each node, by its first output."""
    found = deploy(net).runs
    return {n.outputs[0].name or "": [r.op_type for r in found.get(n, ())] for n in all_nodes(net)}


def test_every_node_is_followed_through_layouts_and_fusions() -> None:
    found = runs(quantized(conv_net(CHAIN.replace("r = Relu(a)", "p = Relu(a) r = MaxPool<kernel_shape=[2,2]>(p)"))))
    assert found["a"] == ["QLinearConv"]
    assert found["r"] == ["NhwcMaxPool"]
    assert found["p"] == []  # absorbed
    found = runs(quantized(dense("m = MatMul(x, w) y = Add(m, b)")))
    assert found["m"] == ["QGemm"]


def test_blocked_float_layout_is_followed_by_the_name_of_the_output() -> None:
    found = runs(conv_net("a = Conv<pads=[1,1,1,1]>(x, w1) p = MaxPool<kernel_shape=[2,2]>(a) y = Tanh(p)"))
    assert [found[k] for k in "apy"] == [["Conv"], ["MaxPool"], ["Tanh"]]


def test_node_names_of_the_model_do_not_matter_and_are_left_alone() -> None:
    net = dense("m = MatMul(x, w) y = Tanh(m)")
    names = ["onnxzip#1#", "onnxzip#0#"]
    for node, name in zip(net.graph, names, strict=True):
        node.name = name
    assert runs(net) == {"m": ["MatMul"], "y": ["Tanh"]}
    assert [n.name for n in net.graph] == names


def test_model_that_is_too_large_to_be_read_back_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed, "LARGEST", 1000)
    net = conv_net(CHAIN)
    plan = plan_of(net)
    findings = audit(insert(net, plan), plan)
    assert [f.kind for f in findings] == ["unread"]
    assert "above 2 GiB" in findings[0].reason
    assert not findings[0].at_fault


def test_optimized_graph_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = deployed.Session

    def session(model: ir.Model, **options: object) -> object:
        if "optimized_to" in options:
            raise ModelError("no space left on device")
        return real(model, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(deployed, "Session", session)
    net = conv_net(CHAIN)
    plan = plan_of(net)
    assert "no space left" in reasons(audit(insert(net, plan), plan))


def test_model_that_does_not_load_is_an_error() -> None:
    net = conv_net(CHAIN)
    plan = plan_of(net)
    quantized = insert(net, plan)
    next(n for n in quantized.graph if n.op_type == "Relu").op_type = "Nonsense"
    with pytest.raises(ModelError, match="does not load"):
        audit(quantized, plan)
