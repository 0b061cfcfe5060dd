"""Polynomials over sizes that are not negative."""

import itertools

import pytest

from onnxzip.model.sizes import ONE, ZERO, Size, broadcast, equal, greatest, is_cut, least, less, product, quotient

N, S = Size.of("N"), Size.of("S")


def number(n: int) -> Size:
    return Size.of(n)


def test_equal_polynomials_are_one_object_and_have_one_name():
    assert (N + S) * (N - S) == N * N - S * S
    assert product([N, number(2), S]) == number(2) * S * N
    assert (N * S - S * N) == ZERO
    assert N - N + number(3) == number(3)
    assert [s.name for s in (number(-4), N, N * S + number(2), number(2) * N)] == [-4, "N", "=N*S + 2", "=2*N"]
    assert hash(N + ONE) == hash(ONE + N)


def test_bounds_count_on_nothing_but_sizes_not_being_negative():
    assert [(s.low, s.high) for s in (N, N + ONE, ONE - N, N - S, ZERO)] == [
        (0, None), (1, None), (None, 1), (None, None), (0, 0),
    ]  # fmt: skip


def test_division_is_exact_or_a_symbol_of_its_own():
    assert (number(6) * N * S).over(number(3) * S) == number(2) * N
    assert (N + ONE).over(N) is None
    assert (N + ONE).over(N + ONE) == ONE
    assert N.over(ZERO) is None
    assert ZERO.over(N) == ZERO
    assert number(7).over(number(2)) is None
    half = quotient(N, number(2))
    assert half is not None
    assert half == quotient(N, number(2)) != quotient(S, number(2))
    assert half.low == 0
    assert quotient(N - S, number(2)) is None  # truncation depends on the sign
    assert quotient(N, S) is None


def test_comparisons_are_decided_only_where_they_hold_for_all_sizes():
    assert [equal(N, N), equal(N, S), equal(N, N + ONE), equal(N, number(-1)), equal(N, ZERO)] == [
        True,
        None,
        False,
        False,
        None,
    ]
    assert [less(N, N + ONE), less(N, N), less(N, S), less(ZERO, N), less(N, ZERO)] == [True, False, None, None, False]
    assert greatest(N, N + ONE) == N + ONE
    assert greatest(N, S) is None
    assert least(N, N + ONE) == N
    assert least(N, S) == least(S, N)
    assert least(N, number(-1)) == number(-1)
    assert least(N - S, S) is None


def test_what_two_axes_broadcast_to():
    cut = least(N, number(512))
    assert cut is not None
    assert is_cut(cut, N)
    assert not is_cut(cut, S)
    assert broadcast(N, cut) == broadcast(cut, N) == N
    assert broadcast(N, ONE) == broadcast(ONE, N) == broadcast(N, N) == N
    assert broadcast(N, number(3)) == number(3)
    assert broadcast(N, ZERO) == ZERO
    assert broadcast(N, S) is None
    assert broadcast(N + number(2), S) == N + number(2)
    assert broadcast(N + ONE, S) is None
    both = least(N, S)
    assert both is not None
    assert broadcast(N, both) is None  # S may be 0 where N is 1


@pytest.mark.parametrize(("a", "b"), list(itertools.product([N, number(3), N + ONE, number(0)], repeat=2)))
def test_broadcast_is_true_for_all_numbers(a, b):
    common = broadcast(a, b)
    if common is None:
        return
    for n in range(6):
        one, other, result = (_at(s, n) for s in (a, b, common))
        if one == other or 1 in (one, other):
            assert result == (one if other == 1 else other)


def _at(size: Size, n: int) -> int:
    return sum(factor * n ** len(symbols) for symbols, factor in size.terms)


def test_long_and_large_polynomials_are_refused():
    assert not (number(2**40) * N).sane
    assert not sum((Size.of(f"d{i}") for i in range(30)), ZERO).sane
    assert (N * S + ONE).sane
