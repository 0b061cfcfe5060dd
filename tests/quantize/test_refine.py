"""Rounding and biases that are fitted on data: what they promise, on the data that they are fitted on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.constants import array
from onnxzip.quantize import insert
from onnxzip.quantize.packed import pack, unpack
from onnxzip.quantize.refine import look_at, refine
from onnxzip.quantize.targets import target_row
from tests.helpers.graphs import initializer, model
from tests.helpers.numerics import run
from tests.quantize.audit import conv_net, dense, normal, sqnr
from tests.quantize.fitted import Feed, correlated, images, plans, weight_and_bias

PAD = "pads=[1,1,1,1]"
CONV = {
    "conv": ("y = Conv<pads=[1,1,1,1]>(x, wa, b1)", (16, 16, 3, 3)),
    "strided": ("y = Conv<strides=[2,2], dilations=[2,2]>(x, wa, b1)", (16, 16, 2, 2)),
    "grouped": ("y = Conv<group=4>(x, wa, b1)", (16, 4, 3, 3)),
    "depthwise": ("y = Conv<group=16>(x, wa, b1)", (16, 1, 3, 3)),
}


def layer_errors(build: Callable[..., ir.Model], net: ir.Model, found: tuple, data: list[Feed]) -> np.ndarray:
    """Errors [rows, channels] of a layer's output, weights and bias being what a plan makes of them, activations exact."""
    weight, bias = found
    other = build(weight, bias)
    off = [run(other, f)["y"].astype(np.float64) - run(net, f)["y"] for f in data]
    return np.concatenate(
        [np.moveaxis(o, 1, -1).reshape(-1, o.shape[1]) if o.ndim == 4 else o.reshape(-1, o.shape[-1]) for o in off]
    )


@pytest.mark.parametrize("target", ["cpu", "cpu-avx2"])
@pytest.mark.parametrize("name", CONV)
def test_conv_errors_have_no_mean_and_are_smaller(name: str, target: str) -> None:
    body, shape = CONV[name]
    data, bias = images(16), normal(16)

    def build(weight: np.ndarray, row: np.ndarray | None) -> ir.Model:
        return conv_net(body, wa=weight.astype(np.float32), b1=np.zeros(16, np.float32) if row is None else row)

    net = build(normal(*shape), bias)
    plain, fitted, _ = plans(net, data, target)
    before, after = (layer_errors(build, net, weight_and_bias(net, p, "y"), data) for p in (plain, fitted))
    assert np.abs(before.mean(axis=0)).max() > 1e-3
    assert np.abs(after.mean(axis=0)).max() < 2e-5
    assert (after**2).sum() < (0.9 if name == "depthwise" else 0.6) * (before**2).sum()


@pytest.mark.parametrize("body", ["y = Gemm(x, wa, bb)", "m = MatMul(x, wa) y = Add(m, bb)"])
def test_dense_errors_have_no_mean_and_are_smaller(body: str) -> None:
    data = correlated(32, 200)

    def build(weight: np.ndarray, row: np.ndarray | None) -> ir.Model:
        return dense(body, wa=weight.astype(np.float32), bb=np.asarray(row, np.float32).reshape(-1))

    net = build(normal(32, 48), normal(48))
    plain, fitted, _ = plans(net, data)
    output = plain.nodes[0].output
    before, after = (layer_errors(build, net, weight_and_bias(net, p, output), data) for p in (plain, fitted))
    assert np.abs(before.mean(axis=0)).max() > 1e-3
    assert np.abs(after.mean(axis=0)).max() < 2e-5
    assert (after**2).sum() < 0.4 * (before**2).sum()


def test_a_conv_without_a_bias_gets_one() -> None:
    net, data = conv_net(f"y = Conv<{PAD}>(x, w1)"), images(16)
    plain, fitted, _ = plans(net, data)
    assert weight_and_bias(net, plain, "y")[1] is None
    bias = weight_and_bias(net, fitted, "y")[1]
    assert bias is not None
    assert bias.any()
    conv = next(n for n in insert(net, fitted).graph if n.op_type == "Conv")
    np.testing.assert_array_equal(array(conv.inputs[2]), bias)
    assert len(net.graph[0].inputs) == 2


def test_a_matmul_without_an_add_is_rounded_for_the_whole_error_and_gets_no_bias() -> None:
    data = correlated(32, 200, mean=3)

    def build(weight: np.ndarray, _: np.ndarray | None) -> ir.Model:
        return dense("y = MatMul(x, wa)", wa=weight.astype(np.float32))

    net = build(normal(32, 48), None)
    plain, fitted, _ = plans(net, data)
    assert [n.bias for n in fitted.nodes] == [""]
    before, after = (layer_errors(build, net, weight_and_bias(net, p, "y"), data) for p in (plain, fitted))
    assert (after**2).sum() < 0.3 * (before**2).sum()
    assert [n.op_type for n in insert(net, fitted).graph].count("Add") == 0


def test_the_bias_of_a_matmul_of_tokens_goes_to_its_add() -> None:
    net, data = dense("m = MatMul(x, w) y = Add(m, b)", rank=3), correlated(32, 4, 7)
    _, fitted, _ = plans(net, data)
    assert {n.output: (n.role, bool(n.bias)) for n in fitted.nodes} == {"m": ("matmul", False), "y": ("row_bias", True)}


