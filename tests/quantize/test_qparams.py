import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxzip.quantize.qparams import (
    CODES,
    LEVELS,
    MAX_SCALE,
    MIN_SCALE,
    Grid,
    QParams,
    activation_qparams,
    along,
    bias_floor,
    bias_scales,
    quantize_activation,
    quantize_bias,
    quantize_weight,
    weight_scales,
)

FLOATS = st.floats(-3.4e38, 3.4e38, allow_nan=False)


@given(FLOATS, FLOATS)
def test_scale_is_always_a_normal_number_and_zero_is_exact(a: float, b: float) -> None:
    q = activation_qparams(min(a, b), max(a, b))
    assert MIN_SCALE <= q.scale <= MAX_SCALE
    assert 0 <= q.zero_point <= 255
    assert dequantize_u8(quantize_u8(np.zeros(1, np.float32), q), q)[0] == 0


@given(st.floats(-100, 0), st.floats(0.001, 100))
def test_every_value_of_the_range_is_met_within_one_step(low: float, high: float) -> None:
    q = activation_qparams(low, high)
    x = np.linspace(low, high, 100).astype(np.float32)
    assert np.abs(dequantize_u8(quantize_u8(x, q), q) - x).max() <= q.scale * 1.001


def quantize_u8(x: np.ndarray, q: QParams) -> np.ndarray:
    """Values to uint8, as QuantizeLinear does it."""
    scaled = np.rint(x / np.float32(q.scale)) + q.zero_point
    codes: np.ndarray = np.clip(scaled, 0, LEVELS).astype(np.uint8)
    return codes


def dequantize_u8(codes: np.ndarray, q: QParams) -> np.ndarray:
    """uint8 to values, as DequantizeLinear does it."""
    return (codes.astype(np.float32) - np.float32(q.zero_point)) * np.float32(q.scale)


def test_range_is_widened_to_hold_zero() -> None:
    assert activation_qparams(2, 10).zero_point == 0
    assert activation_qparams(2, 10).high == pytest.approx(10)
    assert activation_qparams(-10, -2).zero_point == 255


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-39, -1e-40])
def test_degenerate_range_gives_a_safe_scale(value: float) -> None:
    q = activation_qparams(value, value)
    assert q.scale >= MIN_SCALE


@pytest.mark.parametrize(("low", "high"), [(-math.inf, 1), (0, math.inf), (math.nan, 1), (0, math.nan), (2, 1)])
def test_inf_and_nan_never_reach_a_scale_failure_18(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="finite and ordered"):
        activation_qparams(low, high)


def test_relu_has_zero_point_0_even_when_the_range_says_otherwise() -> None:
    q = activation_qparams(-0.3, 5, (0, math.inf))
    assert q.zero_point == 0
    assert q.high == pytest.approx(5)


@given(st.floats(-8, 0), st.floats(0.01, 8), st.floats(0.01, 20), st.floats(-20, 0))
def test_grid_of_an_absorbed_clip_lies_within_its_bounds(low: float, high: float, top: float, bottom: float) -> None:
    q = activation_qparams(bottom, top, (low, high))
    scale = np.float32(q.scale)
    assert np.float32(255 - q.zero_point) * scale <= max(high, 255 * MIN_SCALE)
    assert np.float32(-q.zero_point) * scale >= min(low, -255 * MIN_SCALE)


def test_relu6_uses_all_codes() -> None:
    q = activation_qparams(0, 7.5, (0, 6))
    assert q.zero_point == 0
    assert 6 - 1e-5 < q.high <= 6


def test_bounds_without_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="must contain 0"):
        activation_qparams(1, 6, (1, 6))


def test_quantize_rounds_half_to_even_and_saturates() -> None:
    q = activation_qparams(0, 255)
    assert quantize_u8(np.array([-5, 0.5, 1.5, 300], np.float32), q).tolist() == [0, 0, 2, 255]


@pytest.mark.parametrize("dtype", CODES)
@given(st.floats(-100, 0), st.floats(0.001, 100))
def test_every_dtype_spans_its_range(dtype: str, low: float, high: float) -> None:
    q = activation_qparams(low, high, grid=Grid((dtype,)))
    lowest, highest = CODES[dtype]
    assert q.dtype == dtype
    assert lowest <= q.zero_point <= highest
    x = np.linspace(low, high, 100).astype(np.float32)
    codes = quantize_activation(x, q)
    assert codes.dtype == dtype
    assert np.abs((codes.astype(np.float64) - q.zero_point) * q.scale - x).max() <= q.scale * 1.01 + 1e-5


