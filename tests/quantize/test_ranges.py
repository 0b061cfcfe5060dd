from dataclasses import dataclass

import numpy as np
import pytest

from onnxzip.calibrate import TensorStatistics, collect
from onnxzip.errors import UsageError
from onnxzip.quantize.entropy import entropy_range
from onnxzip.quantize.plan import make_plan, observe
from onnxzip.quantize.qparams import Grid, activation_qparams
from onnxzip.quantize.ranges import METHODS, Held, clip_range, mse_range, percentile_range
from tests.helpers.graphs import model


@dataclass
class Fake:
    """What calibration hands over, from an array."""

    values: np.ndarray

    @property
    def low(self) -> float:
        return float(self.values.min(initial=np.inf))

    @property
    def high(self) -> float:
        return float(self.values.max(initial=-np.inf))

    @property
    def count(self) -> int:
        return self.values.size

    def distribution(self) -> tuple[np.ndarray, np.ndarray]:
        values, counts = np.unique(self.values.astype(np.float64), return_counts=True)
        return values, counts.astype(np.float64)


def error(x: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of 255 steps over a range, rounding done in truth."""
    step = (high - low) / 255
    return float(((np.clip(np.round(x / step), round(low / step), round(high / step)) * step - x) ** 2).mean())


def test_minmax_is_exact() -> None:
    assert clip_range([Fake(np.array([-1.5, 0, 2]))], "minmax") == (-1.5, 2)


def test_tensors_that_share_a_scale_are_merged() -> None:
    assert clip_range([Fake(np.array([0.0, 1])), Fake(np.array([-3.0, 0.5])), Fake(np.empty(0))], "minmax") == (-3, 1)


def test_mse_cuts_a_lone_outlier_and_does_not_cut_a_uniform_tensor() -> None:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(1_000_000).round(3)
    low, high = clip_range([Fake(np.append(normal, 60.0))], "mse")
    assert high < 30
    assert low >= normal.min()
    uniform = Fake(rng.random(10_000))
    assert clip_range([uniform], "mse")[1] == pytest.approx(uniform.high, rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_mse_is_close_to_the_best_clip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_t(3, 20_000) * np.where(rng.random(20_000) < 0.5, 1, 0.3)
    low, high = clip_range([Fake(x)], "mse")
    best = min(error(x, x.min() * a, x.max() * b) for a in np.geomspace(1, 0.05, 25) for b in np.geomspace(1, 0.05, 25))
    assert error(x, low, high) <= 1.1 * best


def test_one_sided_tensors_start_at_zero() -> None:
    x = np.maximum(np.random.default_rng(0).standard_normal(10_000), 0)
    assert clip_range([Fake(x)], "mse")[0] == 0


def test_exact_zeros_cost_nothing() -> None:
    x = np.random.default_rng(0).standard_normal(5_000)
    assert clip_range([Fake(np.append(x, np.zeros(10**6)))], "mse") == clip_range([Fake(x)], "mse")


def test_huge_values_do_not_overflow() -> None:
    low, high = mse_range(np.array([-3e38, 1e38, 3e38]), np.ones(3), -3e38, 3e38)
    assert np.isfinite([low, high]).all()


def test_percentile_leaves_out_half_on_either_side() -> None:
    values = np.arange(100_000, dtype=np.float64)
    low, high = percentile_range(values, np.ones(100_000), 0, 99_999, 0.9999)
    assert low == pytest.approx(5, abs=1)
    assert high == pytest.approx(99_994, abs=1)
    assert percentile_range(np.empty(0), np.empty(0), -1, 2, 0.9999) == (-1, 2)


def test_percentile_stays_within_the_extremes_when_bins_do_not() -> None:
    assert percentile_range(np.array([-2.0, 3.0]), np.ones(2), -1.5, 2.5, 0.9999) == (-1.5, 2.5)


@pytest.mark.parametrize(("method", "share"), [("percentile", 1e-4), ("percentile5", 1e-5)])
def test_percentiles_leave_out_the_share_that_they_are_named_after(method: str, share: float) -> None:
    x = np.random.default_rng(0).permutation(400_000) / 400_000
    low, high = clip_range([Fake(x)], method)
    assert (x > high).sum() + (x < low).sum() == pytest.approx(share * 400_000, abs=2)


def test_entropy_is_a_method() -> None:
    x = np.append(np.random.default_rng(0).standard_normal(100_000), 60.0)
    assert clip_range([Fake(x)], "entropy") == entropy_range(*Fake(x).distribution(), x.min(), 60)


SIDES = {
    "relu": lambda x: np.maximum(x, 0),
    "all positive": lambda x: np.abs(x) + 0.5,
    "all negative": lambda x: -np.abs(x) - 0.5,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "small probabilities": lambda x: 0.2 / (1 + np.exp(-x)),
    "gelu": lambda x: np.where(x > -0.17, 4 * x, -0.17),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SIDES)
def test_known_bounds_hold_because_no_method_leaves_what_was_seen(method: str, name: str) -> None:
    x = SIDES[name](np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    statistics = TensorStatistics()
    statistics.update(x)
    low, high = clip_range([statistics], method)
    assert min(x.min(), 0) <= low <= high <= max(x.max(), 0)
    qparams = activation_qparams(low, high)
    assert qparams.zero_point == {"all negative": 255}.get(name, 0) or name == "gelu"
    assert 0.2 * np.abs(x).max() < max(
        high, -low
    )  # not the bound 1 of a sigmoid that stays below 0.2, nor next to nothing


@pytest.mark.parametrize("op", ["Sigmoid", "HardSigmoid", "Softmax"])
def test_bounded_activations_keep_zero_point_zero_and_the_range_that_was_seen(op: str) -> None:
    net = model(
        f"agraph (float[N,4,6,6] x) => (float[N,4,4,4] y) {{ s = {op} (x) y = Conv (s, w) }}",
        w=np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32),
    )
    found = collect(net, observe(net, "cpu"), [{"x": np.random.default_rng(1).random((2, 4, 6, 6), np.float32) - 2}])
    site = next(s for s in make_plan(net, found, method="minmax").sites if s.tensor == "s")
    assert site.zero_point == 0
    assert site.scale * 255 == pytest.approx(found["s"].high)
    assert found["s"].high < 0.5


def test_infinite_extremes_are_refused_failure_18() -> None:
    with pytest.raises(ValueError, match="range from -inf to 1.0"):
        clip_range([Fake(np.array([-np.inf, 1]))], "mse")


def test_tensor_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="no calibration value"):
        clip_range([Fake(np.empty(0))], "minmax")


def test_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match="minmax, mse, percentile, percentile5, entropy"):
        clip_range([Fake(np.ones(1))], "entropie")


@pytest.mark.parametrize("grid", [Grid(("int8",), symmetric=True), Grid(("uint8", "int8"), symmetric=True)])
@pytest.mark.parametrize("seed", range(3))
def test_symmetric_mse_is_close_to_the_best_clip(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_t(3, 20_000) * np.where(rng.random(20_000) < 0.5, 1, 0.3)
    x = np.maximum(x, 0) if seed == 0 else x

    def loss(bound: float) -> float:
        step, lowest = bound / grid.levels(x.min()), 0 if grid.dtype(x.min()) == "uint8" else -128
        return float(((np.clip(np.round(x / step), lowest, grid.levels(x.min())) * step - x) ** 2).mean())

    low, high = clip_range([Fake(x)], "mse", grid)
    best = min(map(loss, np.geomspace(0.02, 1, 400) * np.abs(x).max()))
    assert loss(max(-low, high)) < 1.05 * best
    assert x.min() <= low <= 0 < high <= x.max()


def test_a_constant_has_its_own_statistics() -> None:
    held = Held(np.array([[2.0, -1.0], [2.0, 0.5]], np.float32))
    assert clip_range([held], "minmax") == (-1, 2)
    values, counts = held.distribution()
    assert (values.tolist(), counts.tolist(), held.count) == ([-1, 0.5, 2], [1, 1, 2], 4)
