"""Which activations take a form of tokens, from which rows, and what that makes of a plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.calibrate.gather import View
from onnxzip.calibrate.probe import Passes
from onnxzip.quantize import insert
from onnxzip.quantize.forms import Rows, forms, token_sites, with_forms
from onnxzip.quantize.packed import unpack
from tests.helpers.graphs import model
from tests.quantize.audit import Feed, feeds, normal, plan_of, runtime_ops, sqnr


def net(body: str, shape: str = "N,7,32", out: str = "N,7,48") -> ir.Model:
    arrays = {n: normal(32, 48) for n in ("w", "v")} | {"b": normal(48), "u": normal(48, 48), "c": normal(16, 7, 3)}
    names = {k: v for k, v in arrays.items() if f" {k})" in body or f" {k}," in body}
    return model(f"g (float[{shape}] x) => (float[{out}] y) {{ {body} }}", **names)


def taking_part(net: ir.Model) -> dict[str, list[str]]:
    return {t: [p.output for p in own] for t, own in token_sites(net, plan_of(net)).items()}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = MatMul(x, w)", {"x": ["y"]}),
        ("m = MatMul(x, w) y = Add(m, b)", {"x": ["m"]}),
        ("m = MatMul(x, w) n = MatMul(x, v) y = Add(m, n)", {"x": ["m", "n"]}),
        ("m = MatMul(x, w) r = Exp(m) y = MatMul(r, u)", {"x": ["m"], "r": ["y"]}),
        ("m = MatMul(x, w) e = Exp(x) y = MatMul(e, v)", {"x": ["m"], "e": ["y"]}),  # Exp reads x in float
    ],
)
def test_activations_that_matmuls_alone_read_quantized(body: str, expected: dict[str, list[str]]) -> None:
    assert taking_part(net(body)) == expected


def test_an_output_that_is_quantized_for_all_its_readers_does_not() -> None:
    """The Relu vanishes in the quantization behind it."""
    body = "m = MatMul(x, w) r = Relu(m) y = MatMul(r, u)"
    assert {s.tensor: s.readers for s in plan_of(net(body)).sites} == {"x": "quantized", "r": "all"}
    assert taking_part(net(body)) == {"x": ["m"]}


def test_a_matmul_whose_own_result_is_quantized_does_not() -> None:
    """Its site would have to move behind the product with the magnitudes of the tokens."""
    assert taking_part(net("m = MatMul(x, w) y = MatMul(m, u)")) == {"m": ["y"]}


def test_a_relu_behind_a_matmul_of_tokens_is_run_as_planned(tmp_path: Path) -> None:
    before = net("m = MatMul(x, w) r = Relu(m) y = MatMul(r, u)")
    plan, data = plan_of(before), feeds(before)
    sites = token_sites(before, plan)
    after = insert(before, with_forms(plan, sites, forms(before, sites, seen_rows(["x"], data))))
    assert runtime_ops(after, tmp_path)["MatMulIntegerToFloat"] == 2
    assert sqnr(before, after, data[0]) > 30


def test_images_of_tokens_take_part_too() -> None:
    assert taking_part(net("y = MatMul(x, w)", "N,7,5,32", "N,7,5,48")) == {"x": ["y"]}


def test_rows_without_a_sequence_do_not() -> None:
    assert taking_part(net("y = MatMul(x, w)", "N,32", "N,48")) == {}
    assert taking_part(net("y = Gemm(x, w, b)", "N,32", "N,48")) == {}


def test_tied_weights_cannot_be_smoothed() -> None:
    assert taking_part(net("m = MatMul(x, w) e = Exp(x) n = MatMul(e, w) y = Add(m, n)")) == {}


def test_an_activation_that_another_integer_operator_reads_does_not() -> None:
    body = "m = MatMul(x, w) k = Conv(x, c) y = Add(m, b)"
    assert "x" in {s.tensor for s in plan_of(net(body)).sites}
    assert taking_part(net(body)) == {}


def seen_rows(tensors: list[str], data: list[Feed], rows: int = 256, mask: str | None = None) -> Rows:
    watcher = Rows(tensors, View(data, mask, rows, Passes()))
    for number, batch in enumerate(data):
        watcher.see(number, batch, batch)
    return watcher


def test_rows_are_a_bounded_sample_of_all_batches() -> None:
    data = [{"x": np.full((4, 25, 8), n, np.float32)} for n in range(3)]
    found = seen_rows(["x"], data, 60).of("x")
    assert (found.shape, found.dtype) == ((60, 8), np.float64)
    assert np.bincount(found[:, 0].astype(int)).tolist() == [20, 20, 20]
    assert seen_rows(["x"], data, 10**6).of("x").shape == (300, 8)


def test_padded_rows_are_left_out() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    x = np.where(mask[:, :, None], 1.0, 99.0).astype(np.float32) * np.ones(8, np.float32)
    found = seen_rows(["x"], [{"x": x, "m": mask}], mask="m").of("x")
    np.testing.assert_array_equal(found, np.ones((3, 8)))


def loud(before: ir.Model) -> list[Feed]:
    """One channel a hundred times larger, and one token of each batch."""
    data = feeds(before)
    for batch in data:
        batch["x"][..., 5] *= 100
        batch["x"][:, 0] *= 30
    return data


def test_the_form_of_an_activation_goes_into_the_plan_and_pays() -> None:
    before = net("m = MatMul(x, w) n = MatMul(x, v) k = Mul(m, n) y = Add(k, b)")
    data = loud(before)
    plan = plan_of(before, data)
    sites = token_sites(before, plan)
    found = forms(before, sites, seen_rows(["x"], data))
    new = with_forms(plan, sites, found)
    assert {p.output: p.role for p in new.nodes} == {"m": "token", "n": "token"}
    (site,) = new.sites
    form = found["x"]
    assert (site.scale, site.zero_point, site.per_token) == (form.qparams.scale, form.qparams.zero_point, True)
    assert form.factors is not None
    np.testing.assert_array_equal(unpack(site.smooth, np.float32, (32,), "it"), form.factors)
    assert form.factors.argmax() == 5
    other = loud(before)[2]
    assert sqnr(before, insert(before, new), other) > sqnr(before, insert(before, plan), other) + 3


def test_a_plan_without_forms_is_left_alone() -> None:
    before = net("m = MatMul(x, w) y = Add(m, b)")
    plan = plan_of(before)
    assert with_forms(plan, token_sites(before, plan), {}) == plan
    empty = [{"x": np.zeros((0, 7, 32), np.float32)}]
    assert forms(before, token_sites(before, plan), seen_rows(["x"], empty)) == {}


def test_forms_put_in_twice_are_put_in_once() -> None:
    before = net("m = MatMul(x, w) y = Add(m, b)")
    plan = plan_of(before)
    found = forms(before, token_sites(before, plan), seen_rows(["x"], feeds(before)))
    once = with_forms(plan, token_sites(before, plan), found)
    assert with_forms(once, token_sites(before, once), found) == once
