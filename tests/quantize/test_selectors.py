import pytest

from onnxzip.errors import UsageError
from onnxzip.quantize.selectors import name_of, select
from tests.helpers.graphs import model

TEXT = """
agraph (float[N] x, bool c) => (float[N] y, float[N] z) {
  [encoder_0] a = Relu(x)
  [encoder_1] y = Neg(a)
  z = If (c) <
    then_branch = left () => (t) { [inner] t = Exp(a) },
    else_branch = right () => (e) { e = Identity(a) }
  >
}
"""


def test_operator_types_are_exact() -> None:
    assert [name_of(n) for n in select(model(TEXT), ("Relu",))] == ["encoder_0"]


def test_names_are_matched_whole_by_regular_expressions() -> None:
    assert {name_of(n) for n in select(model(TEXT), (r"encoder_\d",))} == {"encoder_0", "encoder_1"}


def test_nodes_without_a_name_go_by_their_output_and_bodies_count() -> None:
    assert {name_of(n) for n in select(model(TEXT), ("z", "inner"))} == {"z", "inner"}


def test_a_pattern_that_matches_nothing_is_an_error_with_close_names_failure_32() -> None:
    with pytest.raises(UsageError, match=r"keep_float 'encodr_1' matches no node name.*'encoder_1'"):
        select(model(TEXT), ("encodr_1",))
    with pytest.raises(UsageError, match="Did you mean 'Relu'"):
        select(model(TEXT), ("relu",))
    with pytest.raises(UsageError, match=r"write \.\* around"):
        select(model(TEXT), ("qqqqqqqq",))


def test_a_part_of_a_name_is_not_enough() -> None:
    with pytest.raises(UsageError, match="Did you mean 'encoder_"):
        select(model(TEXT), ("encoder",))


def test_broken_expression_is_an_error() -> None:
    with pytest.raises(UsageError, match="not a regular expression"):
        select(model(TEXT), ("enc(",))


def test_no_pattern_selects_nothing() -> None:
    assert select(model(TEXT), ()) == {}
