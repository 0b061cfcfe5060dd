"""Test sets of the ONNX project: sequences and optionals too; nothing is read from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxzip.calibrate.protobuf import read_test_set
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec
from tests.calibrate.specs import spec

SEQUENCE = TensorSpec("s", None, (), "seq(tensor(float))")
OPTIONAL = TensorSpec("o", None, (), "optional(tensor(float))")
X = spec("x", "N")


def write(path: Path, *protos: object) -> Path:
    for index, proto in enumerate(protos):
        (path / f"input_{index}.pb").write_bytes(proto.SerializeToString())  # type: ignore[attr-defined]
    return path


def test_sequences_and_optionals(tmp_path: Path) -> None:
    one, two = np.ones(3, np.float32), np.zeros((2, 2), np.float32)
    sequence = onnx.numpy_helper.from_list([one, two], "s")
    optional = onnx.numpy_helper.from_optional(one, "o")
    tensor = onnx.numpy_helper.from_array(two, "x")
    found = read_test_set(write(tmp_path, sequence, optional, tensor), (SEQUENCE, OPTIONAL, X), frozenset("sox"))
    np.testing.assert_array_equal(found["s"][1], two)
    np.testing.assert_array_equal(found["o"], one)
    np.testing.assert_array_equal(found["x"], two)


def test_data_in_another_file_is_refused(tmp_path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(np.ones(3, np.float32), "x")
    onnx.external_data_helper.set_external_data(tensor, location="/etc/passwd", length=12)
    tensor.ClearField("raw_data")
    with pytest.raises(DataError, match=r"input_0.pb: keeps its data in another file, which is refused"):
        read_test_set(write(tmp_path, tensor), (X,), frozenset("x"))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no input_0.pb"):
        read_test_set(tmp_path, (X,), frozenset("x"))
    (tmp_path / "input_0.pb").write_bytes(b"\xff\xff\xff garbage")
    with pytest.raises(DataError, match=r"is not a readable tensor\(float\)"):
        read_test_set(tmp_path, (X,), frozenset("x"))
    (tmp_path / "input_1.pb").write_bytes(b"")
    with pytest.raises(DataError, match="the model has 1 inputs"):
        read_test_set(tmp_path, (X,), frozenset("x"))
    (tmp_path / "input_1.pb").unlink()
    with pytest.raises(DataError, match="data cannot be read from files"):
        read_test_set(tmp_path, (TensorSpec("m", None, (), "map(int64,tensor(float))"),), frozenset("m"))
