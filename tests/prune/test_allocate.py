from __future__ import annotations

import numpy as np
import pytest

from onnxzip.prune.allocate import allocate
from onnxzip.prune.families import Family, Order
from onnxzip.prune.sizes import Term


def family(start: int, width: int) -> Family:
    return Family(np.arange(start, start + width), (f"Conv '{start}'",), (width,), np.ones((1, width), np.int64))


LEFT, RIGHT = family(1, 32), family(33, 32)
TERMS = [Term(3.0, (LEFT.classes,)), Term(1.0, (LEFT.classes, RIGHT.classes)), Term(2.0, (RIGHT.classes,))]


def order(of: Family, costs: np.ndarray) -> Order:
    return Order(of.classes[: len(costs)], costs)


@pytest.mark.parametrize("round_to", [1, 8])
@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.6])
def test_the_ratio_is_reached_and_no_step_is_taken_in_vain(ratio: float, round_to: int) -> None:
    orders = [order(LEFT, np.linspace(0, 1, 31)), order(RIGHT, np.linspace(0, 3, 31))]
    gone, saved = allocate([LEFT, RIGHT], orders, TERMS, ratio, round_to, 65)
    whole = sum(t.value(np.zeros(65, np.bool_)) for t in TERMS)
    assert saved == pytest.approx(1 - sum(t.value(gone) for t in TERMS) / whole)
    assert ratio <= saved <= ratio + round_to / 32
    for one in (LEFT, RIGHT):
        left = 32 - int(gone[one.classes].sum())
        assert left % round_to == 0
        assert left > 0


def test_the_cheap_family_goes_first() -> None:
    orders = [order(LEFT, np.full(31, 1.0)), order(RIGHT, np.full(31, 0.01))]
    gone, _ = allocate([LEFT, RIGHT], orders, TERMS, 0.1, 8, 65)
    assert not gone[LEFT.classes].any()
    assert gone[RIGHT.classes].any()


def test_a_family_without_an_order_stays() -> None:
    gone, saved = allocate([LEFT, RIGHT], [None, order(RIGHT, np.ones(31))], TERMS, 0.9, 8, 65)
    assert not gone[LEFT.classes].any()
    assert gone[RIGHT.classes].sum() == 24
    assert saved < 0.9


def test_a_cheap_tail_behind_a_dear_step_is_found() -> None:
    orders = [order(LEFT, np.array([2.0] * 8 + [0.0] * 16)), order(RIGHT, np.full(24, 1.5))]
    gone, _ = allocate([LEFT, RIGHT], orders, TERMS, 0.3, 8, 65)
    assert gone[LEFT.classes].any()
    assert not gone[RIGHT.classes].any()


def test_a_step_that_turns_out_superfluous_is_taken_back() -> None:
    small, large = family(1, 16), family(17, 16)
    terms = [Term(1.0, (small.classes,)), Term(100.0, (large.classes,))]
    orders = [order(small, np.full(15, 0.001)), order(large, np.full(15, 1.0))]
    gone, _ = allocate([small, large], orders, terms, 0.4, 8, 33)
    assert gone[large.classes].sum() == 8
    assert not gone[small.classes].any()
