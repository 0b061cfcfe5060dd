"""Graphs from text and as text, for before/after tests."""

from __future__ import annotations

import re
import textwrap

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip.model.load import load
from onnxzip.model.save import to_proto


def model(text: str, **arrays: np.ndarray) -> ir.Model:
    """A checked model from ONNX text; the header may be left out (IR 8, opset 18 are assumed).

    `arrays` become initializers of the given names. The text declares only inputs, outputs and nodes.
    """
    text = textwrap.dedent(text).strip()
    if not text.startswith("<"):
        text = '<ir_version: 8, opset_import: ["" : 18]>\n' + text
    proto = onnx.parser.parse_model(text)
    for name, content in arrays.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(content), name))
    onnx.checker.check_model(proto)
    return load(proto).model


def nodes(graph: ir.Model) -> list[str]:
    """The nodes of the main graph, one line each, as `out = Op <attributes> (inputs)`; node names left out."""
    return [_line(node) for node in to_proto(graph).graph.node]


def assert_nodes(graph: ir.Model, expected: str) -> None:
    """The main graph consists of exactly these nodes, in this order (one line each, spacing free)."""
    wanted = [_squeeze(line) for line in textwrap.dedent(expected).strip().splitlines() if line.strip()]
    assert [_squeeze(line) for line in nodes(graph)] == wanted


def initializer(graph: ir.Model, name: str) -> np.ndarray:
    """The content of an initializer of the main graph."""
    tensor = graph.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def op_types(graph: ir.Model) -> list[str]:
    """The operators of the main graph, in order."""
    return [node.op_type for node in graph.graph]


def _line(node: onnx.NodeProto) -> str:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("name")
    return onnx.printer.to_text(copy)


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text)
