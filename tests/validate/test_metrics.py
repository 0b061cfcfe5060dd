"""Figures against numpy written out, and the question of what a decision is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxzip.validate.intervals import wilson
from onnxzip.validate.metrics import Accumulator


def figures(*pairs):
    accumulator = Accumulator("y")
    for reference, candidate in pairs:
        accumulator.add(reference, candidate)
    return accumulator.result()


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def test_float_figures_over_batches_are_those_of_all_samples_together():
    rng = np.random.default_rng(0)
    r = rng.standard_normal((12, 5, 7)).astype(np.float32)
    c = r + 0.01 * rng.standard_normal(r.shape).astype(np.float32)
    found = figures((r[:5], c[:5]), (r[5:], c[5:]))
    wide_r, wide_c = r.astype(np.float64), c.astype(np.float64)
    assert found.sqnr_db == pytest.approx(10 * np.log10((wide_r**2).sum() / ((wide_r - wide_c) ** 2).sum()))
    assert found.max_abs_error == pytest.approx(np.abs(wide_r - wide_c).max())
    assert found.max_rel_error == pytest.approx(np.abs(wide_r - wide_c).max() / np.abs(wide_r).max())
    assert found.cosine == pytest.approx((wide_r * wide_c).sum() / np.linalg.norm(wide_r) / np.linalg.norm(wide_c))
    assert found.agreement is None


def test_equal_outputs_are_infinitely_good_and_empty_ones_do_not_divide_by_zero():
    r = np.ones((2, 3), np.float32)
    assert figures((r, r)).sqnr_db == math.inf
    empty = np.zeros((0, 3), np.float32)
    assert figures((empty, empty)).max_abs_error == 0
    assert figures((0 * r, r)).sqnr_db == -math.inf


def test_nan_and_infinity_on_one_side_only_are_infinite_errors():
    r = np.array([[1.0, np.nan, np.inf]], np.float32)
    assert figures((r, r)).max_abs_error == 0
    for value in (np.nan, np.inf, -np.inf):
        c = r.copy()
        c[0, 0] = value
        found = figures((r, c))
        assert found.max_abs_error == math.inf
        assert found.sqnr_db == -math.inf


def test_another_shape_dtype_or_number_of_parts_is_an_infinite_error():
    r = np.ones((2, 3), np.float32)
    for c in (r[:1], r.astype(np.float64), [r]):
        assert figures(([r, r] if isinstance(c, list) else r, c)).max_abs_error == math.inf


def test_whole_numbers_and_strings_decide_element_by_element():
    found = figures((np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9])))
    assert (found.agreement, found.decisions, found.max_abs_error) == (0.75, 4, 5)
    assert found.sqnr_db is None
    words = np.array(["a", "b"], dtype=object)
    assert figures((words, words)).agreement == 1


def test_probabilities_decide_along_their_class_axis():
    rng = np.random.default_rng(0)
    p = softmax(rng.standard_normal((4, 9, 3)))  # [samples, boxes, classes]
    c = p.copy()
    c[0, 0] = np.roll(p[0, 0], 1)
    found = figures((p, c))
    assert (found.decisions, found.agreement) == (36, 35 / 36)
    moved = figures((np.moveaxis(p, -1, 1), np.moveaxis(c, -1, 1)))  # [samples, classes, boxes]
    assert (moved.decisions, moved.agreement) == (36, 35 / 36)
    assert figures((np.log(p), np.log(c))).decisions == 36
    assert figures((p[:, :1].reshape(4, 3, 1, 1), p[:, :1].reshape(4, 3, 1, 1))).decisions == 4


def test_logits_with_a_clear_winner_are_scores_and_embeddings_are_not():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((200, 10)) + 4 * np.eye(10)[rng.integers(0, 10, 200)]
    assert figures((logits, logits)).agreement == 1
    embedding = rng.standard_normal((200, 384))
    assert figures((embedding, embedding)).agreement is None
    pair = rng.standard_normal((200, 2))
    assert figures((pair, pair)).agreement is None


def test_maps_and_sequences_are_taken_apart():
    r = [{0: 0.25, 1: 0.75}, {0: 0.5, 1: 0.5}]
    assert figures((r, r)).max_abs_error == 0
    assert figures((r, [{0: 0.25, 1: 0.5}, {0: 0.5, 1: 0.5}])).max_abs_error == 0.25


def test_wilson_covers_extremes():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert 0.69 < wilson(10, 10)[0] < 0.73


def test_small_parts_of_an_output_are_not_hidden_by_large_ones():
    rng = np.random.default_rng(0)
    r = np.concatenate([rng.uniform(0, 640, (1, 50, 4)), rng.uniform(0, 1, (1, 50, 1))], axis=2).astype(np.float32)
    c = r.copy()
    c[..., 4] *= 0.99
    found = figures((r, c))
    assert found.sqnr_db > 90
    assert found.outliers == 50
    masked = r.copy()
    masked[0, :25] = -1e9
    wrong = masked.copy()
    wrong[0, 25:] *= -1
    assert figures((masked, wrong)).outliers == 25 * 5
    assert figures((r, (r * (1 + 1e-6)).astype(np.float32))).outliers == 0


def test_keys_of_maps_count():
    assert figures(({0: 0.5, 1: 0.5}, {0: 0.5, 7: 0.5})).max_abs_error > 0