def test_smoothed_weights_are_fitted_to_smoothed_activations() -> None:
    net, data = dense("m = MatMul(x, w) y = Add(m, b)", rank=3), correlated(32, 40, 7)
    plain, _, seen = plans(net, data)
    factors = np.exp(np.random.default_rng(1).uniform(-1.5, 1.5, 32)).astype(np.float32)
    sites = tuple(dataclasses.replace(s, per_token=True, smooth=pack(factors)) for s in plain.sites)
    nodes = tuple(dataclasses.replace(p, role="token") if p.op == "MatMul" else p for p in plain.nodes)
    smooth = dataclasses.replace(plain, sites=sites, nodes=nodes)
    fitted = refine(net, smooth, target_row("cpu"), seen.moments)
    x = np.concatenate([f["x"].reshape(-1, 32) for f in data]).astype(np.float64)
    before, after = (
        x @ (weight_and_bias(net, p, "m")[0] / factors[:, None] - initializer(net, "w")) for p in (smooth, fitted)
    )
    shift = unpack(next(n.bias for n in fitted.nodes if n.output == "y"), np.float32, (48,), "it")
    assert np.abs(after.mean(axis=0)).max() > 1e-3
    assert np.abs(after.mean(axis=0) + shift).max() < 2e-5
    assert after.var(axis=0).sum() < 0.25 * before.var(axis=0).sum()


def test_tied_weights_are_left_alone() -> None:
    net = conv_net(f"a = Conv<{PAD}>(x, w1, b1) r = Relu(a) y = Conv<{PAD}>(r, w1, b2)")
    plain, fitted, _ = plans(net, images(16))
    assert len(plain.nodes) == 2
    assert fitted == plain


def test_layers_without_moments_are_left_alone() -> None:
    net = conv_net(f"a = Conv<{PAD}>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)")
    plain, _, seen = plans(net, images(16))
    row = target_row("cpu")
    assert refine(net, plain, row, {}) == plain
    only = refine(net, plain, row, {"y": seen.moments["y"]})
    assert [bool(w.rounding) for w in only.weights] == [False, True]
    assert [bool(n.bias) for n in only.nodes] == [False, True]


def test_what_was_fitted_before_is_replaced_not_added_to() -> None:
    net = conv_net(f"a = Conv<{PAD}>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)")
    _, fitted, seen = plans(net, images(16))
    assert refine(net, fitted, target_row("cpu"), seen.moments) == fitted


def test_remembered_fits_are_those_that_would_be_made() -> None:
    """By scales and weights: a plan with another range for the input changes neither, one that keeps a node float does not matter."""
    net = conv_net(f"a = Conv<{PAD}>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)")
    plain, fitted, seen = plans(net, images(16))
    row, cache = target_row("cpu"), {}
    assert refine(net, plain, row, seen.moments, cache) == fitted
    assert len(cache) == 2
    narrow = dataclasses.replace(plain, sites=tuple(dataclasses.replace(s, scale=s.scale / 2) for s in plain.sites))
    again = refine(net, narrow, row, seen.moments, cache)
    assert again == refine(net, narrow, row, seen.moments)
    assert len(cache) == 2


def test_the_model_runs_nearer_to_the_float_one() -> None:
    net = conv_net(
        f"a = Conv<{PAD}>(x, w1, b1) r = Relu(a) c = Conv<{PAD}>(r, w2, b2) s = Relu(c) y = Conv(s, w3)",
        w3=normal(16, 16, 1, 1),
    )
    plain, fitted, _ = plans(net, images(16), "cpu-avx2")
    other = images(16, count=5, seed=0)[4]
    assert sqnr(net, insert(net, fitted), other) > sqnr(net, insert(net, plain), other) + 0.5


def test_means_far_above_the_deviations_do_not_break_it() -> None:
    """Second moments in float32 less the squared mean: more rounding than variance."""
    net = dense("y = Gemm(x, w, b)")
    rng = np.random.default_rng(0)
    data = [{"x": (1000 + 0.1 * rng.standard_normal((100, 32))).astype(np.float32)} for _ in range(3)]
    plain, fitted, _ = plans(net, data)
    before, after = (insert(net, p) for p in (plain, fitted))
    expected = run(net, data[0])["y"]
    assert np.abs(run(after, data[0])["y"] - expected).mean() < np.abs(run(before, data[0])["y"] - expected).mean()


def test_how_layers_read() -> None:
    net = model(
        "g (float[N,16,8,8] x, float[N,32] z) => (float[A,B,C,D] y, float[N,48] u) { y = Conv<group=2>(x, w) u = MatMul(z, v) }",
        w=normal(16, 8, 3, 3),
        v=normal(32, 48),
    )
    conv, matmul = (look_at(n, a) for n, a in zip(net.graph, (0, 1), strict=True))
    assert conv is not None
    assert matmul is not None
    assert (conv.name, conv.value, conv.width, conv.groups) == ("y", "x", 144, 2)
    assert (matmul.name, matmul.value, matmul.width, matmul.groups) == ("u", "z", 32, 1)
    assert initializer(net, "w").shape == (16, 8, 3, 3)


def test_layers_whose_reading_cannot_be_told() -> None:
    text = "g (float[N,16,8,8] x) => (float[A,B,C,D] y) {{ y = {} }}"
    assert look_at(model(text.format("ConvTranspose(x, w)"), w=normal(16, 8, 3, 3)).graph[0], 1) is None
    assert look_at(model(text.format("MatMul(w, x)"), w=normal(8, 8)).graph[0], 0) is None
