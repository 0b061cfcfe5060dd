import pytest

from onnxzip.config import TARGETS as NAMES
from onnxzip.errors import UsageError
from onnxzip.quantize import TARGETS, target_row, targets
from onnxzip.quantize.qparams import CODES


def test_every_target_of_the_configuration_has_a_row_and_a_source() -> None:
    assert set(NAMES) == set(TARGETS)
    assert all(row.source and row.name == name for name, row in TARGETS.items())


def test_no_operator_is_in_two_minds() -> None:
    for row in TARGETS.values():
        kinds = [row.output_quantized, row.float_output, row.absorbed, row.joins, row.pass_through, row.tables]
        kinds += [row.whole - row.absorbed - row.pass_through]
        assert sum(map(len, kinds)) == len(frozenset().union(*kinds))


def test_every_dtype_of_a_row_is_known() -> None:
    for row in TARGETS.values():
        assert {*row.activation.dtypes, *row.operand.dtypes} <= set(CODES)
        assert row.weight == "int8"
        assert row.placement in ("kernels", "inputs", "everywhere")
        assert row.residual in ("", "skip", "both")


@pytest.mark.parametrize(
    ("machine", "saturates", "row"),
    [("aarch64", False, "arm64"), ("arm64", True, "arm64"), ("x86_64", True, "cpu-avx2"), ("AMD64", False, "cpu")],
)
def test_cpu_is_this_cpu(machine: str, saturates: bool, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.platform, "machine", lambda: machine)
    monkeypatch.setattr(targets, "sums_saturate", lambda: saturates)
    assert targets.resolved("cpu") == row
    assert targets.resolved("tensorrt") == "tensorrt"
    assert targets.runs_here("cpu")
    assert targets.runs_here("arm64") == (row == "arm64")
    assert not any(targets.runs_here(name) for name in ("tensorrt", "openvino", "qnn", "qnn16"))


def test_unknown_target() -> None:
    with pytest.raises(UsageError, match="choose one of cpu"):
        target_row("gpu")
