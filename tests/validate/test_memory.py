"""Peak memory, of models so large that it shows."""

from __future__ import annotations

import sys

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.errors import ModelError, UsageError
from onnxzip.validate import memory
from onnxzip.validate.memory import compare_memory


def product(megabytes):
    rows = megabytes * 2**20 // 4 // 1024
    x = ir.val("x", ir.DataType.FLOAT, ("N", rows))
    w = ir.val("w", ir.DataType.FLOAT, (rows, 1024), const_value=ir.tensor(np.ones((rows, 1024), np.float32)))
    node = ir.node("MatMul", [x, w])
    node.outputs[0].name = "y"
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[w], opset_imports={"": 18}, name="g")
    return ir.Model(graph, ir_version=8)


def square():
    x = ir.val("x", ir.DataType.FLOAT, ("N", 8192))
    node = ir.node("Mul", [x, x])
    node.outputs[0].name = "y"
    return ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 18}, name="g"), ir_version=8)


@pytest.fixture(autouse=True)
def one_repeat(monkeypatch):
    monkeypatch.setattr(memory, "REPEATS", 1)


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="other systems are refused")
def test_a_model_of_32_megabytes_takes_that_much_more_than_a_small_one():
    found = compare_memory(product(32), square(), {"x": np.ones((1, 8192), np.float32)})
    assert 30e6 < found.original < 200e6
    assert found.candidate < 0.5 * found.original
    assert found.ratio == pytest.approx(found.candidate / found.original)


def test_a_model_that_does_not_run_is_refused():
    with pytest.raises(ModelError, match="in a process of its own"):
        compare_memory(square(), square(), {"z": np.ones(3)})


def test_a_system_that_does_not_tell_is_refused(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "win32")
    with pytest.raises(UsageError, match="win32"):
        compare_memory(square(), square(), {"x": np.ones((1, 8192), np.float32)})
