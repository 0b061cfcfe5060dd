import numpy as np

from onnxzip.quantize.gptq4 import damping, output_error, round_to_grid


def case(columns: int = 96, rows: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1000, columns)) @ rng.standard_normal((columns, columns)) / 8 + 1
    return rng.standard_normal((rows, columns)), x.T @ x / 1000


def test_errors_make_up_for_each_other() -> None:
    rows, moments = case()
    steps = np.full(rows.shape, 0.3)
    bound = np.full(rows.shape, 15)
    codes = round_to_grid(rows, moments, steps, -bound, bound, 0.01)
    near = np.clip(np.rint(rows / steps), -15, 15)
    assert output_error(rows - steps * codes, moments) < 0.5 * output_error(rows - steps * near, moments)
    assert abs(codes).max() <= 15


def test_without_correlation_it_is_the_nearest() -> None:
    rows, _ = case()
    steps = np.linspace(0.1, 0.4, rows.shape[1]) * np.ones(rows.shape)
    bound = np.full(rows.shape, 100)
    codes = round_to_grid(rows, np.diag(np.arange(1.0, 97)), steps, -bound, bound, 0.0)
    np.testing.assert_array_equal(codes, np.rint(rows / steps))


def test_bounds_of_each_weight_hold() -> None:
    rows, moments = case()
    rng = np.random.default_rng(2)
    low = -rng.integers(0, 3, rows.shape)
    codes = round_to_grid(rows, moments, np.full(rows.shape, 0.1), low, low + 2, 0.01)
    assert (codes >= low).all()
    assert (codes <= low + 2).all()


def test_inputs_that_were_never_seen_are_rounded_to_nearest() -> None:
    rows, _ = case()
    bound = np.full(rows.shape, 100)
    codes = round_to_grid(rows, np.zeros((96, 96)), np.full(rows.shape, 0.2), -bound, bound, 0.01)
    np.testing.assert_array_equal(codes, np.rint(rows / 0.2))


def test_few_rows_are_damped_more() -> None:
    assert damping(400, 100) < damping(399, 100)
