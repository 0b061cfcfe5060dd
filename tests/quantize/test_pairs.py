"""Pairs of products in 16 bits: which they are, what does not fit, and that nothing overflows on any CPU (failure 31)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.constants import array
from onnxzip.quantize import insert
from onnxzip.quantize.matrix import to_rows
from onnxzip.quantize.pairs import PAIR_MAX, STRETCH, draw_in, overflows, partners, safe_scales
from onnxzip.runtime import Session, sums_saturate
from tests.helpers.graphs import model
from tests.quantize.audit import conv_net, dense, feeds, plan_of

PAIRS = np.array([1, 0, 3, 2, -1])
"""Five columns: two pairs, and one left alone."""


def partner_of(body: str, *shape: int, axis: int = 0) -> list[int] | None:
    net = model(f"g (float[A,B,C,D] x) => (float[E,F,G,H] y) {{ y = {body} }}", w=np.ones(shape, np.float32))
    found = partners(net.graph[0], shape, axis)
    return None if found is None else found.tolist()


# Which columns are added up


def test_neighbours_along_k() -> None:
    assert partner_of("MatMul(x, w)", 5, 7, axis=1) == [1, 0, 3, 2, -1]
    assert partner_of("Gemm<transB=1>(x, w)", 7, 4) == [1, 0, 3, 2]


def test_the_window_of_a_conv_comes_first_and_its_channels_last() -> None:
    """Three channels, taps a b: the sum runs a0 a1 a2 b0 b1 b2; the columns are 0a 0b 1a 1b 2a 2b."""
    a0, b0, a1, b1, a2, b2 = range(6)
    expected = [-1] * 6
    for one, two in ((a0, a1), (a2, b0), (b1, b2)):
        expected[one], expected[two] = two, one
    assert partner_of("Conv(x, w)", 8, 3, 1, 2) == expected
    assert partner_of("Conv<group=2>(x, w)", 8, 3, 1, 2) == expected


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 4, 2, 3), (4, 1, 3, 3), (6, 2, 1, 1)])
def test_partners_are_mutual_and_at_most_one_column_is_alone(shape: tuple[int, ...]) -> None:
    found = np.array(partner_of("Conv(x, w)", *shape))
    paired = np.flatnonzero(found >= 0)
    np.testing.assert_array_equal(found[found[paired]], paired)
    assert (found[paired] != paired).all()
    assert (found < 0).sum() == len(found) % 2


def test_depthwise_convs_add_up_in_32_bits_unless_a_channel_has_several_filters() -> None:
    assert partner_of("Conv<group=8>(x, w)", 8, 1, 3, 3) is None
    assert partner_of("Conv<group=4>(x, w)", 8, 1, 3, 3) is not None


# What does not fit


def test_overflow_is_what_the_instruction_would_saturate() -> None:
    """Of all pairs of codes, with the largest activations there are."""
    first, second = (c.reshape(-1, 1) for c in np.meshgrid(np.arange(-127, 128), np.arange(-127, 128)))
    codes = np.concatenate([first, second], axis=1).astype(np.int8)
    wide = codes.astype(np.int64)
    highest, lowest = 255 * np.maximum(wide, 0).sum(axis=1), 255 * np.minimum(wide, 0).sum(axis=1)
    np.testing.assert_array_equal(overflows(codes, np.array([1, 0])), (highest > 32767) | (lowest < -32768))


def test_drawn_in_codes_fit_and_move_no_further_than_they_must() -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (400, 5))
    found = draw_in(codes, PAIRS)
    assert overflows(codes, PAIRS).any()
    assert not overflows(found, PAIRS).any()
    moved = np.abs(found - codes)
    excess = np.maximum(np.abs(codes[:, [0, 2]] + codes[:, [1, 3]]) - PAIR_MAX, 0)
    np.testing.assert_array_equal(moved[:, [0, 2]] + moved[:, [1, 3]], excess)
    assert np.abs(moved[:, [0, 2]] - moved[:, [1, 3]]).max() <= 1  # both give way alike
    assert not moved[:, 4].any()


def test_pairs_that_fit_are_left_alone() -> None:
    codes = np.array([[127, -127, 64, 64, 127], [-128 + 1, -1, 1, 127, -127]])
    np.testing.assert_array_equal(draw_in(codes, PAIRS), codes)


# Scales


def cost(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    scaled = rows / scales[:, None]
    return (((scaled - draw_in(np.clip(np.rint(scaled), -127, 127), PAIRS)) * scales[:, None]) ** 2).sum(axis=1)


def test_rows_without_overflow_keep_their_scale() -> None:
    rows = np.random.default_rng(1).standard_normal((64, 5))
    rows[:, [1, 3]] *= -np.sign(rows[:, [0, 2]]) * np.sign(rows[:, [1, 3]])  # opposite signs
    scales = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
    np.testing.assert_array_equal(safe_scales(rows, scales, PAIRS, 127), scales)


def test_the_scale_that_costs_least_wins_row_by_row() -> None:
    rows = np.random.default_rng(2).uniform(0.7, 1, (64, 5))
    scales = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
    found = safe_scales(rows, scales, PAIRS, 127)
    costs = np.array([cost(rows, scales * np.float32(s)) for s in STRETCH])
    fits = [~overflows(np.clip(np.rint(rows / (scales * np.float32(s))[:, None]), -127, 127), PAIRS) for s in STRETCH]
    first = np.argmax(fits, axis=0)  # wider than that is not looked at
    best = [costs[: n + 1, i].min() for i, n in enumerate(first)]
    assert (first > 1).all()
    np.testing.assert_allclose(cost(rows, found), best, rtol=1e-5)
    assert np.mean(best < 0.5 * costs[0]) > 0.9
    assert ((found >= scales) & (found <= 2 * scales)).all()


# As deployed


def adversarial(*shape: int) -> np.ndarray:
    """Weights of one sign a row, near the largest: all of their pairs overflow."""
    rng = np.random.default_rng(3)
    sign = np.where(np.arange(shape[0]) % 2, -1, 1).reshape(-1, *[1] * (len(shape) - 1))
    return (sign * rng.uniform(0.8, 1, shape)).astype(np.float32)


NETS = {
    "conv": lambda: conv_net("y = Conv<pads=[1,1,1,1]>(x, wa)", wa=adversarial(16, 16, 3, 3)),
    "conv of odd channels": lambda: conv_net("y = Conv(x, wa)", channels=15, wa=adversarial(16, 15, 3, 3)),
    "grouped conv": lambda: conv_net("y = Conv<group=2>(x, wa)", channels=6, wa=adversarial(32, 3, 3, 3)),
    "matmul": lambda: dense("y = MatMul(x, wa)", wa=adversarial(48, 32).T.copy()),
    "gemm": lambda: dense("y = Gemm<transB=1>(x, wa)", wa=adversarial(48, 32)),
}


def high(net: ir.Model) -> list[dict[str, np.ndarray]]:
    """Activations near the largest, whose codes are."""
    return [{"x": 1 - np.abs(f["x"]) / 50} for f in feeds(net)]


def codes_of(quantized: ir.Model) -> np.ndarray:
    """The one integer weight as it is stored."""
    stored = [v for v in quantized.graph.initializers.values() if v.dtype == ir.DataType.INT8]
    found = max((c for v in stored if (c := array(v)) is not None), key=lambda c: c.size)
    return np.asarray(found)


def rows_and_partners(net: ir.Model, target: str) -> tuple[np.ndarray, np.ndarray]:
    plan = plan_of(net, target=target)
    node, codes = net.graph[0], codes_of(insert(net, plan))
    axis = plan.weights[0].axis
    found = partners(node, codes.shape, axis)
    assert found is not None
    return to_rows(codes, axis, node.attributes.get_int("group", 1)), found


@pytest.mark.parametrize("name", NETS)
def test_weights_for_avx2_never_overflow_and_others_would_failure_31(name: str) -> None:
    net = NETS[name]()
    assert overflows(*rows_and_partners(net, "cpu")).all()
    assert not overflows(*rows_and_partners(net, "cpu-avx2")).any()


@pytest.mark.parametrize("name", NETS)
def test_integer_kernels_give_what_the_file_says_on_every_cpu_failure_31(name: str) -> None:
    """With the runtime's optimizations (integer kernels) as without (float): by one code of the output at most."""
    net = NETS[name]()
    batches = high(net)
    plan = plan_of(net, batches, target="cpu-avx2")
    after = insert(net, plan)
    fast, slow = (Session(after, level=level, threads=1).run(batches[0])["y"] for level in ("all", "none"))
    steps = {s.tensor: s.scale for s in plan.sites}
    tolerance = 1.01 * steps["y"] if "y" in steps else 1e-5 * np.abs(slow).max()
    np.testing.assert_allclose(fast, slow, rtol=0, atol=tolerance)
    assert np.mean(fast != slow) < 0.01 or "y" not in steps


@pytest.mark.skipif(not sums_saturate(), reason="this CPU adds up without saturation")
@pytest.mark.parametrize("name", NETS)
def test_what_the_cpu_row_would_do_here(name: str) -> None:
    """The test above can fail."""
    net = NETS[name]()
    batches = high(net)
    after = insert(net, plan_of(net, batches))
    fast, slow = (Session(after, level=level, threads=1).run(batches[0])["y"] for level in ("all", "none"))
    assert np.abs(fast - slow).max() > 0.05 * np.abs(slow).max()


def test_a_depthwise_conv_needs_no_care_on_any_cpu() -> None:
    net = conv_net("y = Conv<group=16, pads=[1,1,1,1]>(x, wa)", wa=adversarial(16, 1, 3, 3))
    batches = high(net)
    plans = [plan_of(net, batches, target=t) for t in ("cpu", "cpu-avx2")]
    models = [insert(net, p) for p in plans]
    np.testing.assert_array_equal(codes_of(models[0]), codes_of(models[1]))
    fast, slow = (Session(models[1], level=level, threads=1).run(batches[0])["y"] for level in ("all", "none"))
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1.01 * next(s.scale for s in plans[1].sites if s.tensor == "y"))
