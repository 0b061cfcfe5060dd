"""Raising the opset only where it is needed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.model.opset import opset_of, raise_opset
from onnxzip.model.signature import signature
from tests.helpers.graphs import model
from tests.helpers.numerics import assert_equivalent


def test_an_old_model_is_raised_and_does_the_same():
    old = model(
        '<ir_version: 4, opset_import: ["" : 9]> g (float[N,400] x) => (float[N,400] y) { t = Clip <min = 0.0, max = 6.0> (x) s = Add(t, w) y = Softmax(s) }',
        w=np.ones(400, np.float32),
    )
    new = raise_opset(old, 13)
    assert opset_of(new) == 13
    assert signature(new) == signature(old)
    assert new.graph.initializers["w"].const_value is old.graph.initializers["w"].const_value
    assert_equivalent(old, new, rtol=1e-6)


def test_a_new_model_is_left_alone():
    m = model("agraph (float[N] x) => (float[N] y) { y = Relu(x) }")
    assert raise_opset(m, 13) is m


def test_what_onnx_cannot_convert_is_refused():
    proto = onnx.parser.parse_model(
        '<ir_version: 3, opset_import: ["" : 8]> g (float[N,4] x, float[4] s) => (float[N,4] y) { y = Upsample <mode = "nearest", scales = [1.0, 1.0]> (x) }'
    )
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="cannot be raised to 13"):
        raise_opset(load(proto).model, 13)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_both_spellings_of_the_standard_domain(domain):
    assert (
        opset_of(
            load(
                onnx.parser.parse_model(
                    f'<ir_version: 8, opset_import: ["{domain}" : 18]> g (float[N] x) => (float[N] y) {{ y = Relu(x) }}'
                )
            ).model
        )
        == 18
    )


def test_map_types_do_not_stop_the_conversion():
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 1]> g (float[N,3] x) => (float[N,3] y) { t = Identity(x) y = Relu(t) }'
    )
    zipmap = onnx.helper.make_node("ZipMap", ["t"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    proto.graph.node.append(zipmap)
    kind = onnx.helper.make_sequence_type_proto(
        onnx.helper.make_map_type_proto(onnx.TensorProto.INT64, onnx.helper.make_tensor_type_proto(1, []))
    )
    proto.graph.output.append(onnx.helper.make_value_info("z", kind))
    old = load(proto).model
    new = raise_opset(old, 21)
    assert opset_of(new) == 21
    assert signature(new) == signature(old)
