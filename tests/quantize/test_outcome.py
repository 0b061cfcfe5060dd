"""The error of outputs against those of the float model."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.calibrate.collect import collect
from onnxzip.quantize import insert
from onnxzip.quantize.outcome import Answers, output_error
from tests.helpers.graphs import model
from tests.helpers.numerics import run
from tests.quantize.audit import Feed, adds_up, dense, deployed, feeds, plan_of

LINE = "g (float[N,4] x) => (float[N,4] y) {{ y = {} }}"


def net(body: str = "Mul(x, k)", **arrays: float | np.ndarray) -> ir.Model:
    return model(LINE.format(body), **{n: np.asarray(a, np.float32) for n, a in arrays.items()})


def answers_of(net: ir.Model, data: list[Feed], effort: str = "full") -> Answers:
    answers = Answers(net)
    collect(net, (), data, effort=effort, watchers=(answers,))  # type: ignore[arg-type]
    return answers


def error(before: ir.Model, after: ir.Model, data: list[Feed]) -> float:
    return output_error(after, answers_of(before, data), data, "none")


def test_a_model_has_no_error_against_itself() -> None:
    before = dense("y = Gemm(x, w, b)")
    assert error(before, before, feeds(before)) == 0


def test_it_is_the_relative_squared_error() -> None:
    before, after = net(k=1.0), net(k=1.1)
    assert error(before, after, feeds(before)) == pytest.approx(0.01, rel=1e-4)


def test_each_sample_counts_alike_however_loud_and_whatever_its_batch() -> None:
    """One of three samples is off by all of itself: a third."""
    before, after = net(k=1.0), net("Relu(x)")
    one, x = np.ones((1, 4), np.float32), np.ones((2, 4), np.float32)
    x[1] *= -1000
    assert error(before, after, [{"x": one}, {"x": x}]) == pytest.approx(1 / 3)


def test_outputs_count_alike() -> None:
    text = "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Mul(x, a) z = Mul(x, b) }"
    before, after = (model(text, a=np.float32(1000), b=np.float32(b)) for b in (1, 1.2))
    assert error(before, after, feeds(before)) == pytest.approx(0.04 / 2, rel=1e-4)


def test_masks_of_infinity_count_where_they_differ() -> None:
    mask = np.array([0, 0, -np.inf, 0], np.float32)
    before, data = net("Add(x, m)", m=mask), [{"x": np.ones((2, 4), np.float32)}]
    assert error(before, before, data) == 0
    assert error(before, net("Add(x, m)", m=np.where(np.isinf(mask), mask, 0.1)), data) == pytest.approx(0.01, rel=1e-4)
    assert error(before, net("Add(x, m)", m=[0, 0, -1e9, 0]), data) == np.inf
    assert error(net("Add(x, m)", m=0), before, data) == np.inf


def test_nan_is_infinitely_wrong_unless_the_float_model_gives_it_too() -> None:
    data = [{"x": np.array([[1, 2, 3, -1]], np.float32)}]
    assert error(net(k=1.0), net("Sqrt(x)"), data) == np.inf
    assert error(net("Sqrt(x)"), net("Sqrt(x)"), data) == 0


def test_answers_of_zero_do_not_divide_by_zero() -> None:
    data = [{"x": np.zeros((2, 4), np.float32)}]
    assert error(net(k=1.0), net(k=2.0), data) == 0
    assert 1 < error(net(k=1.0), net("Add(x, k)", k=1.0), data) < np.inf


def test_a_model_that_does_not_run_is_infinitely_wrong() -> None:
    before, data = net(k=1.0), feeds(net(k=1.0))
    assert error(before, net("Add(x, k)", k=np.ones(5)), data) == np.inf
    broken = net(k=1.0)
    broken.graph[0].op_type = "NoSuchOperator"
    assert error(before, broken, data) == np.inf
    other = model("g (float[N,4] x) => (float[N,2,2] y) { y = Reshape(x, s) }", s=np.array([-1, 2, 2]))
    assert error(before, other, data) == np.inf


def test_batches_that_fast_calibration_leaves_out_do_not_count() -> None:
    before, after = net(k=1.0), net("Relu(x)")
    data = [{"x": np.ones((1, 4), np.float32)} for _ in range(8)]
    for left_out in (5, 7):
        data[left_out] = {"x": -np.ones((1, 4), np.float32)}
    answers = answers_of(before, data, "fast")
    assert len(answers) == 6
    assert output_error(after, answers, data, "none") == 0
    assert output_error(after, answers_of(before, data), data, "none") == pytest.approx(2 / 8)


def test_answers_can_be_asked_again_and_large_ones_wait_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxzip.quantize.outcome._MEMORY", 100)
    before, data = net(k=1.0), feeds(net(k=1.0))
    answers = answers_of(before, data)
    for _ in range(2):
        for n, (batch, found) in enumerate(answers.pairs(data)):
            assert batch is data[n]
            np.testing.assert_array_equal(found["y"], run(before, data[n])["y"])


def test_float_tensors_that_are_computed_are_compared_and_nothing_else() -> None:
    before = model(
        """g (float[N,4] x) => (float[N,4] x2, int64[N,1] i, seq(float[N,4]) s, float[N,4] y)
        { x2 = Neg(x) y = Exp(x) i = ArgMax<axis=1>(x) s = SequenceConstruct(y) }"""
    )
    assert Answers(before).wanted == ("x2", "y")
    integers = model("g (float[N,4] x) => (int64[N,1] i) { i = ArgMax<axis=1>(x) }")
    assert Answers(integers).wanted == ()
    assert error(integers, integers, feeds(integers)) == 0


def test_no_batch_is_no_proof() -> None:
    assert output_error(net(k=1.0), Answers(net(k=1.0)), []) == np.inf


def test_quantization_costs_what_the_outputs_say() -> None:
    before = dense("y = Gemm(x, w, b)")
    data = feeds(before)
    after = insert(before, plan_of(before, data))
    pairs = [(run(before, f)["y"].astype(np.float64), deployed(after).run(f)["y"]) for f in data]
    expected = np.mean([((y - z) ** 2).sum(axis=1) / (y**2).sum(axis=1) for y, z in pairs])
    level = "all" if adds_up() else "none"
    found = output_error(after, answers_of(before, data), data, level)
    assert found == pytest.approx(expected, rel=1e-6)
    assert 1e-5 < found < 1e-3