@given(st.floats(-100, 0), st.floats(0, 100))
def test_symmetric_grids_have_zero_point_0_and_reach_the_far_end(low: float, high: float) -> None:
    q = activation_qparams(low, high, grid=Grid(("int8",), symmetric=True))
    assert q.zero_point == 0
    if high - low > 1e-6:
        assert q.scale * 127 == pytest.approx(max(-low, high), rel=1e-5)


def test_symmetric_grids_are_unsigned_where_nothing_is_negative() -> None:
    grid = Grid(("uint8", "int8"), symmetric=True)
    assert activation_qparams(0, 51, grid=grid) == QParams(float(np.float32(0.2)), 0, "uint8")
    assert activation_qparams(-1, 51, grid=grid).dtype == "int8"
    assert activation_qparams(3, 3, grid=grid).high == pytest.approx(3)


def test_relu_takes_the_lowest_code_of_signed_dtypes() -> None:
    q = activation_qparams(-0.3, 5, (0, math.inf), Grid(("int8",)))
    assert (q.zero_point, q.low) == (-128, 0)


def test_narrow_ranges_are_widened_where_the_target_asks() -> None:
    assert activation_qparams(0, 1e-7, grid=Grid(smallest=1e-4)).high == pytest.approx(1e-4)
    assert activation_qparams(0, 1e-7).high == pytest.approx(1e-7)


def test_weight_scales_run_along_the_axis() -> None:
    weight = np.array([[1.27, -2.54], [0.1, 0.2]], np.float32)
    np.testing.assert_allclose(weight_scales(weight, 0), [0.02, 0.2 / 127], rtol=1e-6)
    np.testing.assert_allclose(weight_scales(weight, 1), [0.01, 0.02], rtol=1e-6)
    assert quantize_weight(weight, weight_scales(weight, 1), 1).tolist() == [[127, -127], [10, 10]]


def test_weights_use_127_codes_on_either_side() -> None:
    weight = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    codes = quantize_weight(weight, weight_scales(weight, 0), 0)
    assert codes.dtype == np.int8
    assert (np.abs(codes.astype(int)).max(axis=(1, 2, 3)) == 127).all()


def test_dead_channels_have_a_normal_scale_failure_28() -> None:
    weight = np.zeros((3, 4), np.float32)
    weight[1] = 1e-44  # denormal
    scales = weight_scales(weight, 0)
    assert (scales >= np.finfo(np.float32).tiny).all()
    assert np.isfinite(bias_scales(MIN_SCALE, scales)).all()
    assert (bias_scales(MIN_SCALE, scales) >= np.finfo(np.float32).tiny).all()
    assert not quantize_weight(weight, scales, 0).any()


def test_int32_bias_never_overflows_failure_28() -> None:
    weight, bias = np.full((2, 4), [[1e-12], [1.0]], np.float32), np.array([3.0, 3.0], np.float32)
    floor = bias_floor(bias, 1e-3, 2**30)
    scales = weight_scales(weight, 0, 127, floor)
    codes = quantize_bias(bias, bias_scales(1e-3, scales))
    assert np.abs(codes.astype(np.int64)).max() <= 2**30 + 128
    np.testing.assert_allclose(codes * bias_scales(1e-3, scales).astype(np.float64), bias, rtol=1e-4)
    assert scales[1] == np.float32(1 / 127)  # the healthy channel keeps its scale


def test_bias_of_a_dead_channel_is_exact() -> None:
    bias = np.array([0.7], np.float32)
    scales = weight_scales(np.zeros((1, 4), np.float32), 0, 127, bias_floor(bias, 0.02, 2**30))
    assert quantize_bias(bias, bias_scales(0.02, scales))[0] * np.float64(
        bias_scales(0.02, scales)[0]
    ) == pytest.approx(0.7)


def test_along_counts_from_the_end() -> None:
    assert along(-1, 3) == (1, 1, -1)
