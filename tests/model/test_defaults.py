"""failures.md 2: overridable defaults are interface; wholesale listing by old exporters is not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxzip.model.load import load


def chain(listed: int, weights: int, ir_version: int) -> onnx.ModelProto:
    names = [f"w{i}" for i in range(weights)]
    inputs = ", ".join(["float[N] x", *(f"float[1] {n}" for n in names[:listed])])
    body = " ".join(f"t{i + 1} = Add(t{i}, {n})" for i, n in enumerate(names))
    text = f'<ir_version: {ir_version}, opset_import: ["" : 9]> g ({inputs}) => (float[N] y) {{ t0 = Identity(x) {body} y = Identity(t{weights}) }}'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.ones(1, np.float32), n) for n in names)
    return model


@pytest.mark.parametrize(("listed", "weights", "ir_version"), [(6, 6, 4), (10, 11, 6), (1, 1, 3), (2, 2, 3)])
def test_weights_listed_wholesale_become_constants(listed, weights, ir_version):
    loaded = load(chain(listed, weights, ir_version))
    assert [v.name for v in loaded.model.graph.inputs] == ["x"]
    assert loaded.model.ir_version >= 4
    assert f"{listed} of {weights} weights" in loaded.notes[0]


@pytest.mark.parametrize(("listed", "weights", "ir_version"), [(1, 6, 4), (1, 1, 8), (3, 3, 8)])
def test_deliberate_defaults_stay_inputs(listed, weights, ir_version):
    loaded = load(chain(listed, weights, ir_version))
    assert len(loaded.model.graph.inputs) == 1 + listed
    assert loaded.notes == ()


def test_keep_defaults_turns_it_off():
    assert len(load(chain(6, 6, 4), keep_defaults=True).model.graph.inputs) == 7
