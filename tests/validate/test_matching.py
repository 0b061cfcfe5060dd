"""Which values of two models stand for the same thing."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.model.load import load
from onnxzip.validate.matching import Pair, Side, match, regions
from onnxzip.validate.taps import sketch, sketches
from tests.helpers.graphs import model
from tests.validate.nets import NET, batches, net, renamed


def pairs(left: onnx.ModelProto, right: onnx.ModelProto, feed=None) -> dict[str, Pair]:
    sides = (load(m).model for m in (left, right))
    return {p.name: p for p in match(*(Side(m, sketches(m, feed or batches()[0])) for m in sides))}


def test_equal_names_are_matched_in_the_order_of_the_original():
    found = pairs(net(), net())
    assert list(found) == ["c1", "r1", "c2", "s", "r2", "p", "f", "y", "t", "z"]
    assert all(p.name == p.counterpart for p in found.values())
    assert found["y"].how == "output"
    assert found["c1"].how == "name"


def test_other_names_are_matched_by_content():
    found = pairs(net(), renamed(net()))
    assert {p.name: p.counterpart for p in found.values()} == {
        n: n if n in "yz" else f"other {n}" for n in ("c1", "r1", "c2", "s", "r2", "p", "f", "y", "t", "z")
    }
    assert found["c2"].how == "content"


def test_behind_a_damage_other_names_are_matched_by_reader_and_place():
    damaged = renamed(net({"w1": -net_weight("w1")}))
    found = pairs(net(), damaged)
    assert {p.name: p.counterpart for p in found.values()} == {
        n: n if n in "yz" else f"other {n}" for n in ("c1", "r1", "c2", "s", "r2", "p", "f", "y", "t", "z")
    }
    assert {found["c2"].how, found["f"].how} <= {"place", "reader"}


def net_weight(name: str) -> np.ndarray:
    return next(onnx.numpy_helper.to_array(t) for t in net().graph.initializer if t.name == name)


def test_a_name_of_another_shape_is_not_matched():
    text = NET.replace("f = Flatten(p)", "v = Flatten(p) f = Transpose(v) g = Transpose(f)")
    text = text.replace("Gemm <transB = 1> (f", "Gemm <transB = 1> (g").replace("Tanh(f)", "Tanh(g)")
    found = pairs(net(), net(text=text))
    assert found["f"].counterpart != "f"


def test_a_name_that_was_reused_goes_to_the_value_whose_numbers_it_holds():
    swapped = NET.replace("c1", "tmp").replace("r1", "c1").replace("tmp", "r1")
    found = pairs(net(), net(text=swapped))
    assert (found["c1"].counterpart, found["r1"].counterpart) == ("r1", "c1")


def test_outputs_are_never_matched_by_content():
    swapped = NET.replace("y = Gemm", "q = Gemm").replace("z = Gemm", "y = Gemm").replace("q = Gemm", "z = Gemm")
    found = pairs(net(), net(text=swapped))
    assert (found["y"].counterpart, found["z"].counterpart) == ("y", "z")


@pytest.mark.parametrize("name", ["h_DequantizeLinear_Output", "h_dequantized", "InsertedPrecisionFreeCast_h"])
def test_names_that_tools_derive(name):
    text = "agraph (float[2,3] x) => (float[2,3] y) {{ {0} = Abs(x) y = Neg({0}) }}"
    feed = {"x": np.full((2, 3), -1, np.float32)}  # content tells nothing
    left, right = (model(text.format(n)) for n in ("h", name))
    (found, _) = match(*(Side(m, sketches(m, feed)) for m in (left, right)))
    assert found == Pair("h", name, "derived")


def test_the_mark_of_the_exporter():
    text = "agraph (float[2,3] x) => (float[2,3] y) {{ {0} = {1}(x) {2} = {1}({0}) y = Neg({2}) }}"
    models = [model(text.format("a", "Abs", "b")), model(text.format("c", "Abs", "d"))]
    for m in models:
        for node, mark in zip(m.graph, ("first", "second", "last"), strict=True):
            node.metadata_props["namespace"] = mark
    found = match(*(Side(m, sketches(m, {"x": np.full((2, 3), -1, np.float32)})) for m in models))
    assert [(p.name, p.counterpart, p.how) for p in found[:2]] == [("a", "c", "origin"), ("b", "d", "origin")]


def test_constants_tell_nothing():
    assert not sketch(np.zeros((2, 3), np.float32)).tells
    assert not sketch(np.full((2, 3), np.nan, np.float32)).tells
    assert sketch(np.arange(3.0)).sqnr(sketch(np.arange(4.0))) == -np.inf
    assert sketch(np.arange(3.0)).sqnr(sketch(np.arange(3.0))) == np.inf


def test_regions_are_the_nodes_between_and_what_they_read():
    m: ir.Model = load(net()).model
    found = {n: ([x.op_type for x in nodes], sources) for n, nodes, sources in regions(m, ["r1", "f", "y"])}
    assert found["r1"] == (["Conv", "Relu"], set())
    assert found["f"] == (["Conv", "Add", "Relu", "GlobalAveragePool", "Flatten"], {"r1"})
    assert found["y"] == (["Gemm"], {"f"})
