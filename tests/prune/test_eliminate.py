import dataclasses
from contextlib import nullcontext

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.prune import Elimination, Width, eliminate
from tests.prune.nets import Net, check, width


def residual_cnn(*, folded: bool, beta: float) -> ir.Model:
    """Stem and two blocks of 16 channels, pool, classifier. Dead: in the stream 2 and 9 everywhere, 4 in the stem only; inside of the
    blocks 3 and 5 channels. `beta` is what a dead channel gives before its activation."""

    def layer(value: str, dead: tuple[int, ...], wide: int = 16, bias: float = beta) -> str:
        if folded:
            return net.conv(value, 16, wide, pad=1, constant=dict.fromkeys(dead, bias))
        return net.norm(net.conv(value, 16, wide, pad=1, bias=False), 16, zero=dict.fromkeys(dead, bias))

    net = Net("N", 3, 8, 8)
    stream = net.op("Relu", layer("x", (2, 9, 4), wide=3))
    for dead in ((0, 1, 15), (3, 4, 5, 6, 7)):
        inner = net.op("Relu", layer(stream, dead))
        stream = net.op("Relu", net.op("Add", stream, layer(inner, (2, 9), bias=min(beta, 0.0))))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", stream))
    return net.model(net.gemm(pooled, 10, 16), ranks=(2,))


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "with batch normalization"])
@pytest.mark.parametrize(("beta", "removed"), [(0.0, 2 * 3 + 3 + 5), (-0.75, 2 * 3 + 3 + 5), (0.5, 1 * 3 + 2 + 4)])
def test_residual_network(folded, beta, removed):
    """Positive constants go but for one in each place: every consumer pads with zeros."""
    _, record = check(residual_cnn(folded=folded, beta=beta), removed)
    assert bool(record.notes) == (beta > 0)


@pytest.mark.parametrize(("multiple", "removed"), [(2, 2 * 3 + 2 + 4), (4, 4), (8, 0), (16, 0)])
def test_residual_network_in_round_widths(multiple, removed):
    check(residual_cnn(folded=True, beta=0.0), removed, multiple=multiple)


def test_a_network_without_dead_channels_comes_back_equal():
    net = Net("N", 3, 8, 8)
    model = net.model(net.gemm(net.op("Flatten", net.op("GlobalMaxPool", net.conv("x", 8, 3))), 4, 8), ranks=(2,))
    result, record = check(model, 0)
    assert result is not model
    assert (record.widths, record.notes) == ((), ())


def test_the_record_says_what_went_and_why_the_rest_stayed():
    net = Net("N", 3, 8, 8)
    h = net.op("Relu", net.conv("x", 8, 3, constant={0: 1.0, 1: 2.0, 2: 0.0}))
    _, record = check(net.model(net.conv(h, 4, 8, pad=1)), 2)
    stuck = "1: constant, but a layer that reads it can neither fold nor merge it"
    assert record.widths == (Width(name="Conv 'conv0'", before=8, after=6, stayed=("5: in use", stuck)),)
    assert record.frozen == ("graph output 'conv2_out' keeps its shape: 4 channels kept",)
    assert dataclasses.asdict(record)["widths"][0]["after"] == 6


def test_rounds_add_up_in_the_record():
    """Merging frees what only fed the merged channel, in a second round."""
    net = Net("N", 3, 8, 8)
    h = net.conv(net.conv("x", 4, 3), 4, 4, unread=(0,))
    net.weights["w2"][1, 0] = 1.0
    net.weights["w2"][2, 1:] = 0
    h = net.norm(h, 4, zero={1: 0.5, 2: -1.0})
    result, record = check(net.model(net.conv(h, 2, 4, pad=1)), 2)
    assert [(w.before, w.after) for w in record.widths] == [(4, 3), (4, 3)]
    assert width(result, "conv0") == 3


def test_observer_is_told():
    class Steps:
        def __init__(self) -> None:
            self.names: list[str] = []

        def step(self, name: str, total: int | None = None):
            self.names.append(name)
            return nullcontext(lambda: self.names.append("round"))

    net, steps = Net("N", 3, 8, 8), Steps()
    eliminate(net.model(net.conv(net.conv("x", 4, 3, zero=(1,)), 2, 4)), observer=steps)
    assert steps.names == ["remove channels", "round"]


def test_an_empty_record_removed_nothing():
    assert Elimination().removed == 0


def test_weights_that_are_nearly_zero_stay():
    net = Net("N", 3, 8, 8)
    h = net.conv("x", 4, 3)
    net.weights["w0"][1] = np.float32(1e-30)
    check(net.model(net.conv(h, 2, 4)), 0)
