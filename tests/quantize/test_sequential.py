"""Biases that make up for the layers before: exact in the mean, and kept only where that pays."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.save import to_proto
from onnxzip.quantize import QuantPlan, insert
from onnxzip.quantize.outcome import sample_errors
from onnxzip.quantize.sequential import BATCHES, better, channel_means, corrected, shrunk, with_sequential
from onnxzip.runtime import Session
from tests.helpers.graphs import model
from tests.quantize.audit import conv_net, dense, normal
from tests.quantize.fitted import Feed, correlated, evidence, images, plans

CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w1, b2) r = Relu(a) b = Conv(r, w2, b2) s = Relu(b) y = Conv(s, w2)"
TARGET = "cpu-avx2"
"""Its plans do not depend on this CPU."""


def clipped(net: ir.Model, data: list[Feed], tensor: str, share: float = 0.4) -> QuantPlan:
    """A plan with analytic corrections, in which one range is far too small: what is behind it is off in the mean."""
    _, plan, _ = plans(net, data, TARGET)
    sites = tuple(dataclasses.replace(s, scale=s.scale * share) if s.tensor == tensor else s for s in plan.sites)
    assert sites != plan.sites
    return dataclasses.replace(plan, sites=sites)


def off(net: ir.Model, plan: QuantPlan, data: list[Feed], axis: int = 1) -> float:
    """The largest mean error of a channel of the outputs, relative to the largest mean deviation."""
    before, after = Session(net, level="none"), Session(insert(net, plan), level="none")
    y, z = (np.concatenate([channel_means(s.run(f)["y"], axis, f, None) for f in data]) for s in (before, after))
    return float(np.abs((y - z).mean(axis=0)).max() / y.std())


@pytest.fixture
def chain() -> tuple[ir.Model, list[Feed], QuantPlan]:
    net, data = conv_net(CHAIN), images(16)
    return net, data, clipped(net, data, "r")


def test_the_means_of_all_channels_are_those_of_the_float_model(
    chain: tuple[ir.Model, list[Feed], QuantPlan],
) -> None:
    net, data, plan = chain
    assert off(net, plan, data) > 0.2
    assert off(net, corrected(net, plan, data), data) < 0.02


def test_the_last_layers_are_not_corrected_twice(chain: tuple[ir.Model, list[Feed], QuantPlan]) -> None:
    """A second walk finds next to nothing to do; correcting all layers at once would have gone too far."""
    net, data, plan = chain
    once = corrected(net, plan, data)
    assert once != plan
    assert off(net, corrected(net, once, data), data) < 0.02


def test_it_is_written_into_the_plan_and_gives_the_same_bytes_again(
    chain: tuple[ir.Model, list[Feed], QuantPlan],
) -> None:
    net, data, plan = chain
    found, again = (corrected(net, plan, data) for _ in range(2))
    assert found == again
    read = QuantPlan.from_json(found.to_json())
    assert to_proto(insert(net, read)).SerializeToString(deterministic=True) == to_proto(
        insert(net, found)
    ).SerializeToString(deterministic=True)
    assert dataclasses.replace(found, nodes=plan.nodes) == plan  # nothing but biases
    changed = {n.output for n, m in zip(found.nodes, plan.nodes, strict=True) if n != m}
    assert {"b", "y"} <= changed


@pytest.mark.parametrize("target", [TARGET, "openvino"])
def test_gemms_and_adds_behind_matmuls_hold_biases_too(target: str) -> None:
    net = model(
        "g (float[N,7,32] x) => (float[N,7,48] y) { m = MatMul(x, w) a = Add(m, b) e = Relu(a) n = MatMul(e, v) y = Add(n, c) }",
        w=normal(32, 48),
        b=normal(48),
        v=normal(48, 48),
        c=normal(48),
    )
    data = correlated(32, 16, 7)
    _, plan, _ = plans(net, data, target)
    low = dataclasses.replace(plan, nodes=tuple(dataclasses.replace(n, bias="") for n in plan.nodes))
    found = corrected(net, low, data)
    held = {n.output for n in found.nodes if n.bias}
    assert held <= {n.output for n in plan.nodes if n.role in ("row_bias", "int32_bias")}
    assert bool(held) == (target == TARGET)
    assert off(net, found, data, -1) <= off(net, low, data, -1)


def test_what_holds_no_bias_is_left_alone() -> None:
    net, data = dense("y = MatMul(x, w)"), correlated(32, 50)
    _, plan, _ = plans(net, data, TARGET)
    assert corrected(net, plan, data) == plan


def test_one_sample_corrects_nothing(chain: tuple[ir.Model, list[Feed], QuantPlan]) -> None:
    net, data, plan = chain
    assert corrected(net, plan, [{"x": data[0]["x"][:1]}]) == plan


def test_noise_is_no_shift() -> None:
    noise = np.random.default_rng(0).standard_normal((50, 1000))
    assert np.abs(shrunk(noise)).sum() < 0.4 * np.abs(noise.mean(axis=0)).sum()
    np.testing.assert_allclose(shrunk(noise + 10), (noise + 10).mean(axis=0), rtol=1e-3)


def test_padded_tokens_do_not_count() -> None:
    array = np.ones((2, 4, 3), np.float32)
    array[1, 2:] = 100
    feed = {"mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0]])}
    assert (channel_means(array, -1, feed, "mask") == 1).all()
    assert channel_means(array, -1, feed, None)[1, 0] > 50
    np.testing.assert_allclose(channel_means(array, 1, feed, None)[0], np.ones(4))


def test_it_is_kept_where_samples_that_it_did_not_see_gain(chain: tuple[ir.Model, list[Feed], QuantPlan]) -> None:
    net, _, plan = chain
    data = images(16, count=2 * BATCHES + 2)
    seen = evidence(net, data, TARGET).answers
    found, (said,) = with_sequential(net, plan, seen, data, level="none")
    before, after = (sample_errors(insert(net, p), seen, data, "none") for p in (plan, found))
    assert better(before, after)
    assert said.startswith("biases were corrected in sequence: the output error of samples that were not looked at is ")


def test_it_is_taken_back_where_they_do_not(chain: tuple[ir.Model, list[Feed], QuantPlan]) -> None:
    """Every second batch is like no other: what makes up for its clipping is wrong for the others."""
    net, _, plan = chain
    data = images(16, count=6)
    for batch in data[::2]:
        batch["x"] *= 0.1
    seen = evidence(net, data, TARGET).answers
    assert with_sequential(net, plan, seen, data, level="none") == (plan, ())


def test_one_batch_cannot_do_both(chain: tuple[ir.Model, list[Feed], QuantPlan]) -> None:
    net, data, plan = chain
    seen = evidence(net, data[:1], TARGET).answers
    assert with_sequential(net, plan, seen, data[:1], level="none") == (plan, ())


def test_what_does_not_run_is_not_better() -> None:
    fine = np.ones(10)
    assert better(fine, fine / 2)
    assert not better(fine, fine)
    assert not better(fine, np.full(10, np.inf))
    assert not better(fine, np.full(1, np.inf))
