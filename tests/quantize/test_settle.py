"""Planning again until onnxruntime runs everything as planned."""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

from onnxzip.quantize import QuantPlan, insert
from onnxzip.quantize.selectors import name_of
from onnxzip.quantize.settle import ROUNDS, Settled, settle
from tests.quantize.audit import conv_net, feeds, normal, plan_of, sqnr
from tests.quantize.broken import with_site

BODY = "a = Conv(x, w1, b1) r = Relu(a) c = Conv(r, w2, b2) t = Tanh(c) y = Conv(t, w3)"


class Maker:
    """Plans as they are made, but for zero points that no Relu can be absorbed with; remembers what it was asked."""

    def __init__(self, net: ir.Model, wrong: Mapping[str, int]) -> None:
        self.net, self.wrong = net, wrong
        self.asked: list[list[str]] = []

    def __call__(self, keep: Mapping[ir.Node, str]) -> tuple[QuantPlan, ir.Model]:
        self.asked.append([name_of(n) for n in keep])
        plan = plan_of(self.net, keep=tuple(re.escape(name_of(n)) for n in keep))
        for tensor, zero in self.wrong.items():
            if any(s.tensor == tensor and s.readers == "all" for s in plan.sites):
                plan = with_site(plan, tensor, zero_point=zero)
        return plan, insert(self.net, plan)


def settled(net: ir.Model, keep: Mapping[ir.Node, str] | None = None, **wrong: int) -> tuple[Settled, Maker]:
    make = Maker(net, wrong)
    return settle(make, net, keep or {}), make


def net_of(body: str = BODY) -> ir.Model:
    return conv_net(body, w3=normal(16, 16, 3, 3))


def test_one_round_when_all_is_well() -> None:
    result, make = settled(net_of())
    assert make.asked == [[]]
    assert result.kept == {}
    assert result.findings == ()


def test_node_that_would_run_in_float_is_kept_float_with_the_reason() -> None:
    net = net_of()
    result, make = settled(net, r=3)
    assert make.asked == [[], ["a"]]
    assert {name_of(n): r.split(":")[0] for n, r in result.kept.items()} == {"a": "onnxruntime would run it in float"}
    assert all(n.graph is net.graph for n in result.kept)
    assert {n.output for n in result.plan.nodes} == {"c", "y"}
    assert not any(f.at_fault for f in result.findings)
    assert sqnr(net, result.model, feeds(net)[0]) > 25


def test_what_the_caller_keeps_is_passed_on_and_not_told() -> None:
    net = net_of()
    first = next(n for n in net.graph if n.op_type == "Conv")
    result, make = settled(net, {first: "kept"}, r=3)
    assert make.asked == [["a"]]
    assert result.kept == {}


def test_rounds_are_bounded_and_what_is_left_is_told() -> None:
    """Each round breaks another Conv, as a plan might whose nodes depend on each other."""
    depth = ROUNDS + 2
    layers = (f"a{i} = Conv<pads=[1,1,1,1]>({f'r{i - 1}' if i else 'x'}, k{i}) r{i} = Relu(a{i})" for i in range(depth))
    weights = {f"k{i}": normal(16, 16, 3, 3) for i in range(depth)}
    net = conv_net(f"{' '.join(layers)} y = Conv(r{depth - 1}, w2)", **weights)

    class Late(Maker):
        def __call__(self, keep: Mapping[ir.Node, str]) -> tuple[QuantPlan, ir.Model]:
            self.wrong = {f"r{len(keep)}": 3}
            return super().__call__(keep)

    make = Late(net, {})
    result = settle(make, net, {})
    assert [len(asked) for asked in make.asked] == list(range(ROUNDS))
    assert [f.node for f in result.findings if f.at_fault] == [f"a{ROUNDS - 1}"]
    assert [name_of(n) for n in result.kept] == [f"a{i}" for i in range(ROUNDS - 1)]


def test_notes_alone_change_nothing() -> None:
    result, make = settled(net_of("a = Conv(x, w1) r = AveragePool<kernel_shape=[2,2]>(a) y = Conv(r, w2)"))
    assert len(make.asked) == 1
    assert [f.kind for f in result.findings] == ["unplanned"]


def test_ends_when_keeping_does_not_help() -> None:
    """A maker that keeps planning what it was told to keep: no round would change that."""
    net = net_of()
    plan = with_site(plan_of(net), "r", zero_point=3)
    calls = []

    def make(keep: Mapping[ir.Node, str]) -> tuple[QuantPlan, ir.Model]:
        calls.append(keep)
        return plan, insert(net, plan)

    result = settle(make, net, {})
    assert len(calls) == 2
    assert any(f.at_fault for f in result.findings)
