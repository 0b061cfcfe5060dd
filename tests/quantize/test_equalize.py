"""Factors from data: taken where channels differ, and where there is enough data to tell."""

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.gather import View
from onnxzip.calibrate.probe import Passes
from onnxzip.config import Config
from onnxzip.model.save import to_proto
from onnxzip.quantize import insert, quantize
from onnxzip.quantize.equalize import candidates, equalize
from onnxzip.quantize.extents import Extents
from onnxzip.quantize.packed import unpack
from onnxzip.quantize.schema import QuantPlan
from tests.helpers.graphs import model
from tests.helpers.numerics import run
from tests.quantize.audit import sqnr

RNG = np.random.default_rng(5)
SPREAD = np.geomspace(1, 100, 8).astype(np.float32)


def net(spread: np.ndarray) -> ir.Model:
    """Channels of r reach as far as `spread` says, and count alike for y."""
    u = RNG.standard_normal((8, 8, 3, 3)).astype(np.float32) * spread[:, None, None, None]
    v = RNG.standard_normal((8, 1, 3, 3)).astype(np.float32) / spread[:, None, None, None]
    return model(
        "agraph (float[N,8,18,18] x) => (float[N,8,14,14] y) { a = Conv(x, u) r = Relu(a) y = Conv<group=8>(r, v) }",
        u=u,
        v=v,
    )


def batches(count: int) -> list[dict[str, np.ndarray]]:
    return [{"x": RNG.standard_normal((4, 8, 18, 18)).astype(np.float32)} for _ in range(count)]


def seen(graph: ir.Model, data: list[dict[str, np.ndarray]]) -> Extents:
    extents = Extents(candidates(graph), View(data, None, 4096, Passes()))
    copy = graph.clone()
    copy.graph.outputs.extend(o for n in copy.graph for o in n.outputs if o.name in extents.wanted)
    for number, batch in enumerate(data):
        extents.see(number, batch, run(copy, batch))
    return extents


def test_channels_become_alike() -> None:
    graph = net(SPREAD)
    found = equalize(graph, seen(graph, batches(8)))
    assert [e.tensor for e in found] == ["a"]
    factors = unpack(found[0].factors, np.float32, (8,), "it")
    assert factors[-1] / factors[0] > 30
    assert factors.max() == 1


def test_little_data_says_nothing() -> None:
    graph = net(SPREAD)
    assert equalize(graph, seen(graph, batches(3))) == ()


def test_channels_that_are_alike_are_left_alone() -> None:
    graph = net(np.ones(8, np.float32))
    for one in equalize(graph, seen(graph, batches(8))):
        assert unpack(one.factors, np.float32, (8,), "it").min() > 0.5


def test_the_plan_carries_the_factors_and_is_replayed_to_the_same_bytes() -> None:
    graph, data = net(SPREAD), batches(8)
    assert quantize(graph, data, Config()).plan.equalized == ()  # type: ignore[union-attr] # a dear lever: the search alone pulls it
    choice = quantize(graph, data, Config(search_time=20, objective="size"))
    assert choice.plan is not None
    assert choice.model is not None
    assert [e.tensor for e in choice.plan.equalized] == ["a"]
    again = insert(graph, QuantPlan.from_json(choice.plan.to_json()))
    assert to_proto(again).SerializeToString() == to_proto(choice.model).SerializeToString()
    assert sqnr(graph, choice.model, batches(1)[0]) > 30


def test_plain_networks_get_plain_plans() -> None:
    choice = quantize(net(np.ones(8, np.float32)), batches(8), Config(search_time=20, objective="size"))
    assert choice.plan is not None
    assert choice.plan.equalized == ()
