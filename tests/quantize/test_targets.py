import pytest

from onnxzip.config import TARGETS as NAMES
from onnxzip.errors import UsageError
from onnxzip.quantize import TARGETS, target_row


def test_every_target_of_the_configuration_has_a_row_and_a_source() -> None:
    assert set(NAMES) == set(TARGETS)
    assert all(row.source and row.name == name for name, row in TARGETS.items())


def test_no_operator_is_in_two_minds() -> None:
    for row in TARGETS.values():
        kinds = [row.output_quantized, row.float_output, row.absorbed, row.joins, row.pass_through, row.tables]
        assert sum(map(len, kinds)) == len(frozenset().union(*kinds))


def test_unknown_target() -> None:
    with pytest.raises(UsageError, match="choose one of cpu"):
        target_row("gpu")
