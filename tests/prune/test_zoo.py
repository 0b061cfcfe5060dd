"""Networks of the field with a third of everything zeroed: all that can go goes, and the rest computes what it did (failures.md 15)."""

from __future__ import annotations

import onnx
import pytest

from onnxzip.model.load import load
from onnxzip.prune import eliminate
from tests.helpers.numerics import assert_equivalent
from tests.prune.blocks import Network
from tests.prune.zeroing import strip, zero
from tests.prune.zoo import ZOO

CASES = [
    (name, how) for name in ZOO for how in ("weights", "gamma", "balanced") if how != "balanced" or "groups" in name
]


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize(("name", "how"), [c for c in CASES if c[1] != "gamma"])
def test_what_is_zeroed_can_be_cut_out_by_hand(name, how, multiple):
    """The ground that the numbers stand on: without the channels that go, the network is valid, equal, and as wide as it should be."""
    network = ZOO[name]()
    zeroed = zero(network, 0, how)
    stripped = strip(network, zeroed, multiple)
    assert_equivalent(load(zeroed.proto).model, load(stripped).model, rtol=1e-4, sizes=(2,))
    assert set(zeroed.gone[1]) == set(zeroed.dead)
    before, after = rows(network, zeroed.proto), rows(network, stripped)
    assert sum(before) - sum(after) == zeroed.removable[multiple]
    assert all(b % multiple or not a % multiple for b, a in zip(before, after, strict=True))


def rows(network: Network, proto: onnx.ModelProto) -> list[int]:
    """How many channels each layer makes."""
    shapes = {t.name: t.dims for t in proto.graph.initializer}
    return [shapes[layer.weight][layer.axis] for layer in network.layers if layer.reads is not None]


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize(("name", "how"), CASES)
def test_all_that_can_go_goes(name, how, multiple):
    zeroed = zero(ZOO[name](), 0, how)
    model = load(zeroed.proto).model
    result, record = eliminate(model, multiple=multiple)
    assert record.removed == zeroed.removable[multiple], record
    assert_equivalent(model, result, rtol=1e-4, sizes=(2,))
