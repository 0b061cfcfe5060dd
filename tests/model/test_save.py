"""Saving: whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.model.save import model_bytes, save, to_proto
from tests.helpers.graphs import model


def adder(size: int = 600):
    return model("agraph (float[N,600] x) => (float[N,600] y) { y = Add(x, w) }", w=np.arange(size, dtype=np.float32))


def test_what_is_saved_loads_again(tmp_path):
    path = tmp_path / "m.onnx"
    assert save(adder(), path) == (path,)
    onnx.checker.check_model(str(path), full_check=True)
    assert to_proto(load(path).model) == to_proto(adder())
    assert model_bytes(adder()) == pytest.approx(path.stat().st_size, abs=4)


def test_external_data_lies_beside_the_model_and_old_data_stays(tmp_path):
    path, copy = tmp_path / "m.onnx", tmp_path / "renamed.onnx"
    first = save(adder(), path, external=True)
    assert len(first) == 2
    assert load(path).external
    copy.write_bytes(path.read_bytes())  # another model that reads the same data
    changed = adder()
    changed.graph.initializers["w"].const_value = ir.tensor(np.zeros(600, np.float32), name="w")
    second = save(changed, path, external=True)
    assert first[1] != second[1]
    assert load(path).model.graph.initializers["w"].const_value.numpy().max() == 0
    assert load(copy).model.graph.initializers["w"].const_value.numpy().max() == 599


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    with pytest.raises(ModelError, match="not a regular file"):
        save(adder(), fifo)
    assert fifo.is_fifo()


def test_two_saves_give_the_same_bytes(tmp_path):
    for external in (False, True):
        save(adder(), tmp_path / "a.onnx", external=external)
        one = [p.read_bytes() for p in sorted(tmp_path.iterdir())]
        save(adder(), tmp_path / "a.onnx", external=external)
        assert [p.read_bytes() for p in sorted(tmp_path.iterdir())] == one
        for file in tmp_path.iterdir():
            file.unlink()


def test_a_missing_folder_and_a_folder_as_target_are_refused(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        save(adder(), tmp_path / "none" / "m.onnx")
    with pytest.raises(ModelError, match="this is a folder"):
        save(adder(), tmp_path)


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    save(adder(), path)
    old = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left"):
        save(adder(), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_killed_during_save_leaves_the_old_model_or_the_new_one(tmp_path):
    """A child process saves over and over, two models in turn; it is killed at many different moments."""
    script = textwrap.dedent("""
        import sys, numpy as np, onnx_ir as ir
        from onnxzip.model.save import save
        def make(fill):
            w = ir.val("w", const_value=ir.tensor(np.full((400, 1000), fill, np.float32), name="w"))
            x = ir.val("x", dtype=ir.DataType.FLOAT, shape=["N", 1000])
            node = ir.node("Gemm", [x, w], attributes={"transB": 1})
            node.outputs[0].name = "y"
            node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, ir.Shape(["N", 400])
            graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[w], opset_imports={"": 18}, name="g")
            return ir.Model(graph, ir_version=8)
        models, external = [make(1.0), make(2.0)], sys.argv[2] == "external"
        print("ready", flush=True)
        while True:
            for model in models:
                save(model, sys.argv[1], external=external)
    """)
    for kind in ("inline", "external"):
        path = tmp_path / f"{kind}.onnx"
        for delay in (0.0, 0.013, 0.031, 0.057, 0.083):
            with subprocess.Popen([sys.executable, "-c", script, str(path), kind], stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                child.stdout.readline()
                while not path.exists():
                    time.sleep(0.001)
                time.sleep(delay)
                child.send_signal(signal.SIGKILL)
            content = load(path).model.graph.initializers["w"].const_value.numpy()
            assert content.min() == content.max()
            assert float(content.max()) in (1.0, 2.0)
